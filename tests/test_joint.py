"""Several likelihoods over blocks of one event."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_vae as kv

PARTS = ["normal:variance=learned", "categorical:num_classes=3", "poisson", "bernoulli"]
SIZES = (2, 1, 2, 1)
DRAWS = ((2, 4), (1, 3), (2, 2), (1, 1))


def ready(likelihood, event_shape=(6,)):
    likelihood.setup(event_shape)
    return likelihood


@pytest.fixture
def table():
    """Rows of two real numbers, a class, two counts and a bit, float32."""
    rng = np.random.default_rng(0)
    blocks = [
        rng.normal(size=(40, 2)),
        rng.integers(0, 3, (40, 1)),
        rng.poisson(3, (40, 2)),
        rng.integers(0, 2, (40, 1)),
    ]
    return np.concatenate(blocks, -1).astype("float32")


def test_a_joint_is_the_sum_of_its_blocks(table):
    head = ready(kv.likelihoods.Joint(PARTS, SIZES))
    assert head.params_shape((6,)) == (4 + 3 + 2 + 1,)
    params = np.random.default_rng(1).normal(size=(3, 40, 10)).astype("float32")
    mask = (np.random.default_rng(2).random(table.shape) < 0.7).astype("float32")
    expected, masked, means, place, own = 0.0, 0.0, [], 0, 0
    for part, (size, count) in zip(PARTS, DRAWS):
        one = ready(kv._registry.get("likelihood", part), (size,))
        x, p = table[:, place : place + size], params[..., own : own + count]
        expected += one.log_prob(p, x).numpy()
        masked += one.log_prob(p, x, mask=mask[:, place : place + size]).numpy()
        means.append(one.mean(p))
        place, own = place + size, own + count
    np.testing.assert_allclose(head.log_prob(params, table), expected, rtol=1e-5)
    holes = np.where(mask > 0, table, np.nan)
    np.testing.assert_allclose(head.log_prob(params, holes, mask=mask), masked, rtol=1e-5)
    np.testing.assert_array_equal(head.mean(params), np.concatenate(means, -1))
    whole = head.distribution(params)
    assert (whole.batch_shape, whole.event_shape) == ((3, 40), (6,))
    np.testing.assert_allclose(whole.log_prob(table), expected, rtol=1e-5)
    assert whole.sample(2, seed=0).shape == (2, 3, 40, 6)


def test_draws_lie_within_the_support_of_each_block():
    head = ready(kv.likelihoods.Joint(PARTS, SIZES))
    draws = head.sample(np.zeros((100, 10), "float32"), tf.constant([0, 1]))
    assert tf.reduce_all(kv._checks.support(head.support).contains(draws))
    assert len(np.unique(draws[:, 0])) == 100
    assert set(np.unique(draws[:, 2])) == {0.0, 1.0, 2.0}


def test_the_encoder_sees_each_block_its_own_way(table):
    head = ready(kv.likelihoods.Joint(PARTS, SIZES))
    seen = head.to_network(tf.constant(table)).numpy()
    assert head.network_shape((6,)) == seen.shape[1:] == (2 + 3 + 2 + 1,)
    np.testing.assert_array_equal(seen[:, :2], table[:, :2])
    np.testing.assert_array_equal(seen[:, 2:5], np.eye(3)[table[:, 2].astype(int)])
    np.testing.assert_allclose(seen[:, 5:7], np.log1p(table[:, 3:5]), rtol=1e-6)


def test_blocks_of_an_images_channels():
    head = ready(kv.likelihoods.Joint(["normal", "bernoulli"], (2, 1)), (4, 4, 3))
    assert head.log_prob(tf.zeros([2, 4, 4, 3]), tf.zeros([2, 4, 4, 3])).shape == (2,)


def test_what_a_block_observes_is_its_own(table):
    parts = ["normal:variance=optimal", "normal:variance=optimal"]
    head = ready(kv.likelihoods.Joint(parts, (1, 1)), (2,))
    params = tf.zeros([1, 40, 2])
    observed = head.observe(params, tf.constant(table[:, :2]), None, None)
    np.testing.assert_allclose(observed, (table[:, :2] ** 2).mean(0), rtol=1e-5)


def test_a_joint_trains_saves_and_evaluates(table, tmp_path):
    vae = kv.VAE((6,), 2, likelihood=kv.likelihoods.Joint(PARTS, SIZES), network="dense:widths=[8]")
    vae.adapt(table)
    vae.compile(keras.optimizers.Adam(0.01))
    losses = vae.fit(table, epochs=10, batch_size=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    vae.save(tmp_path / "model.keras")
    again = kv.load(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.elbo(table), vae.elbo(table))
    metrics = kv.evaluation.evaluate(vae, table, 20)
    assert metrics["bits_per_dim"] is None
    assert np.isfinite(metrics["nll"])


def test_a_joint_of_discrete_blocks_has_bits():
    parts = ["categorical:num_classes=2", "poisson"]
    vae = kv.VAE((2,), 2, likelihood=kv.likelihoods.Joint(parts, (1, 1)))
    assert kv.evaluation.evaluate(vae, np.ones((8, 2), "float32"), 10)["bits_per_dim"] > 0.0


def test_a_joint_is_written_as_a_text():
    text = "joint:likelihoods=['normal:variance=shared','poisson'],sizes=[3,2]"
    head = kv._registry.get("likelihood", text)
    assert [one.short_name for one in head.likelihoods] == ["normal", "poisson"]
    assert head.likelihoods[0].variance == "shared"
    assert head.sizes == (3, 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((["normal"], (2, 3)), "holds 1 and sizes 2"),
        (("normal", (2,)), "expected a list"),
        (([], ()), "positive whole numbers"),
        (([kv.likelihoods.Normal()] * 2, (2, 3)), "one instance twice"),
    ],
)
def test_mistakes_are_refused_at_construction(arguments, words):
    with pytest.raises((ValueError, TypeError), match=words):
        kv.likelihoods.Joint(*arguments)


def test_sizes_that_do_not_add_up_are_refused():
    with pytest.raises(ValueError, match="adds up to 5; expected the last axis"):
        kv.VAE((6,), 2, likelihood=kv.likelihoods.Joint(["normal", "poisson"], (3, 2)))


def test_a_value_outside_a_blocks_support_is_refused(table):
    vae = kv.VAE((6,), 2, likelihood=kv.likelihoods.Joint(PARTS, SIZES))
    table[3, 2] = 3.0
    with pytest.raises(ValueError, match=r"the first is 3 at index \(3, 2\).*0 to 2 in 2:3"):
        vae.elbo(table)
