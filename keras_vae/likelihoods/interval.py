"""Likelihoods of values between 0 and 1."""

from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae import distributions
from keras_vae._registry import register
from keras_vae._types import Given, Tensor
from keras_vae.likelihoods.base import NOTHING, Likelihood, bounded

#: How near to 0 and 1 the mean of data may come when a decoder is started from it.
CLOSEST = 1e-3
#: Added to both concentrations of a beta distribution, so that neither is 0.
LEAST_CONCENTRATION = 1e-4
#: The concentration's logarithm stays below: its density is bounded, and float32 has the digits.
LARGEST_LOG_CONCENTRATION = 10.0


@register("likelihood", "continuous_bernoulli")
class ContinuousBernoulli(Likelihood):
    """p(x|z) = prod_e C(l_e) l_e^x_e (1 - l_e)^(1 - x_e) with l = sigmoid(logit): for [0, 1].

    The normalising C makes a density of what `Bernoulli` gives to values between 0 and 1. The
    decoder returns one logit per element. The mean is not l: it lies nearer to 1/2.

    Reference: Loaiza-Ganem and Cunningham, The Continuous Bernoulli: Fixing a Pervasive Error in
    Variational Autoencoders, 2019, eq. 6 to 8.
    """

    support = "unit_interval"

    def initial_params(self, mean: Tensor, stddev: Tensor) -> Tensor:
        """Returns the logits whose distributions have this mean."""
        return logits_of_mean(mean)

    def _distribution(self, params: Tensor, given: Given) -> Any:
        return distributions.continuous_bernoulli(params)


def logits_of_mean(mean: Tensor, steps: int = 50) -> Tensor:
    """Returns the logits of continuous Bernoulli distributions with these means, by bisection.

    Args:
        mean: Numbers between 0 and 1; those nearer than 0.001 to an end are taken as that far.
        steps: Halvings of the interval from -1000 to 1000, which the logits lie in.
    """
    mean = tf.clip_by_value(mean, CLOSEST, 1.0 - CLOSEST)
    low, high = tf.fill(tf.shape(mean), -1e3), tf.fill(tf.shape(mean), 1e3)
    for _ in range(steps):
        middle = 0.5 * (low + high)
        below = distributions.continuous_bernoulli(middle).mean() < mean
        low, high = tf.where(below, middle, low), tf.where(below, high, middle)
    return 0.5 * (low + high)


@register("likelihood", "beta")
class Beta(Likelihood):
    """p(x|z) = prod_e Beta(x_e; m_e k_e, (1 - m_e) k_e): for proportions, 0 and 1 left out.

    The decoder returns the logit of the mean m and the logarithm of the concentration k, on the
    last axis in this order; log k stays within 10 of 0, where the standard deviation at m = 1/2 is
    0.0034, and both concentrations have 0.0001 added.

    Reference: Ferrari and Cribari-Neto, Beta Regression for Modelling Rates and Proportions, 2004,
    section 2.
    """

    support = "open_unit_interval"
    fill = 0.5
    params_per_element = 2

    def initial_params(self, mean: Tensor, stddev: Tensor) -> Tensor:
        """Returns the logit and the log-concentration that give these moments."""
        mean = tf.clip_by_value(mean, CLOSEST, 1.0 - CLOSEST)
        spread = mean * (1.0 - mean) / tf.maximum(tf.square(stddev), 1e-8)
        logit = tf.math.log(mean) - tf.math.log1p(-mean)
        log_concentration = tf.math.log(tf.maximum(spread - 1.0, CLOSEST))
        return tf.concat([logit, tf.minimum(log_concentration, LARGEST_LOG_CONCENTRATION)], -1)

    def sample(self, params: Tensor, seed: Tensor, given: Given = NOTHING) -> Tensor:
        """Returns one draw of p(x|z), (..., E), kept from the ends that float32 rounds to."""
        drawn = super().sample(params, seed, given)
        return tf.clip_by_value(drawn, np.finfo(np.float32).tiny, 1.0 - 2.0**-24)

    def _distribution(self, params: Tensor, given: Given) -> Any:
        logit, log_concentration = tf.split(params, 2, -1)
        concentration = tf.exp(bounded(log_concentration, LARGEST_LOG_CONCENTRATION))
        return distributions.beta(
            LEAST_CONCENTRATION + concentration * tf.sigmoid(logit),
            LEAST_CONCENTRATION + concentration * tf.sigmoid(-logit),
        )
