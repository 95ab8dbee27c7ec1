"""Likelihoods of real values."""

import math
from typing import Any

import keras
import tensorflow as tf

from keras_vae import _checks, distribute, distributions
from keras_vae._registry import register
from keras_vae._types import Given, Tensor
from keras_vae.likelihoods.base import Likelihood

VARIANCES = ("fixed", "learned", "shared", "optimal")


@register("likelihood", "normal")
class Normal(Likelihood):
    """p(x|z) = prod_e Normal(x_e; mean_e, stddev^2), with a choice of what gives the stddev.

    Args:
        variance: "fixed": `stddev` everywhere. "learned": the decoder also returns one log
            standard deviation per element (location first, then log-scale, on the last axis).
            "shared": one log standard deviation for all elements, trained with the weights.
            "optimal": in training the stddev of greatest likelihood, the root mean squared error
            over the *global* batch (Rybkin et al. 2021); its moving average, a saved weight, is
            used everywhere else.
        stddev: The fixed or the initial standard deviation.
        minimum_stddev: Added to the learned or shared standard deviation, and a lower bound of the
            optimal one. Without it the density of elements that never vary grows for ever. The
            default is below a grey level, 1/256.
        momentum: Of the moving average under "optimal". The average is plain until as many steps
            have been seen as the momentum spans.

    Reference: Rybkin, Daniilidis and Levine, Simple and Effective VAE Training with Calibrated
    Decoders, 2021, eq. 5 ("optimal").
    """

    def __init__(
        self,
        variance: str = "fixed",
        stddev: float = 1.0,
        minimum_stddev: float = 1e-3,
        momentum: float = 0.99,
    ) -> None:
        super().__init__()
        self.variance = _checks.one_of("variance", variance, VARIANCES)
        self.stddev = _checks.number("stddev", stddev, 0.0, above=True)
        self.minimum_stddev = _checks.number("minimum_stddev", minimum_stddev, 0.0, above=True)
        self.momentum = _checks.number("momentum", momentum, 0.0)
        if self.stddev <= self.minimum_stddev and variance != "fixed":
            raise ValueError(
                f"stddev is {stddev} and minimum_stddev {minimum_stddev}; expected stddev to be "
                "the larger one."
            )
        if self.momentum >= 1.0:
            raise ValueError(f"momentum is {momentum}; expected a number below 1.")
        self.params_per_element = 2 if variance == "learned" else 1

    def _setup(self, event_shape: tuple[int, ...]) -> None:
        if self.variance == "shared":
            start = math.log(self.stddev - self.minimum_stddev)
            self.log_stddev = self.add_weight(
                name="log_stddev", shape=(), initializer=keras.initializers.Constant(start)
            )
        elif self.variance == "optimal":
            self.moving_variance = self._statistic("moving_variance", self.stddev**2)
            self.observations = self._statistic("observations", 0.0)

    def _statistic(self, name: str, start: float) -> keras.Variable:
        # Every replica assigns the same value, so the first one's is as good as any.
        return self.add_weight(
            name=name,
            shape=(),
            initializer=keras.initializers.Constant(start),
            trainable=False,
            aggregation="only_first_replica",
        )

    def observe(
        self, params: Tensor, x: Tensor, mask: Tensor | None, weights: Tensor | None
    ) -> Tensor | None:
        """Returns the mean squared error over the global batch, under "optimal" only.

        It is treated as a constant by the gradient: at the optimum the derivative of the
        log-likelihood with respect to the variance is 0, so nothing is lost.
        """
        if self.variance != "optimal":
            return None
        errors = tf.stop_gradient(tf.math.squared_difference(params, x))
        counted = tf.ones_like(x) if mask is None else mask
        if weights is not None:
            counted *= tf.reshape(weights, [-1] + [1] * len(self.event_shape))
        samples = tf.cast(tf.shape(params)[0], tf.float32)
        total, count = distribute.global_sum(
            [tf.reduce_sum(errors * counted), samples * tf.reduce_sum(counted)]
        )
        # A batch that weighs nothing has no error to speak of and leaves the average alone.
        seen = count > 0.0
        moving = tf.convert_to_tensor(self.moving_variance)
        variance = tf.where(seen, tf.math.divide_no_nan(total, count), moving)
        variance = tf.maximum(variance, self.minimum_stddev**2)
        if self.trainable:
            number = tf.convert_to_tensor(self.observations)
            keep = tf.where(seen, tf.minimum(self.momentum, number / (number + 1.0)), 1.0)
            self.moving_variance.assign(keep * moving + (1.0 - keep) * variance)
            self.observations.assign(number + tf.cast(seen, tf.float32))
        return variance

    def initial_params(self, mean: Tensor, stddev: Tensor) -> Tensor:
        """Returns the mean, and under "learned" the log of the standard deviation too."""
        if self.variance != "learned":
            return mean
        excess = tf.maximum(stddev - self.minimum_stddev, self.minimum_stddev)
        return tf.concat([mean, tf.math.log(excess)], axis=-1)

    def _distribution(self, params: Tensor, given: Given) -> Any:
        if self.variance == "fixed":
            return distributions.normal(params, self.stddev)
        if self.variance == "learned":
            mean, log_stddev = tf.split(params, 2, axis=-1)
            return distributions.normal(mean, self._bounded(log_stddev))
        if self.variance == "shared":
            return distributions.normal(params, self._bounded(self.log_stddev))
        observed = given.observed
        variance = self.moving_variance if observed is None else observed
        return distributions.normal(params, tf.sqrt(tf.convert_to_tensor(variance)))

    def _bounded(self, log_stddev: Tensor) -> Tensor:
        return self.minimum_stddev + tf.exp(tf.convert_to_tensor(log_stddev))
