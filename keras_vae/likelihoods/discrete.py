"""Likelihoods of discrete values."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_vae import distributions
from keras_vae._registry import register
from keras_vae._types import Given, Tensor
from keras_vae.likelihoods.base import Likelihood

#: How near to 0 and 1 the mean of data may come when a decoder is started from it.
CLOSEST = 1e-3
#: How many factors of at least 1/2 may be multiplied: 2^-126 is float32's least normal number.
MOST_FACTORS = 126


@register("likelihood", "bernoulli")
class Bernoulli(Likelihood):
    """p(x|z) = prod_e Bernoulli(x_e; sigmoid(logit_e)): for binary data, one logit per element.

    Values between 0 and 1 are scored by the same formula (a cross-entropy), which is not a
    normalised density over them: binarise the data, or compare such figures with nothing else.

    Reference: Kingma and Welling, Auto-Encoding Variational Bayes, 2014, appendix C.1.
    """

    support = "unit_interval"
    discrete = True

    def initial_params(self, mean: Tensor, stddev: Tensor) -> Tensor:
        """Returns the logits of the mean, kept away from 0 and 1, where they would be infinite."""
        share = tf.clip_by_value(mean, CLOSEST, 1.0 - CLOSEST)
        return tf.math.log(share) - tf.math.log1p(-share)

    def _distribution(self, params: Tensor, given: Given) -> Any:
        return distributions.bernoulli(params)

    def _event_log_prob(self, params: Tensor, x: Tensor, given: Given) -> Tensor:
        # x logit - softplus(logit), in the symmetric form whose parts are cheap sums.
        linear = tf.reduce_sum((x - 0.5) * params, list(range(-len(self.event_shape), 0)))
        leading = tf.shape(params)[: -len(self.event_shape)]
        flat = tf.reshape(params, tf.concat([leading, [self.event_size]], 0))
        return linear - _symmetric_softplus(flat)


@tf.custom_gradient
def _symmetric_softplus(logits: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Returns the sum of softplus(l) - l / 2 over the last axis of logits.

    It is |l| / 2 - log sigmoid(|l|), and the logarithm is taken of products of many factors, each
    between 1/2 and 1: a third of the time of a softplus for each.
    """
    magnitude = tf.abs(logits)
    size = logits.shape[-1]
    factors = max(n for n in range(1, MOST_FACTORS + 1) if size % n == 0)
    shape = tf.concat([tf.shape(logits)[:-1], [size // factors, factors]], 0)
    shares = tf.sigmoid(magnitude)
    products = tf.reduce_prod(tf.reshape(shares, shape), -1)
    value = 0.5 * tf.reduce_sum(magnitude, -1) - tf.reduce_sum(tf.math.log(products), -1)

    def gradient(upstream: Tensor) -> Tensor:
        return upstream[..., None] * _centered_sigmoid(logits, shares)

    return value, gradient


@tf.custom_gradient
def _centered_sigmoid(
    logits: Tensor, shares: Tensor
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, None]]]:
    """Returns sigmoid(l) - 1/2 from shares = sigmoid(|l|), which are known already."""

    def gradient(upstream: Tensor) -> tuple[Tensor, None]:
        return upstream * shares * (1.0 - shares), None

    return tf.sign(logits) * (shares - 0.5), gradient
