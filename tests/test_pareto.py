"""The tail of importance weights against NumPy and SciPy."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from keras_vae import estimators


def zhang_and_stephens(x):
    """The shape of one sorted sample, written from the paper with loops; k of theirs is -k."""
    n = len(x)
    m = 30 + int(np.sqrt(n))
    quartile = x[int(n / 4 + 0.5) - 1]
    thetas = [1 / x[-1] + (1 - np.sqrt(m / (j - 0.5))) / (3 * quartile) for j in range(1, m + 1)]

    def profile(theta):
        k = -np.mean(np.log(1 - theta * x))
        return n * (np.log(theta / k) + k - 1)

    heights = [profile(theta) for theta in thetas]
    weights = [1 / sum(np.exp(other - height) for other in heights) for height in heights]
    theta = sum(weight * theta for weight, theta in zip(weights, thetas))
    return np.mean(np.log(1 - theta * x))


@pytest.mark.parametrize("shape", [-0.3, 0.2, 0.7, 1.3])
def test_the_shape_of_a_known_distribution_is_found(shape):
    size, rows = 400, 20
    distribution = scipy.stats.genpareto(shape, scale=3.0)
    x = np.sort(distribution.rvs((rows, size), random_state=np.random.default_rng(0)), 1)
    found = estimators.generalised_pareto(tf.constant(x)).numpy()
    np.testing.assert_allclose(found, [zhang_and_stephens(row) for row in x], rtol=1e-9)
    # The asymptotic standard error of the maximum likelihood estimate.
    error = (1 + shape) / np.sqrt(size)
    assert abs(found.mean() - shape) < 4 * error / np.sqrt(rows) + 0.01
    fitted = [scipy.stats.genpareto.fit(row, floc=0.0)[0] for row in x[:3]]
    np.testing.assert_allclose(found[:3], fitted, atol=error)


@pytest.mark.parametrize("samples", [25, 500, 5000])
@pytest.mark.parametrize("shift", [-700.0, 0.0, 900.0])
def test_k_is_that_of_the_largest_weights(samples, shift):
    spread = np.array([0.3, 1.0, 4.0])
    log_weights = np.random.default_rng(1).normal(size=(samples, 3)) * spread + shift
    log_weights = log_weights.astype("float32")
    size = int(np.ceil(min(samples / 5, 3 * np.sqrt(samples))))
    assert int(estimators.tail_size(samples)) == size
    tail = estimators.add_tail(estimators.no_tail(3), log_weights, size + 1)
    found = estimators.pareto_k(tail, samples).numpy()
    for column, k in zip(log_weights.T.astype("float64"), found):
        weights = np.sort(np.exp(column - column.max()))
        raw = zhang_and_stephens(weights[-size:] - weights[-size - 1])
        assert k == pytest.approx((size * raw + 5.0) / (size + 10.0), abs=1e-4)
    assert found[0] < 0.7 < found[2] or samples == 25


@pytest.mark.parametrize("sizes", [(500,), (3, 497), (100, 200, 200), (1,) * 20 + (480,)])
def test_the_tail_is_the_same_in_any_chunks(sizes):
    log_weights = np.random.default_rng(2).normal(size=(500, 4)).astype("float32")
    tail = estimators.no_tail(4)
    for chunk in np.split(log_weights, np.cumsum(sizes)[:-1]):
        padded = tf.concat([chunk, tf.fill([2, 4], -np.inf)], 0)
        tail = estimators.add_tail(tail, padded, 69)
    np.testing.assert_array_equal(np.sort(tail, 1), np.sort(log_weights, 0)[-69:].T)


def test_equal_weights_have_no_tail_and_few_tell_nothing():
    for value in (-3.0, 0.0, -5000.0):
        assert estimators.pareto_k(tf.fill([2, 69], value), 500).numpy().tolist() == [0.0, 0.0]
    for samples in (1, 2, 20):
        few = tf.random.normal([2, int(estimators.tail_size(samples)) + 1])
        assert np.isnan(estimators.pareto_k(few, samples)).all()


def test_weights_that_no_float_holds_have_a_large_finite_k():
    tail = tf.constant(-np.linspace(0.0, 1e5, 69, dtype="float32")[None])
    k = estimators.pareto_k(tail, 500).numpy()
    assert np.isfinite(k).all()
    assert k > 5.0
