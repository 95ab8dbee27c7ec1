"""Size factors from the data to the mean of counts, by every way that Keras delivers data."""

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

import keras_vae as kv


@pytest.fixture
def cells():
    """Forty examples of six counts whose means follow their size factors."""
    rng = np.random.default_rng(0)
    offset = np.exp(rng.normal(size=40)).astype("float32")
    return {"x": rng.poisson(3.0 * offset[:, None], (40, 6)).astype("float32"), "offset": offset}


def model(likelihood="negative_binomial:size_factor=True", **compiled):
    vae = kv.VAE((6,), 2, likelihood=likelihood, network="dense:widths=[8]")
    vae.compile(keras.optimizers.Adam(0.01), **compiled)
    return vae


def constant(log_rate=1.0):
    """Returns a Poisson model whose rates are the same for every z, and whose q(z|x) is p(z)."""
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Rescaling(0.0)])
    bias = keras.initializers.Constant(log_rate)
    last = keras.layers.Dense(6, kernel_initializer="zeros", bias_initializer=bias)
    decoder = keras.Sequential([keras.Input((2,)), last])
    head = kv.likelihoods.Poisson(size_factor=True)
    vae = kv.VAE((6,), 2, likelihood=head, encoder=encoder, decoder=decoder)
    vae.compile("sgd")
    return vae


def test_every_method_multiplies_the_mean_by_the_size_factor(cells):
    vae = constant()
    mean = np.tile(np.e * cells["offset"][:, None], (1, 6))
    np.testing.assert_allclose(vae.reconstruct(cells), mean, rtol=1e-5)
    np.testing.assert_allclose(vae.predict(cells, verbose=0), mean, rtol=1e-5)
    np.testing.assert_allclose(vae(cells), mean, rtol=1e-5)
    exact = scipy.stats.poisson(mean).logpmf(cells["x"]).sum(-1)
    np.testing.assert_allclose(vae.elbo(cells, batch_size=7), exact, rtol=1e-5)
    np.testing.assert_allclose(vae.log_likelihood(cells, 10), exact, rtol=1e-5)
    np.testing.assert_allclose(vae.prior_sample(cells, 10).log_likelihood, exact, rtol=1e-5)
    annealed = vae.annealed_sample(cells, 2, 3, 1)
    np.testing.assert_allclose(annealed.log_likelihood, exact, rtol=1e-4)
    scores = vae.evaluate(cells, verbose=0, return_dict=True)
    assert scores["elbo"] == pytest.approx(exact.mean(), rel=1e-5)
    z = np.zeros((40, 2), "float32")
    np.testing.assert_allclose(vae.decode(z, offset=cells["offset"]), mean, rtol=1e-5)
    np.testing.assert_allclose(vae.decode(z), np.full((40, 6), np.e), rtol=1e-5)
    np.testing.assert_allclose(vae.sample(3, seed=0).mean, np.full((3, 6), np.e), rtol=1e-5)
    drawn = vae.sample(2000, seed=0, offset=10.0)
    np.testing.assert_allclose(drawn.mean, 10 * np.e, rtol=1e-5)
    assert abs(drawn.x.mean() - 10 * np.e) < 4.5 * np.sqrt(10 * np.e / 12000)
    np.testing.assert_allclose(vae.observation(z[:1]).mean(), np.full((1, 6), np.e), rtol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["arrays", "weighted", "dataset", "generator"])
def test_data_comes_as_keras_takes_it(cells, kind, jit_compile):
    vae = model(jit_compile=jit_compile)
    start = vae.evaluate(cells, verbose=0, return_dict=True)["loss"]
    dataset = tf.data.Dataset.from_tensor_slices(cells).batch(8)
    options = {"epochs": 3, "verbose": 0, "validation_data": (cells,)}
    if kind == "arrays":
        vae.fit(cells, batch_size=8, **options)
    elif kind == "weighted":
        vae.fit(cells, sample_weight=np.ones(40), batch_size=8, **options)
    elif kind == "dataset":
        vae.fit(dataset, **options)
    else:
        batches = ((batch,) for _ in range(3) for batch in dataset.as_numpy_iterator())
        vae.fit(batches, steps_per_epoch=5, **options)
    assert vae.evaluate(dataset, verbose=0, return_dict=True)["loss"] < start


def test_the_size_factor_is_used_in_training(cells):
    """What is told the size factors explains counts better than what must find them."""
    told, untold = (
        constant(0.0),
        kv.VAE(
            (6,), 2, likelihood="poisson", encoder=constant().encoder, decoder=constant(0.0).decoder
        ),
    )
    for vae, data in ((told, cells), (untold, cells["x"])):
        vae.compile(keras.optimizers.Adam(0.05))
        vae.fit(data, epochs=60, verbose=0)
    rate = np.exp(told.decoder.layers[-1].bias.numpy())
    best = cells["x"].sum(0) / cells["offset"].sum()  # of greatest likelihood
    np.testing.assert_allclose(rate, best, rtol=0.12)  # z says a little, too
    assert told.elbo(cells).mean() > untold.elbo(cells["x"]).mean() + 5.0


@pytest.mark.slow
def test_saved_and_exported_models_take_size_factors(cells, tmp_path):
    vae = model("zero_inflated_negative_binomial:size_factor=True")
    vae.fit(cells, verbose=0)
    vae.save(tmp_path / "model.keras")
    again = kv.load(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.elbo(cells, seed=3), vae.elbo(cells, seed=3))
    exported = tf.saved_model.load(str(kv.export.saved_model(vae, tmp_path / "model")))
    seed, call = tf.constant([0, 3]), exported.signatures
    close = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(
        call["elbo"](**cells, seed=seed)["elbo"], vae.elbo(cells, seed=3), **close
    )
    np.testing.assert_allclose(
        call["reconstruct"](**cells)["mean"], vae.reconstruct(cells), **close
    )
    found = call["log_likelihood"](**cells, num_samples=tf.constant(11), seed=seed)
    np.testing.assert_allclose(
        found["log_likelihood"], vae.log_likelihood(cells, 11, seed=3), **close
    )
    drawn = call["sample"](n=tf.constant(4), seed=seed)
    np.testing.assert_allclose(drawn["mean"], vae.sample(4, seed=3).mean, **close)


def test_a_joint_passes_size_factors_on(cells):
    parts = ["poisson:size_factor=True", "normal"]
    vae = kv.VAE((6,), 2, likelihood=kv.likelihoods.Joint(parts, (4, 2)))
    z = np.zeros((1, 2), "float32")
    one, ten = vae.decode(z), vae.decode(z, offset=10.0)
    np.testing.assert_allclose(ten[:, :4], 10 * one[:, :4], rtol=1e-5)
    np.testing.assert_array_equal(ten[:, 4:], one[:, 4:])


def test_a_size_factor_that_is_missing_or_wrong_is_refused(cells):
    vae, plain = model(), model("poisson")
    calls = [vae.elbo, vae.reconstruct, lambda x: vae.fit(x, verbose=0)]
    for call in calls:
        with pytest.raises(ValueError, match="received x alone; expected"):
            call(cells["x"])
        with pytest.raises(ValueError, match="a mapping of depth, x"):
            call({"x": cells["x"], "depth": cells["offset"]})
        with pytest.raises(ValueError, match="The least offset is 0"):
            call({**cells, "offset": np.zeros(40, "float32")})
    for call in (plain.elbo, lambda x: plain.fit(x, verbose=0)):
        with pytest.raises(ValueError, match="a mapping of offset, x; expected x alone"):
            call(cells)
    with pytest.raises(ValueError, match="expected x alone"):
        plain.sample(3, offset=2.0)
    with pytest.raises(ValueError, match=r"offset has shape \(7,\); expected \(40,\)"):
        vae.elbo({**cells, "offset": np.ones(7)})
    np.testing.assert_array_equal(plain.elbo({"x": cells["x"]}), plain.elbo(cells["x"]))
