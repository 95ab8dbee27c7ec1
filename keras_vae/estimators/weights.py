"""Estimates by the mean of importance weights, which may come in chunks."""

import math
from typing import NamedTuple

import tensorflow as tf

from keras_vae._types import Tensor
from keras_vae.estimators.base import LogLikelihood, log_mean_exp


def importance_weighted_bound(log_px: Tensor, log_pz: Tensor, log_qz: Tensor) -> Tensor:
    """Returns the importance-weighted lower bound on log p(x), (B,), from S draws of q(z|x).

    With one draw it is the sampled ELBO; its mean does not fall as S grows, towards log p(x).

    Args:
        log_px: log p(x|z), (S, B).
        log_pz: log p(z), (S, B).
        log_qz: log q(z|x), (S, B).

    Reference: Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, 2016, eq. 8.
    """
    return log_mean_exp(log_px + log_pz - log_qz, axis=0)


class WeightMoments(NamedTuple):
    """Running sums over importance weights, kept as logarithms; see `no_weights`.

    They are float64: next to the logarithm of a sum of many, a few more weights are below what
    float32 resolves.

    Attributes:
        log_sum: log of the sum of the weights, (B,).
        log_sum_squares: log of the sum of their squares, (B,).
    """

    log_sum: Tensor
    log_sum_squares: Tensor


def no_weights(batch: Tensor) -> WeightMoments:
    """Returns the moments of no weights at all, for `batch` examples."""
    empty = tf.fill([batch], tf.constant(-math.inf, tf.float64))
    return WeightMoments(empty, empty)


def add_weights(moments: WeightMoments, log_weights: Tensor) -> WeightMoments:
    """Returns the moments with the weights exp(log_weights), (S, B), added.

    A weight of log -inf adds nothing, so a chunk may be padded with them.
    """
    log_weights = tf.cast(log_weights, tf.float64)
    stacked = tf.concat([moments.log_sum[None], log_weights], 0)
    squares = tf.concat([moments.log_sum_squares[None], 2.0 * log_weights], 0)
    return WeightMoments(tf.reduce_logsumexp(stacked, 0), tf.reduce_logsumexp(squares, 0))


def log_likelihood(
    moments: WeightMoments, num_samples: Tensor | int, pareto_k: Tensor | None = None
) -> LogLikelihood:
    """Returns the estimate that `num_samples` weights with these moments make.

    Args:
        moments: Of the weights.
        num_samples: How many there were, S.
        pareto_k: The shape of their tail, (B,), where it is known; NaN else.

    Reference: Kong, A Note on Importance Sampling Using Standardized Weights, 1992 (effective
    sample size).
    """
    samples = tf.cast(num_samples, tf.float64)
    effective = tf.exp(2.0 * moments.log_sum - moments.log_sum_squares)
    # Var(w) / mean(w)^2 = S / effective - 1 (biased), S / (S - 1) times that (unbiased); rounding
    # may push the ratio a little below 1.
    relative_variance = tf.maximum(samples / effective - 1.0, 0.0)
    error = tf.sqrt(tf.math.divide_no_nan(relative_variance, samples - 1.0))
    if pareto_k is None:
        pareto_k = tf.fill(tf.shape(effective), math.nan)
    # A weight that is NaN may be missing from the tail, but not from the sum.
    pareto_k = tf.where(tf.math.is_finite(moments.log_sum), pareto_k, math.nan)
    log_mean = moments.log_sum - tf.math.log(samples)
    log_mean, error, effective = (tf.cast(x, tf.float32) for x in (log_mean, error, effective))
    return LogLikelihood(log_mean, error, effective, pareto_k)
