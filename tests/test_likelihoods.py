"""p(x|z) against SciPy, at ordinary values, at extremes and in gradients."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

import keras_vae as kv
from keras_vae._types import Given
from keras_vae.likelihoods.base import LARGEST_LOG

EVENT = (2, 3)


def ready(likelihood, event_shape=EVENT):
    likelihood.setup(event_shape)
    return likelihood


def test_bernoulli_is_scipys(rng):
    head = ready(kv.likelihoods.Bernoulli())
    logits = rng.normal(size=(4, 7, *EVENT)).astype("float32") * 3
    x = (rng.random((7, *EVENT)) < 0.4).astype("float32")
    expected = scipy.stats.bernoulli(scipy.special.expit(logits.astype("float64"))).logpmf(x)
    np.testing.assert_allclose(head.log_prob(logits, x), expected.sum((-2, -1)), rtol=1e-5)
    np.testing.assert_allclose(head.mean(logits), scipy.special.expit(logits), rtol=1e-5)
    draws = head.sample(tf.zeros([4000, *EVENT]), tf.constant([0, 1])).numpy()
    assert set(np.unique(draws)) == {0.0, 1.0}
    np.testing.assert_allclose(draws.mean(0), 0.5, atol=4 * 0.5 / np.sqrt(4000))


def test_bernoulli_scores_grey_values_by_their_cross_entropy(rng):
    head = ready(kv.likelihoods.Bernoulli())
    logits, x = rng.normal(size=(7, *EVENT)), rng.random((7, *EVENT))
    p = scipy.special.expit(logits)
    expected = (x * np.log(p) + (1 - x) * np.log(1 - p)).sum((-2, -1))
    np.testing.assert_allclose(head.log_prob(logits.astype("float32"), x), expected, rtol=1e-5)


@pytest.mark.parametrize("variance", ["fixed", "learned", "shared", "optimal"])
def test_normal_is_scipys(variance, rng):
    head = ready(kv.likelihoods.Normal(variance, stddev=0.6, minimum_stddev=1e-6))
    mean = rng.normal(size=(4, 7, *EVENT)).astype("float32")
    log_stddev = rng.normal(size=mean.shape).astype("float32")
    params = np.concatenate([mean, log_stddev], -1) if variance == "learned" else mean
    stddev = np.exp(log_stddev) if variance == "learned" else 0.6
    x = rng.normal(size=(7, *EVENT)).astype("float32")
    expected = scipy.stats.norm(mean, stddev).logpdf(x).sum((-2, -1))
    np.testing.assert_allclose(head.log_prob(params, x), expected, rtol=1e-4)
    np.testing.assert_array_equal(head.mean(params), mean)
    whole = head.distribution(params)
    assert whole.event_shape == EVENT
    assert whole.batch_shape == (4, 7)
    np.testing.assert_allclose(whole.log_prob(x), expected, rtol=1e-4)
    count = head.params_shape(EVENT)
    assert count == ((2, 6) if variance == "learned" else EVENT)


def test_learned_variances_are_trained_in_the_layout_location_then_scale():
    head = ready(kv.likelihoods.Normal("learned"), (1,))
    params = tf.Variable([[0.2, 0.1]])
    with tf.GradientTape() as tape:
        value = head.log_prob(params, tf.constant([[1.0]]))
    variance = np.exp(0.2)
    gradient = tape.gradient(value, params)[0]
    np.testing.assert_allclose(gradient, [0.8 / variance, 0.64 / variance - 1.0], rtol=5e-3)


@pytest.mark.parametrize("log_stddev", [-1e4, -30.0, 0.0, 40.0])
def test_the_smallest_standard_deviation_is_a_smooth_bound(log_stddev):
    head = ready(kv.likelihoods.Normal("learned", minimum_stddev=0.01), (1,))
    params = tf.Variable([[0.0, log_stddev]])
    with tf.GradientTape() as tape:
        distribution = head.distribution(params)
        value = distribution.log_prob([[0.5]])
    stddev = float(distribution.stddev()[0, 0])
    assert stddev >= 0.01 - 1e-8
    assert np.isfinite(value).all()
    assert np.isfinite(tape.gradient(value, params)).all()
    if log_stddev == 0.0:
        assert stddev == pytest.approx(1.01, rel=1e-4)


@pytest.mark.parametrize("log_stddev", [90.0, 1e4, 1e9])
@pytest.mark.parametrize("variance", ["learned", "shared"])
def test_standard_deviations_of_any_size_are_scored(variance, log_stddev):
    head = ready(kv.likelihoods.Normal(variance), (1,))
    params = tf.Variable([[0.0, log_stddev][: head.params_per_element]])
    if variance == "shared":
        head.log_stddev.assign(log_stddev)
    with tf.GradientTape() as tape:
        value = head.log_prob(params, [[0.5]])
    np.testing.assert_allclose(value, -LARGEST_LOG - 0.5 * np.log(2.0 * np.pi), rtol=1e-6)
    weights = [params, *head.trainable_variables]
    gradient = [g for g in tape.gradient(value, weights) if g is not None]
    assert all(np.isfinite(g).all() for g in gradient)
    last = gradient[0][0, -1] if variance == "learned" else gradient[1]
    assert float(last) == pytest.approx(-1.0)


def test_the_optimal_variance_leaves_out_what_is_missing_even_where_it_is_nan():
    head = ready(kv.likelihoods.Normal("optimal"), (2,))
    x, seen = tf.constant([[1.0, np.nan], [2.0, 3.0]]), tf.constant([[1, 0], [1, 1]])
    observed = head.observe(tf.zeros([1, 2, 2]), x, seen, None)
    np.testing.assert_allclose(observed, 14.0 / 3.0, rtol=1e-6)
    np.testing.assert_allclose(head.moving_variance, 14.0 / 3.0, rtol=1e-6)


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("weights", [None, np.array([1.0, 0.0, 2.0, 1.0, 5.0], "float32")])
def test_the_optimal_variance_is_the_mean_squared_error(mask, weights, rng):
    head = ready(kv.likelihoods.Normal("optimal"))
    mean = rng.normal(size=(3, 5, *EVENT)).astype("float32")
    x = rng.normal(size=(5, *EVENT)).astype("float32")
    seen = (rng.random(x.shape) < 0.7).astype("float32") if mask else None
    observed = head.observe(tf.constant(mean), tf.constant(x), seen, weights)
    shares = np.ones_like(x) if seen is None else seen
    shares = shares * (1.0 if weights is None else weights[:, None, None])
    expected = np.average((mean - x) ** 2, weights=np.broadcast_to(shares, mean.shape))
    np.testing.assert_allclose(observed, expected, rtol=1e-5)
    np.testing.assert_allclose(head.moving_variance, expected, rtol=1e-5)

    # No other variance scores this batch higher.
    def score(variance):
        values = head.log_prob(mean, x, Given(observed=tf.constant(variance, tf.float32)), seen)
        return np.average(values.numpy().mean(0), weights=weights)

    best = score(expected)
    assert best > score(1.05 * expected)
    assert best > score(0.95 * expected)


def test_the_moving_variance_is_plain_at_first_and_exponential_later():
    head = ready(kv.likelihoods.Normal("optimal", momentum=0.5), (1,))
    values = [4.0, 1.0, 9.0, 16.0]
    for variance in values:
        head.observe(tf.zeros([1, 1, 1]), tf.constant([[variance**0.5]]), None, None)
    expected = values[0]
    for number, variance in enumerate(values):
        keep = min(0.5, number / (number + 1))
        expected = keep * expected + (1 - keep) * variance
    np.testing.assert_allclose(head.moving_variance, expected, rtol=1e-6)
    np.testing.assert_allclose(head.distribution(tf.zeros([1, 1])).variance(), [[expected]])
    head.trainable = False
    head.observe(tf.zeros([1, 1, 1]), tf.constant([[100.0]]), None, None)
    np.testing.assert_allclose(head.moving_variance, expected, rtol=1e-6)


def test_entries_out_of_the_mask_count_nothing_even_in_gradients(rng):
    head = ready(kv.likelihoods.Normal("learned"))
    params = tf.Variable(rng.normal(size=(5, 2, 6)).astype("float32"))
    x = rng.normal(size=(5, *EVENT)).astype("float32")
    mask = np.ones_like(x)
    mask[:, 0, 1] = 0.0
    with tf.GradientTape() as tape:
        value = head.log_prob(params, x, mask=mask)
    x[:, 0, 1] = 7.0
    np.testing.assert_array_equal(value, head.log_prob(params, x, mask=mask))
    gradient = tape.gradient(value, params).numpy()
    np.testing.assert_array_equal(gradient[:, 0, [1, 4]], 0.0)
    assert np.all(gradient[:, 1] != 0.0)


def test_parameters_of_any_float_type_are_scored_in_float32(rng):
    head = ready(kv.likelihoods.Normal("fixed"))
    params = tf.cast(rng.normal(size=(2, *EVENT)), tf.float16)
    x = np.zeros((2, *EVENT), "float64")
    assert head.log_prob(params, x).dtype == tf.float32
    assert head.sample(params, tf.constant([0, 0])).dtype == tf.float32


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"variance": "free"}, "variance is 'free'"),
        ({"stddev": 0.0}, "stddev is 0"),
        ({"stddev": "one"}, "stddev is 'one'"),
        ({"minimum_stddev": -1.0}, "minimum_stddev is -1"),
        ({"variance": "shared", "stddev": 1e-4}, "the larger one"),
        ({"momentum": 1.0}, "momentum is 1"),
    ],
)
def test_mistakes_are_refused_at_construction(arguments, words):
    with pytest.raises((ValueError, TypeError), match=words):
        kv.likelihoods.Normal(**arguments)


def test_parameters_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(\.\.\., 2, 3\).*\(\.\.\., 2, 6\)"):
        ready(kv.likelihoods.Normal("learned")).log_prob(tf.zeros([4, *EVENT]), np.zeros(EVENT))


@pytest.mark.parametrize("shape", [(1,), (784,), (797,), (8, 8, 1)])
@pytest.mark.parametrize("scale", [0.0, 3.0, 60.0])
def test_an_event_of_bits_is_the_sum_of_its_elements(shape, scale):
    head = kv.likelihoods.Bernoulli()
    head.setup(shape)
    rng = np.random.default_rng(0)
    logits = tf.Variable(rng.normal(size=(3, 5, *shape)) * scale, dtype=tf.float32)
    x = tf.constant(rng.random((5, *shape)), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        whole = head.log_prob(logits, x)
        elements = head.log_prob(logits, x, mask=tf.ones_like(x))
    np.testing.assert_allclose(whole, elements, rtol=1e-5, atol=1e-5)
    exact = logits.numpy().astype("float64")
    softplus = np.maximum(exact, 0.0) + np.log1p(np.exp(-np.abs(exact)))
    expected = (x.numpy() * exact - softplus).reshape(3, 5, -1).sum(-1)
    np.testing.assert_allclose(whole, expected, rtol=3e-6, atol=1e-5)
    slope = tape.gradient(whole, logits)
    np.testing.assert_allclose(slope, x.numpy() - scipy.special.expit(exact), atol=1e-6)
