"""Likelihoods of grey levels: they add up to one, and lose nothing at the ends."""

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

import keras_vae as kv

LEVELS = np.arange(256, dtype="float32")


def ready(likelihood, event_shape=(1,)):
    likelihood.setup(event_shape)
    return likelihood


@pytest.mark.parametrize("loc", [-30.0, -1.0, -0.3, 0.999, 1.0, 5.0])
@pytest.mark.parametrize("log_scale", [-100.0, -7.0, -2.0, 0.0, 3.0])
def test_the_levels_add_up_to_one(loc, log_scale):
    head = ready(kv.likelihoods.DiscretizedLogistic())
    params = np.tile(np.float32([[loc, log_scale]]), (256, 1))
    mass = np.exp(head.log_prob(params, LEVELS[:, None]).numpy().astype("float64"))
    np.testing.assert_allclose(mass.sum(), 1.0, rtol=2e-5)
    np.testing.assert_allclose(head.mean(params[:1]), [[mass @ LEVELS]], rtol=1e-4, atol=1e-3)


def test_each_level_has_the_mass_of_its_interval():
    head = ready(kv.likelihoods.DiscretizedLogistic(minimum_scale=1e-9))
    loc, log_scale = 0.2, -1.5
    edges = (np.arange(257) - 0.5) * 2 / 255 - 1
    edges[[0, -1]] = -np.inf, np.inf
    expected = np.diff(scipy.stats.logistic(loc, np.exp(log_scale)).cdf(edges))
    params = np.tile(np.float32([[loc, log_scale]]), (256, 1))
    np.testing.assert_allclose(head.log_prob(params, LEVELS[:, None]), np.log(expected), rtol=1e-4)


@pytest.mark.parametrize("level", [0.0, 1.0, 128.0, 254.0, 255.0])
@pytest.mark.parametrize("loc", [-100.0, 0.0, 100.0])
@pytest.mark.parametrize("log_scale", [-100.0, -10.0, 0.0, 10.0, 100.0])
@pytest.mark.parametrize("mixture", [False, True])
def test_every_level_has_a_finite_gradient(level, loc, log_scale, mixture):
    if mixture:
        head = ready(kv.likelihoods.LogisticMixture(2))
        params = tf.Variable([[loc, 0.0, loc, -loc, log_scale, log_scale]])
    else:
        head = ready(kv.likelihoods.DiscretizedLogistic())
        params = tf.Variable([[loc, log_scale]])
    with tf.GradientTape() as tape:
        value = head.log_prob(params, [[level]])
    assert np.isfinite(value).all()
    assert np.isfinite(tape.gradient(value, params)).all()


def test_gradients_are_differences():
    head = ready(kv.likelihoods.DiscretizedLogistic(minimum_scale=1e-9))

    def exact(loc, log_scale, level):
        ends = (level + np.array([0.5, -0.5])) * 2 / 255 - 1
        upper, lower = scipy.special.expit((ends - loc) / np.exp(log_scale))
        return np.log((upper if level < 255 else 1.0) - (lower if level > 0 else 0.0))

    for level in (0.0, 40.0, 255.0):
        params = tf.Variable([[0.1, -1.0]])
        with tf.GradientTape() as tape:
            value = head.log_prob(params, [[level]])
        step = 1e-5
        slopes = [
            (exact(0.1 + step, -1.0, level) - exact(0.1 - step, -1.0, level)) / (2 * step),
            (exact(0.1, -1.0 + step, level) - exact(0.1, -1.0 - step, level)) / (2 * step),
        ]
        np.testing.assert_allclose(tape.gradient(value, params)[0], slopes, rtol=1e-3)


def test_draws_follow_the_masses():
    head = ready(kv.likelihoods.DiscretizedLogistic(8))
    params = np.tile(np.float32([[-0.4, -1.0]]), (20000, 1))
    draws = head.sample(params, tf.constant([0, 1])).numpy()[:, 0]
    np.testing.assert_array_equal(draws, np.round(draws))
    levels = np.arange(8, dtype="float32")[:, None]
    mass = np.exp(head.log_prob(params[:8], levels).numpy())
    share = (draws == levels).mean(1)
    assert (abs(share - mass) < 4.5 * np.sqrt(mass / 20000)).all()


def test_levels_divided_by_255_score_the_same():
    whole = ready(kv.likelihoods.DiscretizedLogistic())
    divided = ready(kv.likelihoods.DiscretizedLogistic(high=1.0))
    params = np.tile(np.float32([[0.3, -2.0]]), (256, 1))
    np.testing.assert_allclose(
        whole.log_prob(params, LEVELS[:, None]),
        divided.log_prob(params, LEVELS[:, None] / np.float32(255)),
        rtol=1e-4,
    )
    np.testing.assert_allclose(whole.mean(params[:1]) / 255, divided.mean(params[:1]), rtol=1e-5)
    draws = divided.sample(params, tf.constant([0, 1]))
    np.testing.assert_allclose(draws * 255, np.round(draws * 255), atol=1e-3)
    assert kv._checks.support(divided.support).contains(draws.numpy()).all()
    np.testing.assert_allclose(whole.to_network(LEVELS[[0, 255]]), [-1.0, 1.0])


# Mixtures


def colours(head, params, count):
    """Returns the probabilities of all colours of one pixel with `count` levels, by quadrature."""
    grid = np.stack(np.meshgrid(*[np.arange(count)] * 3, indexing="ij"), -1).reshape(-1, 3)
    x = grid.astype("float32")[:, None, None]
    return grid, np.exp(head.log_prob(np.tile(params, (len(x), 1, 1, 1)), x).numpy())


def test_the_colours_of_a_mixture_add_up_to_one_and_hang_together():
    head = ready(kv.likelihoods.LogisticMixture(3, levels=6), (1, 1, 3))
    assert head.params_shape((1, 1, 3)) == (1, 1, 3 * (1 + 3 + 3 + 3))
    params = np.random.default_rng(0).normal(size=(1, 1, 1, 30)).astype("float32")
    grid, mass = colours(head, params, 6)
    np.testing.assert_allclose(mass.sum(), 1.0, rtol=1e-5)
    draws = head.sample(np.tile(params, (20000, 1, 1, 1)), tf.constant([0, 1])).numpy()
    draws = draws.reshape(-1, 3).astype("float64")
    mean = mass @ grid
    covariance = (grid - mean).T @ ((grid - mean) * mass[:, None])
    error = np.sqrt(np.diag(covariance) / 20000)
    assert (abs(draws.mean(0) - mean) < 4.5 * error).all()
    centred = draws - draws.mean(0)
    products = centred[:, :, None] * centred[:, None]
    spread = products.std(0) / np.sqrt(20000)
    assert (abs(products.mean(0) - covariance) < 5.0 * spread).all()
    assert abs(covariance[0, 1]) > 5.0 * spread[0, 1]  # the slopes say something
    np.testing.assert_allclose(head.mean(params)[0, 0, 0, 0], mean[0], rtol=1e-4)


def test_a_mixture_is_the_sum_of_its_components():
    rng = np.random.default_rng(1)
    head = ready(kv.likelihoods.LogisticMixture(4), (5,))
    single = ready(kv.likelihoods.DiscretizedLogistic())
    params = rng.normal(size=(7, 5, 3, 4)).astype("float32")  # logits, locations, log-scales
    x = rng.integers(0, 256, (7, 5)).astype("float32")
    logits, loc, log_scale = np.moveaxis(params, -2, 0)
    log_shares = scipy.special.log_softmax(logits, -1)
    parts = np.stack([loc, log_scale], -1).reshape(-1, 2)
    of_each = single.log_prob(parts, np.repeat(x.ravel(), 4)[:, None]).numpy().reshape(7, 5, 4)
    expected = scipy.special.logsumexp(log_shares + of_each, axis=-1).sum(-1)
    np.testing.assert_allclose(head.log_prob(params.reshape(7, 60), x), expected, rtol=1e-5)
    whole = head.distribution(params.reshape(7, 60))
    assert (whole.batch_shape, whole.event_shape) == ((7,), (5,))
    assert whole.sample(3, seed=0).shape == (3, 7, 5)


def test_a_uniform_mixture_scores_eight_bits_per_dimension():
    """One component on each level, all alike, is uniform over the 256 levels."""
    event = (2, 2, 1)
    head = kv.likelihoods.LogisticMixture(256, minimum_scale=1e-4)
    logits, log_scale = np.zeros(256), np.full(256, -100.0)
    pixel = np.concatenate([logits, LEVELS * 2 / 255 - 1, log_scale])
    bias = keras.initializers.Constant(np.tile(pixel, 4))
    decoder = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(4 * 768, kernel_initializer="zeros", bias_initializer=bias),
            keras.layers.Reshape((2, 2, 768)),
        ]
    )
    # An encoder that says nothing leaves the prior, so log p(x) is found exactly.
    encoder = keras.Sequential(
        [keras.Input(event), keras.layers.Rescaling(0.0), keras.layers.Flatten()]
    )
    vae = kv.VAE(event, 2, likelihood=head, decoder=decoder, encoder=encoder)
    x = np.random.default_rng(0).integers(0, 256, (20, *event)).astype("uint8")
    metrics = kv.evaluation.evaluate(vae, x.astype("float32"), 500)
    assert metrics["bits_per_dim"] == pytest.approx(8.0, abs=1e-3)
    assert metrics["normalised"]


def test_a_uniform_model_of_classes_scores_eight_bits_per_dimension():
    head = ready(kv.likelihoods.Categorical(256), (4,))
    value = head.log_prob(np.zeros((1, 1024), "float32"), np.float32([[0, 17, 128, 255]]))
    np.testing.assert_allclose(-value / 4 / np.log(2), 8.0, rtol=1e-6)


def test_a_pixel_counts_only_if_all_its_channels_were_observed():
    head = ready(kv.likelihoods.LogisticMixture(2), (2, 1, 3))
    params = np.random.default_rng(0).normal(size=(1, 2, 1, 20)).astype("float32")
    x = np.full((1, 2, 1, 3), 100.0, "float32")
    mask = np.ones_like(x)
    mask[0, 1, 0, 2] = 0.0
    x[0, 1, 0, 2] = np.nan
    first = ready(kv.likelihoods.LogisticMixture(2), (1, 1, 3))
    np.testing.assert_allclose(
        head.log_prob(params, x, mask=mask), first.log_prob(params[:, :1], x[:, :1]), rtol=1e-6
    )


@pytest.mark.parametrize(
    "head",
    [
        kv.likelihoods.DiscretizedLogistic(),
        kv.likelihoods.LogisticMixture(1),
        kv.likelihoods.LogisticMixture(5),
    ],
)
@pytest.mark.parametrize("shape", [(3,), (1, 1, 3)])
def test_a_decoder_of_levels_starts_near_the_mean(head, shape):
    head = ready(type(head).from_config(head.get_config()), shape)
    mean = tf.reshape(tf.constant([40.0, 128.0, 200.0]), shape)
    stddev = tf.fill(shape, 20.0)
    params = head.initial_params(mean, stddev)
    assert tuple(params.shape) == head.params_shape(shape)
    np.testing.assert_allclose(head.mean(params[None])[0], mean, atol=3.0)
