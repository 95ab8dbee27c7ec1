"""What every registered strategy must do, driven by the one table in `strategies.py`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from strategies import TABLE, compose, events, sided

import keras_vae as kv
from keras_vae import _registry

DRAWS = 6  # what objectives that group their draws have in the table
FAMILIES = (
    *("likelihood", "posterior", "prior", "condition"),
    *("latent", "objective", "schedule", "network"),
)
every_member = pytest.mark.parametrize(
    "member",
    [pytest.param(m, id=m.id, marks=[pytest.mark.slow] if m.slow else []) for m in TABLE],
)
#: For the laws that take seconds each.
FEW = ("likelihood-joint", "prior-vamp", "condition-vector", "objective-elbo", "network-dense")
few_members = pytest.mark.parametrize(
    "member",
    [pytest.param(m, id=m.id, marks=[] if m.id in FEW else [pytest.mark.slow]) for m in TABLE],
)


def trained(member, epochs=1, **compiled):
    vae = compose(member)
    vae.compile(keras.optimizers.Adam(0.01), **compiled)
    history = vae.fit(events(member), batch_size=8, epochs=epochs, verbose=0, shuffle=False)
    return vae, history.history


@pytest.mark.parametrize("family", FAMILIES)
def test_every_registered_class_is_in_the_table(family):
    ours = {n for n, c in _registry.members(family).items() if c.__module__.startswith("keras_vae")}
    assert ours == {member.name for member in TABLE if member.family == family}


def test_every_family_is_known_here():
    assert set(_registry._FAMILIES) == set(FAMILIES)


@pytest.mark.parametrize("member", TABLE, ids=lambda member: member.id)
def test_the_config_round_trips(member):
    instance = member.make()
    config = keras.saving.serialize_keras_object(instance)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(instance)
    assert keras.saving.serialize_keras_object(again) == config
    assert config["registered_name"] == f"keras_vae>{member.family}.{member.name}"


@every_member
def test_a_fit_moves_every_weight_and_repeats_to_the_bit(member, tmp_path):
    before = [v.numpy() for v in (keras.utils.set_random_seed(0), compose(member))[1].weights]
    keras.utils.set_random_seed(0)
    vae, history = trained(member, epochs=2)
    for start, variable in zip(before, vae.weights):
        assert np.any(start != variable.numpy()), f"{variable.path} did not move"
    assert all(np.isfinite(values).all() for values in history.values())
    assert {"loss", "regularization_loss", *vae.objective.terms} <= set(history)

    keras.utils.set_random_seed(0)
    again, repeated = trained(member, epochs=2)
    assert repeated == history
    for one, other in zip(vae.weights, again.weights):
        np.testing.assert_array_equal(one.numpy(), other.numpy())

    vae.save(tmp_path / "model.keras")
    loaded = kv.load(tmp_path / "model.keras")
    assert [v.path for v in loaded.weights] == [v.path for v in vae.weights]
    for one, other in zip(vae.weights, loaded.weights):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    x = events(member)
    condition = events(member, 1)["condition"] if vae.condition is not None else None
    np.testing.assert_array_equal(loaded.reconstruct(x), vae.reconstruct(x))
    drawn = [one.sample(5, seed=1, condition=condition).x for one in (loaded, vae)]
    np.testing.assert_array_equal(*drawn)


@few_members
def test_the_exported_signatures_agree_with_the_methods(member, tmp_path):
    vae, _ = trained(member)
    x, seed = events(member, 7), tf.constant([0, 3])
    exported = tf.saved_model.load(str(kv.export.saved_model(vae, tmp_path / "model")))
    call = exported.signatures
    sides = {}
    if vae.condition is not None:
        sides["condition"] = tf.cast(x["condition"], vae.condition.dtype)
    events_, condition = (x["x"], x["condition"]) if sides else (x, None)
    encoding, sample = vae.encode(x), vae.sample(7, seed=3, condition=condition)
    close = {"rtol": 1e-5, "atol": 1e-5}
    found = call["encode"](x=events_, **sides)
    np.testing.assert_allclose(found["mean"], encoding.mean, **close)
    np.testing.assert_allclose(found["stddev"], encoding.stddev, **close)
    np.testing.assert_allclose(
        call["decode"](z=encoding.mean, **sides)["mean"],
        vae.decode(encoding.mean, condition=condition),
        **close,
    )
    means = call["reconstruct"](x=events_, **sides)["mean"]
    np.testing.assert_allclose(means, vae.reconstruct(x), **close)
    drawn = call["sample"](n=tf.constant(7), seed=seed, **sides)
    for name, values in sample._asdict().items():
        np.testing.assert_allclose(drawn[name], values, **close)
    if "density" not in vae.latent.offers:
        assert set(call) == {"serving_default", "encode", "decode", "reconstruct", "sample"}
        return
    elbo = call["elbo"](x=events_, seed=seed, **sides)["elbo"]
    np.testing.assert_allclose(elbo, vae.elbo(x, seed=3), **close)
    likelihood = call["log_likelihood"](x=events_, num_samples=tf.constant(11), seed=seed, **sides)
    np.testing.assert_allclose(
        likelihood["log_likelihood"], vae.log_likelihood(x, 11, seed=3), **close
    )


@every_member
def test_densities_stay_float32_under_bfloat16(member, policy):
    policy("mixed_bfloat16")
    vae, history = trained(member)
    assert np.isfinite(history["loss"]).all()
    x = events(member)
    inputs = sided(vae, x)
    noise = vae.graph.noise(inputs.x, DRAWS, tf.constant([0, 0]))
    forward = vae.graph.forward(inputs, noise, step=0, seed=tf.constant([0, 0]))
    one, draw = forward.latent_pass, forward.latent_pass.draw
    output = vae.objective.evaluate(one)
    for tensor in (forward.params, one.log_px, draw.z, draw.log_qz, draw.log_pz, draw.kl):
        assert tensor.dtype == tf.float32
    for tensor in (draw.kl_parts, output.loss, *output.terms.values()):
        assert tensor.dtype == tf.float32
    assert vae.reconstruct(x).dtype == np.float32
    assert {layer.compute_dtype for layer in vae.encoder.layers} == {"bfloat16"}


@few_members
def test_the_step_compiles_under_xla(member):
    vae, history = trained(member, jit_compile=True)
    assert vae.jit_compile
    assert np.isfinite(history["loss"]).all()


@every_member
def test_shapes_follow_the_glossary(member):
    vae = compose(member)
    inputs = sided(vae, events(member, 4))
    noise = tf.random.stateless_normal([DRAWS, 4, vae.latent.noise_size], [0, 0])
    one = vae.graph.forward(inputs, noise, step=0, seed=tf.constant([0, 0])).latent_pass
    draw, output = one.draw, vae.objective.evaluate(one)
    assert one.log_px.shape == draw.log_qz.shape == draw.log_pz.shape == (DRAWS, 4)
    assert draw.decoder_input.shape == (DRAWS, 4, vae.latent.output_dim)
    assert draw.kl.shape == output.loss.shape == (4,)
    np.testing.assert_allclose(tf.reduce_sum(draw.kl_parts, -1), draw.kl, rtol=1e-6)
    assert all(term.shape == (4,) for term in output.terms.values())
