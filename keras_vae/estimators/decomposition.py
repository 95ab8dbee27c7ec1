"""The KL term taken apart: how much z tells of x, of its own parts, and of p(z)."""

from typing import NamedTuple

import tensorflow as tf

from keras_vae._types import Tensor


class Decomposition(NamedTuple):
    """log q(z|x) - log p(z) of draws as a sum of three, each (S, B), in nats.

    Attributes:
        mutual_information: log q(z|x) - log q(z).
        total_correlation: log q(z) - sum_d log q(z_d).
        dimension_kl: sum_d log q(z_d) - log p(z).
    """

    mutual_information: Tensor
    total_correlation: Tensor
    dimension_kl: Tensor


def weighted_log_weights(batch: Tensor | int, data_size: Tensor | int) -> Tensor:
    """Returns the logarithms of minibatch weights, (B, B): 1 / N each.

    q(z_i) is estimated by sum_j W_ij q(z_i|x_j) over a batch of a data set of N examples; the rows
    sum to B / N.

    Reference: Chen, Li, Grosse and Duvenaud, Isolating Sources of Disentanglement in VAEs, 2018,
    section 4.1.
    """
    return tf.fill([batch, batch], -tf.math.log(tf.cast(data_size, tf.float32)))


def stratified_log_weights(batch: Tensor | int, data_size: Tensor | int) -> Tensor:
    """Returns the logarithms of stratified minibatch weights, (B, B), whose rows sum to 1.

    With M = B - 1, x_i itself weighs 1 / N, one other example (N - M) / (N M), the rest 1 / M: the
    one stands for all that the batch lacks, so that the estimate of q(z_i) has no bias.

    Reference: Chen, Li, Grosse and Duvenaud, 2018, appendix C.2.
    """
    size = tf.cast(data_size, tf.float32)
    others = tf.cast(tf.maximum(batch - 1, 1), tf.float32)
    place = tf.range(batch)
    own = place[:, None] == place[None, :]
    stand_in = (place[:, None] + 1) % batch == place[None, :]
    weights = tf.where(own, 1.0 / size, 1.0 / others)
    beyond = tf.maximum(size - others, 0.0) / (size * others)
    # A batch of one has no other: its own example stands for all.
    weights = tf.where(stand_in, tf.where(own, 1.0 / size, 0.0) + beyond, weights)
    return tf.math.log(weights)


def decompose(
    log_qz_given_x: Tensor,
    log_pz: Tensor,
    log_density: Tensor,
    log_marginals: Tensor,
    log_weights: Tensor,
) -> Decomposition:
    """Returns the parts of log q(z|x) - log p(z), of which they are the sum exactly.

    Args:
        log_qz_given_x: log q(z_i|x_i), (S, B).
        log_pz: log p(z_i), (S, B).
        log_density: log q(z_i|x_j), (S, B, B).
        log_marginals: log q(z_id|x_j), (S, B, B, D).
        log_weights: log W_ij, (B, B); see `stratified_log_weights`.

    Reference: Chen, Li, Grosse and Duvenaud, 2018, eq. 2.
    """
    log_qz = tf.reduce_logsumexp(log_weights + log_density, -1)
    log_dimensions = tf.reduce_logsumexp(log_weights[..., None] + log_marginals, -2)
    log_product = tf.reduce_sum(log_dimensions, -1)
    return Decomposition(log_qz_given_x - log_qz, log_qz - log_product, log_product - log_pz)
