"""Likelihoods of discrete values."""

from typing import Any

import tensorflow as tf

from keras_vae import distributions
from keras_vae._registry import register
from keras_vae._types import Given, Tensor
from keras_vae.likelihoods.base import Likelihood

#: How near to 0 and 1 the mean of data may come when a decoder is started from it.
CLOSEST = 1e-3


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
