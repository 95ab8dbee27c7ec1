"""Likelihoods of counts against SciPy, at ordinary values, at extremes and in gradients."""

import itertools

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

import keras_vae as kv
from keras_vae._types import Given
from keras_vae.likelihoods import counts

COUNTS = (0.0, 1.0, 2.0, 7.0, 8.0, 50.0, 1000.0, 1e6)


def ready(likelihood, event_shape=(3,)):
    likelihood.setup(event_shape)
    return likelihood


def exact_negative_binomial(x, log_mean, log_r):
    """Returns log NB(x) and its derivatives by the textbook's formula, in float64."""
    mean, r = np.exp(np.float64(log_mean)), np.exp(np.float64(log_r))
    gammas = scipy.special.gammaln(x + r) - scipy.special.gammaln(r) - scipy.special.gammaln(x + 1)
    value = gammas - r * np.log1p(mean / r) - x * np.log1p(r / mean)
    digammas = scipy.special.digamma(x + r) - scipy.special.digamma(r)
    of_r = r * (digammas - np.log1p(mean / r) + (mean - x) / (mean + r))
    return value, r * (x - mean) / (r + mean), of_r


def test_negative_binomial_keeps_its_digits_and_gradients_at_all_sizes():
    means, dispersions = (-40, -20, -5, 0, 2, 7, 13.8, 20, 40), (-40, -14, -5, 0, 3, 10, 18)
    grid = np.float32(list(itertools.product(COUNTS, means, dispersions)))
    x, log_mean, log_r = map(tf.constant, grid.T)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([log_mean, log_r])
        value = counts.negative_binomial_log_prob(x, log_mean, log_r)
    expected = exact_negative_binomial(*grid.T.astype("float64"))
    found = value, tape.gradient(value, log_mean), tape.gradient(value, log_r)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)


def test_poisson_keeps_its_digits_and_gradients_at_all_sizes():
    rates = (-40, -20, -5, 0, 2, 6.9, 13.8, 13.81551, 20, 40)
    grid = np.float32(list(itertools.product(COUNTS, rates)))
    x, log_rate = map(tf.constant, grid.T)
    with tf.GradientTape() as tape:
        tape.watch(log_rate)
        value = counts.poisson_log_prob(x, log_rate)
    gradient = tape.gradient(value, log_rate)
    x, log_rate = grid.T.astype("float64")
    expected = x * log_rate - np.exp(log_rate) - scipy.special.gammaln(x + 1)
    np.testing.assert_allclose(value, expected, rtol=5e-6, atol=1e-6)
    error = abs(gradient.numpy() - (x - np.exp(log_rate)))
    assert (error <= 1e-5 * np.exp(log_rate) + 2e-7 * x).all()


def test_the_large_r_limit_is_poisson():
    x = np.arange(30, dtype="float32")
    log_mean = np.float32(2.0)
    np.testing.assert_allclose(
        counts.negative_binomial_log_prob(x, log_mean, np.float32(25.0)),
        scipy.stats.poisson(np.exp(2.0)).logpmf(x),
        rtol=1e-5,
    )


@pytest.mark.parametrize("dispersion", ["element", "shared", "learned"])
@pytest.mark.parametrize("inflated", [False, True])
def test_heads_of_counts_are_scipys(dispersion, inflated):
    rng = np.random.default_rng(0)
    classes = (kv.likelihoods.NegativeBinomial, kv.likelihoods.ZeroInflatedNegativeBinomial)
    head = ready(classes[inflated](dispersion, start=1.7))
    log_rate, log_r, logit = rng.normal(size=(3, 4, 7, 3)).astype("float32")
    blocks = [log_rate, *([log_r] if dispersion == "learned" else []), *([logit] * inflated)]
    params = np.concatenate(blocks, -1)
    assert head.params_shape((3,)) == params.shape[2:]
    x = np.float32(rng.poisson(2.0, (7, 3)))
    r = np.exp(log_r.astype("float64")) if dispersion == "learned" else 1.7
    mean = np.exp(log_rate.astype("float64"))
    share = scipy.special.expit(logit) if inflated else 0.0
    mass = (1 - share) * scipy.stats.nbinom(r, r / (r + mean)).pmf(x) + share * (x == 0)
    np.testing.assert_allclose(head.log_prob(params, x), np.log(mass).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(head.mean(params), (1 - share) * mean, rtol=1e-5)
    whole = head.distribution(params)
    assert (whole.batch_shape, whole.event_shape) == ((4, 7), (3,))
    np.testing.assert_allclose(whole.log_prob(x), np.log(mass).sum(-1), rtol=1e-5)
    assert whole.sample(2, seed=0).shape == (2, 4, 7, 3)


def test_gradients_reach_dispersions_that_are_weights():
    for dispersion, shape in (("element", (3,)), ("shared", ())):
        head = ready(kv.likelihoods.NegativeBinomial(dispersion))
        x = np.float32([[0, 3, 50], [1, 1, 1]])
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(head.log_prob(np.zeros((2, 3), "float32"), x))
        gradient = tape.gradient(value, head.log_dispersion.value)
        expected = exact_negative_binomial(x, 0.0, 0.0)[2]
        expected = expected.sum(0) if shape else expected.sum()
        np.testing.assert_allclose(gradient, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "name", ["poisson", "negative_binomial", "zero_inflated_negative_binomial"]
)
def test_draws_have_the_moments(name):
    head = kv._registry.get("likelihood", name)
    if name != "poisson":
        head = type(head)("learned")
    head = ready(head, (2,))
    log_rate, log_r, logit = np.log([3.0, 40.0]), np.log([0.5, 10.0]), np.array([-1.0, 0.5])
    blocks = [log_rate, log_r, logit][: head.params_per_element]
    params = np.tile(np.float32(np.concatenate(blocks)), (40000, 1))
    draws = head.sample(params, tf.constant([0, 1])).numpy().astype("float64")
    mean, r = np.exp(log_rate), np.exp(log_r)
    share = scipy.special.expit(logit) if "zero" in name else 0.0
    extra = 0.0 if name == "poisson" else mean**2 / r
    variance = (1 - share) * (mean + extra + share * mean**2)
    np.testing.assert_array_equal(draws, np.round(draws))
    error = np.sqrt(variance / 40000)
    assert (abs(draws.mean(0) - (1 - share) * mean) < 4.5 * error).all()
    spread = np.std((draws - draws.mean(0)) ** 2, axis=0) / np.sqrt(40000)
    assert (abs(draws.var(0) - variance) < 4.5 * spread).all()
    zeros = np.exp(head.distribution(params[:1]).distribution.log_prob(np.zeros((1, 2), "float32")))
    share_of_zeros = (draws == 0).mean(0)
    assert (abs(share_of_zeros - zeros[0]) < 4.5 * np.sqrt(zeros[0] / 40000)).all()


@pytest.mark.parametrize("x", [0.0, 1.0, 1e6])
@pytest.mark.parametrize("extreme", [-1e4, -100.0, 100.0, 1e4])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_zero_inflation_is_finite_at_extremes(x, extreme, place):
    head = ready(kv.likelihoods.ZeroInflatedNegativeBinomial("learned"), (1,))
    params = np.zeros((1, 3), "float32")
    params[0, place] = extreme
    params = tf.Variable(params)
    with tf.GradientTape() as tape:
        value = head.log_prob(params, [[x]])
    assert np.isfinite(value).all()
    assert np.isfinite(tape.gradient(value, params)).all()


def test_zeros_of_two_kinds_are_added_as_probabilities():
    head = ready(kv.likelihoods.ZeroInflatedNegativeBinomial("shared"), (1,))
    for logit in (-30.0, -3.0, 0.0, 3.0, 30.0):
        value = head.log_prob(np.float32([[np.log(5.0), logit]]), [[0.0]])
        share = scipy.special.expit(logit)
        expected = np.log(share + scipy.special.expit(-logit) / 6.0)
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7)


def test_draws_of_a_rate_that_is_lost_are_lost():
    head = ready(kv.likelihoods.Poisson(), (2,))
    draws = head.sample(np.float32([[np.nan, 1.0]]), tf.constant([0, 1])).numpy()
    np.testing.assert_array_equal(np.isnan(draws), [[True, False]])


@pytest.mark.slow
def test_an_untrained_network_that_says_anything_recovers():
    x = np.float32([[0, 3, 40]] * 8)
    bias = tf.Variable(np.float32([300.0, 30.0, -300.0]))
    head, adam = ready(kv.likelihoods.Poisson()), keras.optimizers.Adam(1.0)
    for _ in range(1000):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(head.log_prob(tf.tile(bias[None], [8, 1]), x))
        adam.apply_gradients([(tape.gradient(loss, bias), bias)])
    assert np.isfinite(bias.numpy()).all()
    np.testing.assert_allclose(bias.numpy()[2], np.log(40.0), atol=0.1)
    assert bias.numpy()[1] < 20.0


def test_the_encoder_sees_logarithms():
    head = ready(kv.likelihoods.Poisson())
    np.testing.assert_allclose(head.to_network(tf.constant([0.0, 1e6])), np.log1p([0.0, 1e6]))


def test_a_decoder_of_counts_starts_at_the_moments():
    mean, stddev = np.float32([0.5, 4.0, 100.0]), np.float32([1.0, 3.0, 40.0])
    head = ready(kv.likelihoods.NegativeBinomial("learned"))
    params = head.initial_params(tf.constant(mean), tf.constant(stddev))
    np.testing.assert_allclose(head.mean(params), mean, rtol=1e-5)
    r = np.exp(params[3:])
    np.testing.assert_allclose(mean + mean**2 / r, stddev**2, rtol=1e-4)
    head = ready(kv.likelihoods.Poisson())
    np.testing.assert_allclose(head.mean(head.initial_params(mean, stddev)), mean, rtol=1e-5)


def test_size_factors_multiply_the_mean():
    x, offset = np.float32([[3, 0, 9]] * 4), np.float32([0.5, 1.0, 2.0, 10.0])
    log_rate = np.float32([[0.2, -1.0, 1.5]] * 4)
    given = Given(offset=tf.constant(offset))
    head = ready(kv.likelihoods.Poisson(size_factor=True))
    mean = offset[:, None] * np.exp(log_rate)
    np.testing.assert_allclose(head.mean(log_rate, given), mean, rtol=1e-5)
    expected = scipy.stats.poisson(mean).logpmf(x).sum(-1)
    samples = np.tile(log_rate, (2, 1, 1))  # (S, B, E)
    np.testing.assert_allclose(head.log_prob(samples, x, given), [expected] * 2, rtol=1e-5)
    with pytest.raises(ValueError, match="has size_factor=True and received none"):
        head.mean(log_rate)
