"""How far apart two samples are: the maximum mean discrepancy."""

import tensorflow as tf

from keras_vae._types import Tensor

#: The kernels, and the scales of the inverse multiquadratics that are added up.
KERNELS = ("imq", "rbf")
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def mmd2(x: Tensor, y: Tensor, kernel: str = "imq") -> Tensor:
    """Returns the unbiased estimate of the squared maximum mean discrepancy, a scalar.

    Its mean is 0 for samples of one distribution, so it may be negative; with fewer than two of
    each it is 0.

    Args:
        x: (n, D).
        y: (m, D).
        kernel: "imq", the sum of C / (C + |x - y|^2) over scales around C = 2 D, whose tails reach
            far codes; or "rbf", exp(-|x - y|^2 / (2 D)).

    References: Gretton et al., A Kernel Two-Sample Test, 2012, eq. 3; Tolstikhin et al.,
    Wasserstein Auto-Encoders, 2018, section 4.
    """
    within = _mean_of_pairs(x, kernel) + _mean_of_pairs(y, kernel)
    between = tf.reduce_sum(_kernel(x, y, kernel))
    pairs = tf.cast(tf.shape(x)[0] * tf.shape(y)[0], tf.float32)
    enough = (tf.shape(x)[0] > 1) & (tf.shape(y)[0] > 1)
    return tf.where(enough, within - 2.0 * tf.math.divide_no_nan(between, pairs), 0.0)


def _mean_of_pairs(x: Tensor, kernel: str) -> Tensor:
    """Returns the mean of the kernel over pairs of two different rows."""
    count = tf.cast(tf.shape(x)[0], tf.float32)
    whole = _kernel(x, x, kernel)
    apart = tf.reduce_sum(whole) - tf.reduce_sum(tf.linalg.diag_part(whole))
    return tf.math.divide_no_nan(apart, count * (count - 1.0))


def _kernel(x: Tensor, y: Tensor, kernel: str) -> Tensor:
    """Returns the kernel of every row of x with every row of y, (n, m)."""
    distances = tf.reduce_sum(tf.math.squared_difference(x[:, None], y[None, :]), -1)
    dimension = tf.cast(tf.shape(x)[1], tf.float32)
    if kernel == "rbf":
        return tf.exp(-distances / (2.0 * dimension))
    constants = 2.0 * dimension * tf.constant(SCALES)
    return tf.reduce_sum(constants / (constants + distances[..., None]), -1)
