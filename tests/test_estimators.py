"""Bounds and their errors against NumPy and SciPy."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from keras_vae import estimators


@pytest.fixture
def log_weights():
    return np.random.default_rng(0).normal(size=(60, 8)).astype("float32") * 3.0 - 700.0


def test_log_mean_exp_is_scipys_and_does_not_overflow(log_weights):
    for shift in (0.0, 1400.0):
        values = log_weights + np.float32(shift)
        expected = scipy.special.logsumexp(values.astype("float64"), axis=0) - np.log(60)
        np.testing.assert_allclose(estimators.log_mean_exp(values), expected, rtol=1e-6)
    assert estimators.log_mean_exp(tf.fill([3], -np.inf)).numpy() == -np.inf


@pytest.mark.parametrize("sizes", [(60,), (1, 59), (20, 20, 20), (59, 1)])
def test_weights_may_come_in_any_chunks(log_weights, sizes):
    moments = estimators.no_weights(tf.constant(8))
    for chunk in np.split(log_weights, np.cumsum(sizes)[:-1]):
        padding = np.full((3, 8), -np.inf, "float32")
        moments = estimators.add_weights(moments, tf.concat([chunk, padding], 0))
    estimate = estimators.log_likelihood(moments, 60)
    exact = log_weights.astype("float64")
    weights = np.exp(exact - exact.max(0))
    np.testing.assert_allclose(
        estimate.log_likelihood, np.log(weights.mean(0)) + exact.max(0), rtol=1e-6
    )
    error = weights.std(0, ddof=1) / weights.mean(0) / np.sqrt(60)
    np.testing.assert_allclose(estimate.monte_carlo_error, error, rtol=1e-3)
    effective = weights.sum(0) ** 2 / (weights**2).sum(0)
    np.testing.assert_allclose(estimate.effective_sample_size, effective, rtol=1e-3)


def test_equal_weights_have_no_error():
    moments = estimators.add_weights(estimators.no_weights(2), tf.fill([50, 2], -3.0))
    estimate = estimators.log_likelihood(moments, 50)
    np.testing.assert_allclose(estimate.log_likelihood, [-3.0, -3.0], rtol=1e-6)
    np.testing.assert_allclose(estimate.monte_carlo_error, 0.0, atol=1e-3)
    np.testing.assert_allclose(estimate.effective_sample_size, 50.0, rtol=1e-5)


def test_one_sample_has_no_error_to_report():
    moments = estimators.add_weights(estimators.no_weights(2), tf.fill([1, 2], -3.0))
    assert estimators.log_likelihood(moments, 1).monte_carlo_error.numpy().tolist() == [0.0, 0.0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_make_an_estimate_that_is_none(value):
    log_weights = np.zeros((50, 2), "float32")
    log_weights[:, 0] = value  # and among others, but where it adds nothing
    log_weights[1:, 0] = value if value < 0 else 0.0
    moments = estimators.add_weights(estimators.no_weights(2), log_weights)
    kept = estimators.add_tail(estimators.no_tail(2), tf.constant(log_weights), 11)
    estimate = estimators.log_likelihood(moments, 50, estimators.pareto_k(kept, 50))
    np.testing.assert_array_equal(estimate.log_likelihood, np.float32([value, 0.0]))
    np.testing.assert_array_equal(estimate.pareto_k, np.float32([np.nan, 0.0]))


@pytest.mark.parametrize("level", [-20_000.0, -500.0, 8000.0])
def test_many_chunks_add_up_however_large_the_logarithms(level):
    log_weights = np.random.default_rng(0).normal(size=(20_000, 1)).astype("float32") * 0.3 + level
    log_weights = log_weights.astype("float32")

    @tf.function
    def streamed(log_weights):
        moments = estimators.no_weights(1)
        for one in log_weights:
            moments = estimators.add_weights(moments, one[None])
        return estimators.log_likelihood(moments, len(log_weights))

    estimate = streamed(tf.constant(log_weights))
    weights = np.exp(log_weights.astype("float64") - level)
    exact = level + np.log(weights.mean())
    np.testing.assert_allclose(estimate.log_likelihood, [exact], rtol=1e-7)
    error = weights.std(ddof=1) / weights.mean() / np.sqrt(20_000)
    np.testing.assert_allclose(estimate.monte_carlo_error, [error], rtol=1e-5)
    effective = weights.sum() ** 2 / (weights**2).sum()
    np.testing.assert_allclose(estimate.effective_sample_size, [effective], rtol=1e-5)
