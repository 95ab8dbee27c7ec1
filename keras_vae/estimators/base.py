"""What every estimate of log p(x) has in common."""

from typing import NamedTuple

import tensorflow as tf

from keras_vae._types import Tensor


def log_mean_exp(log_values: Tensor, axis: int = 0) -> Tensor:
    """Returns log of the mean of exp(log_values) along `axis`, without overflow."""
    count = tf.cast(tf.shape(log_values)[axis], log_values.dtype)
    return tf.reduce_logsumexp(log_values, axis=axis) - tf.math.log(count)


class LogLikelihood(NamedTuple):
    """An estimate of log p(x) by the mean of S weights, per example.

    Attributes:
        log_likelihood: log of the mean weight, (B,), in nats; too low by about half the square of
            `monte_carlo_error` in expectation.
        monte_carlo_error: Its standard error from the finite number of samples, (B,), by the delta
            method: sd(w) / (mean(w) sqrt(S)).
        effective_sample_size: (sum w)^2 / sum w^2, (B,), between 1 and S.
        pareto_k: The shape of the tail of the weights, (B,); above 0.7 neither the estimate nor
            its error is to be trusted. NaN for fewer than 21 samples, which have no tail to fit.
    """

    log_likelihood: Tensor
    monte_carlo_error: Tensor
    effective_sample_size: Tensor
    pareto_k: Tensor
