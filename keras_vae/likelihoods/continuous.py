"""Likelihoods of real values."""

import math
from typing import Any

import keras
import tensorflow as tf

from keras_vae import _checks, distribute, distributions
from keras_vae._registry import register
from keras_vae._types import Given, Tensor
from keras_vae.likelihoods.base import NOTHING, Likelihood, bounded

VARIANCES = ("fixed", "learned", "shared", "optimal")
SPREADS = ("fixed", "learned", "shared")


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
        counted = tf.ones_like(x) if mask is None else tf.cast(mask, tf.float32)
        errors = tf.where(counted > 0.0, errors, 0.0)
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
        return self.minimum_stddev + tf.exp(bounded(tf.convert_to_tensor(log_stddev)))


class _LocationScale(Likelihood):
    """What the likelihoods with a location and a scale share."""

    def __init__(
        self, spread: str = "learned", scale: float = 1.0, minimum_scale: float = 1e-3
    ) -> None:
        super().__init__()
        self.spread = _checks.one_of("spread", spread, SPREADS)
        self.scale = _checks.number("scale", scale, 0.0, above=True)
        self.minimum_scale = _checks.number("minimum_scale", minimum_scale, 0.0, above=True)
        if self.scale <= self.minimum_scale and spread != "fixed":
            raise ValueError(
                f"scale is {scale} and minimum_scale {minimum_scale}; expected scale to be the "
                "larger one."
            )
        self.params_per_element = 2 if spread == "learned" else 1

    def _setup(self, event_shape: tuple[int, ...]) -> None:
        if self.spread == "shared":
            start = keras.initializers.Constant(math.log(self.scale - self.minimum_scale))
            self.log_scale = self.add_weight(name="log_scale", shape=(), initializer=start)

    def initial_params(self, mean: Tensor, stddev: Tensor) -> Tensor:
        """Returns the mean, and under "learned" the log of the scale that the data has."""
        if self.spread != "learned":
            return mean
        excess = tf.maximum(self._scale_of(stddev) - self.minimum_scale, self.minimum_scale)
        return tf.concat([mean, tf.math.log(excess)], -1)

    def _scale_of(self, stddev: Tensor) -> Tensor:
        """Hook: the scale of a distribution with this standard deviation."""
        raise NotImplementedError

    def _scale(self, log_scale: list[Tensor]) -> Any:
        """Returns the scale, made of what the decoder gave, if anything."""
        if self.spread == "fixed":
            return self.scale
        learned = log_scale[0] if log_scale else tf.convert_to_tensor(self.log_scale)
        return self.minimum_scale + tf.exp(bounded(learned))


@register("likelihood", "laplace")
class Laplace(_LocationScale):
    """p(x|z) = prod_e Laplace(x_e; median_e, scale): the absolute error, in nats.

    Args:
        spread: "learned": the decoder also returns one log-scale per element (location first, then
            log-scale, on the last axis). "shared": one log-scale for all elements, trained with
            the weights. "fixed": `scale` everywhere.
        scale: The fixed or the initial scale b; the standard deviation is sqrt(2) b.
        minimum_scale: Added to the learned or shared scale, so that the density is bounded.
    """

    def _scale_of(self, stddev: Tensor) -> Tensor:
        return stddev / math.sqrt(2.0)

    def _distribution(self, params: Tensor, given: Given) -> Any:
        loc, *log_scale = tf.split(params, self.params_per_element, -1)
        return distributions.laplace(loc, self._scale(log_scale))


@register("likelihood", "student_t")
class StudentT(_LocationScale):
    """p(x|z) = prod_e StudentT(x_e; df, location_e, scale): heavy tails, so outliers weigh little.

    Its mean, as reconstructions show it, is the location, also where df <= 1 leaves none.

    Args:
        df: Degrees of freedom, above 0: 1 is Cauchy, and the normal is the limit of many. None: the
            decoder returns the logarithm of df - 1 for each element, after location and log-scale.
        spread: As in `Laplace`.
        scale: The fixed or the initial scale; not the standard deviation, which is larger.
        minimum_scale: Added to the learned or shared scale, so that the density is bounded.

    Reference: Takahashi et al., Student-t Variational Autoencoder for Robust Density Estimation,
    2018.
    """

    def __init__(
        self,
        df: float | None = 4.0,
        spread: str = "learned",
        scale: float = 1.0,
        minimum_scale: float = 1e-3,
    ) -> None:
        super().__init__(spread, scale, minimum_scale)
        self.df = None if df is None else _checks.number("df", df, 0.0, above=True)
        self.params_per_element += df is None

    def _scale_of(self, stddev: Tensor) -> Tensor:
        df = max(3.0, self.df or 4.0)
        return stddev * math.sqrt((df - 2.0) / df)

    def initial_params(self, mean: Tensor, stddev: Tensor) -> Tensor:
        """Returns the moments, and where df is learned, the logarithm of 4 - 1 for it."""
        params = super().initial_params(mean, stddev)
        if self.df is not None:
            return params
        return tf.concat([params, tf.fill(tf.shape(mean), math.log(3.0))], -1)

    def mean(self, params: Tensor, given: Given = NOTHING) -> Tensor:
        """Returns the location of p(x|z), (..., E), float32: its mean where it has one."""
        return tf.split(self._checked(params), self.params_per_element, -1)[0]

    def _distribution(self, params: Tensor, given: Given) -> Any:
        loc, *others = tf.split(params, self.params_per_element, -1)
        df = self.df if self.df is not None else 1.0 + tf.exp(bounded(others.pop()))
        return distributions.student_t(df, loc, self._scale(others))
