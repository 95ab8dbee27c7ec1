"""How heavy the tail of importance weights is: the shape of a generalised Pareto distribution.

Only the largest weights are needed, and they are kept as the weights stream by.

References: Vehtari, Simpson, Gelman, Yao and Gabry, Pareto Smoothed Importance Sampling, 2024;
Zhang and Stephens, A New and Efficient Estimation Method for the Generalized Pareto Distribution,
2009.
"""

import math

import tensorflow as tf

from keras_vae._types import Tensor

#: Fewer weights in the tail than this tell nothing of its shape.
FEWEST = 5
#: The weakly informative prior on the shape: so many observations at 0.5 (Vehtari et al., section
#: 2.4).
PRIOR_COUNT, PRIOR_SHAPE = 10.0, 0.5
#: How much the logarithms in a tail must differ, relative to their size, to be more than rounding.
ROUNDING = 1e-5
#: Below float64's least: what the excesses are kept above, so that none divides by 0.
LEAST = 1e-290


def tail_size(num_samples: Tensor | int) -> Tensor:
    """Returns how many of S weights make the tail, int32: min(S / 5, 3 sqrt(S)), rounded up.

    Reference: Vehtari et al., 2024, equation 11.
    """
    samples = tf.cast(num_samples, tf.float32)
    return tf.cast(tf.math.ceil(tf.minimum(samples / 5.0, 3.0 * tf.sqrt(samples))), tf.int32)


def no_tail(batch: Tensor | int) -> Tensor:
    """Returns the tail of no weights at all, (B, 0), for `batch` examples."""
    return tf.zeros([batch, 0])


def add_tail(tail: Tensor, log_weights: Tensor, size: Tensor | int) -> Tensor:
    """Returns the `size` largest of the weights kept so far and the new ones, in no order.

    Args:
        tail: log-weights kept, (B, T).
        log_weights: New ones, (S, B).
        size: How many to keep; fewer are kept while there are fewer.
    """
    pool = tf.concat([tail, tf.transpose(log_weights)], 1)
    return tf.math.top_k(pool, tf.minimum(size, tf.shape(pool)[1]), sorted=False).values


def pareto_k(tail: Tensor, num_samples: Tensor | int) -> Tensor:
    """Returns the shape k of the tail of S weights, (B,) float32.

    The weights have finite moments up to the order 1 / k: the variance is infinite from k = 0.5 on,
    and above 0.7 no practicable number of samples will do.

    Args:
        tail: The log-weights of the `tail_size(S) + 1` largest, (B, T), in any order; the least of
            them is the threshold.
        num_samples: S.

    Returns: k with its weakly informative prior; 0 where the weights are equal but for rounding;
        NaN where there are fewer than 5 in the tail, or a weight in it is infinite or NaN.
    """
    size = tail_size(num_samples)
    tail = tf.sort(tf.cast(tail, tf.float64), axis=1)
    largest, cut = tail[:, -1:], tail[:, :1]
    excesses = tf.maximum(tf.exp(tail[:, 1:] - largest) - tf.exp(cut - largest), LEAST)
    equal = (largest - cut)[:, 0] <= ROUNDING * (1.0 + tf.abs(largest[:, 0]))
    # Any tail will do where the answer is not used; an empty one would not.
    count = tf.shape(excesses)[1]
    enough = (count >= FEWEST) & (size >= FEWEST)
    safe = tf.cond(
        enough, lambda: excesses, lambda: tf.ones([tf.shape(tail)[0], FEWEST], tail.dtype)
    )
    observed = tf.cast(tf.shape(safe)[1], tf.float64)
    shape = generalised_pareto(safe)
    shape = (observed * shape + PRIOR_COUNT * PRIOR_SHAPE) / (observed + PRIOR_COUNT)
    shape = tf.where(equal, tf.zeros_like(shape), shape)
    known = enough & tf.math.is_finite(largest[:, 0])
    return tf.cast(tf.where(known, shape, math.nan), tf.float32)


def generalised_pareto(excesses: Tensor) -> Tensor:
    """Returns the shape k of generalised Pareto distributions fitted to excesses, (B,) float64.

    The posterior mean of theta = -k / scale under a prior from the data, by a sum over a grid.

    Args:
        excesses: Above the threshold, more than 0, (B, M) float64, ascending.

    Reference: Zhang and Stephens, 2009, equations 7 to 9; their k is the negative of this one.
    """
    size = tf.shape(excesses)[1]
    observed = tf.cast(size, tf.float64)
    grid = tf.cast(30 + tf.cast(tf.sqrt(observed), tf.int32), tf.float64)
    quartile = excesses[:, tf.cast(observed / 4.0 + 0.5, tf.int32) - 1]
    places = 1.0 - tf.sqrt(grid / (tf.range(1.0, grid + 1.0, dtype=tf.float64) - 0.5))
    thetas = places[:, None] / (3.0 * quartile) + 1.0 / excesses[:, -1]  # (G, B)

    def shape_at(theta: Tensor) -> Tensor:
        return tf.reduce_mean(tf.math.log1p(-theta[:, None] * excesses), 1)

    # One point of the grid at a time: all at once would hold G times the tail.
    shapes = tf.map_fn(shape_at, thetas, parallel_iterations=1)
    log_profile = observed * (tf.math.log(-thetas / shapes) - shapes - 1.0)
    return shape_at(tf.reduce_sum(thetas * tf.nn.softmax(log_profile, axis=0), 0))
