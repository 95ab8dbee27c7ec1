"""Likelihoods of counts, in forms that lose no digits where counts or parameters are large.

A log-gamma of a million is itself above ten million, and float32 has seven digits. What is summed
here instead are deviances and Stirling errors, which are small where the probability is large
(Loader, Fast and Accurate Computation of Binomial Probabilities, 2000).
"""

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_vae import _checks, distributions
from keras_vae._registry import register
from keras_vae._types import Given, Tensor
from keras_vae.likelihoods.base import Likelihood, bounded

DISPERSIONS = ("element", "shared", "learned")
#: From here on the series of Stirling's error has float32's digits.
SERIES_FROM = 8.0
#: Means of counts stay below 5e8: an untrained network's may be any, and the gradients of a Poisson
#: distribution, which grow with them, are squared by Adam.
LARGEST_LOG_MEAN = 20.0
#: The least mean of data that a decoder is started from.
LEAST_MEAN = 1e-3
HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
Gradient = Callable[..., Any]


def _stirling_error(z: Tensor) -> Tensor:
    """Returns log Gamma(z + 1) - log(sqrt(2 pi z) (z / e)^z) of z above 0."""
    large = tf.maximum(z, SERIES_FROM)
    series = (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1260.0 * large**2)) / large**2) / large
    small = tf.minimum(z, SERIES_FROM)
    exact = tf.math.lgamma(small + 1.0) - (small + 0.5) * tf.math.log(small) + small
    return tf.where(z < SERIES_FROM, exact - HALF_LOG_TWO_PI, series)


def _digamma_error(z: Tensor) -> Tensor:
    """Returns digamma(z) - log(z) of z above 0."""
    large = tf.maximum(z, SERIES_FROM)
    inverse = 1.0 / large**2
    series = -0.5 / large - inverse * (1.0 / 12.0 - inverse * (1.0 / 120.0 - inverse / 252.0))
    small = tf.minimum(z, SERIES_FROM)
    return tf.where(z < SERIES_FROM, tf.math.digamma(small) - tf.math.log(small), series)


def _log_excess(d: Tensor, ratio: Tensor) -> Tensor:
    """Returns d - log(ratio), where ratio = 1 + d is above 0; the digits of small d are kept."""
    near = tf.clip_by_value(d, -0.1, 0.1)
    series = tf.zeros_like(near)
    for power in range(9, 1, -1):
        series = (-1.0) ** power / power + near * series
    return tf.where(abs(d) < 0.1, near**2 * series, d - tf.math.log(ratio))


def _deviance(d: Tensor, ratio: Tensor) -> Tensor:
    """Returns ratio log(ratio) - d, where ratio = 1 + d is above 0."""
    near = tf.clip_by_value(d, -0.1, 0.1)
    small = near * tf.math.log1p(near) - _log_excess(near, 1.0 + near)
    return tf.where(abs(d) < 0.1, small, ratio * tf.math.log(ratio) - d)


@tf.custom_gradient
def poisson_log_prob(x: Tensor, log_rate: Tensor) -> tuple[Tensor, Gradient]:
    """Returns log Poisson(x; exp(log_rate)), in nats, of counts x; broadcasts."""
    rate = tf.exp(log_rate)
    some = tf.maximum(x, 1.0)
    deviance = _deviance_of_counts(some, rate, (some - rate) / rate)
    positive = -HALF_LOG_TWO_PI - 0.5 * tf.math.log(some) - _stirling_error(some) - deviance
    value = tf.where(x == 0.0, -rate, positive)

    def gradient(upstream: Tensor) -> tuple[None, Tensor]:
        return None, _reduced(upstream * (x - rate), log_rate)

    return value, gradient


@tf.custom_gradient
def negative_binomial_log_prob(
    x: Tensor, log_mean: Tensor, log_dispersion: Tensor
) -> tuple[Tensor, Gradient]:
    """Returns log NB(x), in nats, of counts x, with variance mean + mean^2 / r; broadcasts.

    Args:
        x: Counts.
        log_mean: log of the mean m.
        log_dispersion: log of r.
    """
    mean, r = tf.exp(log_mean), tf.exp(log_dispersion)
    odds = log_mean - log_dispersion
    some = tf.maximum(x, 1.0)
    # The share of the mean in mean + r, and of r.
    share, rest = tf.sigmoid(odds), tf.sigmoid(-odds)
    total = some + r
    of_r = total * rest * _deviance((mean - some) / total, (mean + r) / total)
    of_x = _deviance_of_counts(some, total * share, rest * (some - mean) / (total * share))
    stirling = _stirling_error(total) - _stirling_error(r) - _stirling_error(some)
    scale = 0.5 * (log_dispersion - tf.math.log(total) - tf.math.log(some)) - HALF_LOG_TWO_PI
    value = tf.where(x == 0.0, -r * tf.math.softplus(odds), scale + stirling - of_r - of_x)

    def gradient(upstream: Tensor) -> tuple[None, Tensor, Tensor]:
        of_mean = rest * (x - mean)
        difference = _digamma_error(x + r) - _digamma_error(r)
        of_dispersion = r * (
            difference - _log_excess((x - mean) / (mean + r), (x + r) / (mean + r))
        )
        return (
            None,
            _reduced(upstream * of_mean, log_mean),
            _reduced(upstream * of_dispersion, log_dispersion),
        )

    return value, gradient


def _deviance_of_counts(x: Tensor, expected: Tensor, ratio: Tensor) -> Tensor:
    """Returns x log(x / expected) + expected - x, where x = (1 + ratio) expected."""
    close = abs(ratio) < 0.1
    ratio = tf.where(close, ratio, 0.0)
    near = expected * _deviance(ratio, 1.0 + ratio)
    return tf.where(close, near, x * (tf.math.log(x) - tf.math.log(expected)) + expected - x)


def _reduced(gradient: Tensor, variable: Tensor) -> Tensor:
    """Returns a gradient summed over the axes that its variable was broadcast along."""
    axes, _ = tf.raw_ops.BroadcastGradientArgs(s0=tf.shape(variable), s1=tf.shape(gradient))
    return tf.reshape(tf.reduce_sum(gradient, axes), tf.shape(variable))


class _Counts(Likelihood):
    """What the likelihoods of counts share: their support, and the size factor of their mean."""

    support = "count"
    discrete = True

    def __init__(self, size_factor: bool = False) -> None:
        super().__init__()
        self.size_factor = _checks.one_of("size_factor", size_factor, (False, True))
        self.takes_offset = self.size_factor

    def to_network(self, x: Tensor) -> Tensor:
        """Returns log(1 + x): the encoder sees counts of any size."""
        return tf.math.log1p(x)

    def initial_params(self, mean: Tensor, stddev: Tensor) -> Tensor:
        """Returns the logarithm of the mean, kept from 0."""
        return tf.math.log(tf.maximum(mean, LEAST_MEAN))

    def _log_mean(self, log_rate: Tensor, given: Given) -> Tensor:
        """Returns the logarithm of the mean: of the rate, times the size factor if there is one."""
        if not self.size_factor:
            return bounded(log_rate, LARGEST_LOG_MEAN)
        if given.offset is None:
            raise ValueError(
                f"The likelihood {self.short_name!r} has size_factor=True and received none; "
                'expected data as {"x": x, "offset": size factors (B,)}, or offset=....'
            )
        ones = [1] * len(self.event_shape)
        offset = tf.reshape(tf.cast(given.offset, tf.float32), [-1, *ones])
        return bounded(log_rate + tf.math.log(offset), LARGEST_LOG_MEAN)


@register("likelihood", "poisson")
class Poisson(_Counts):
    """p(x|z) = prod_e Poisson(x_e; s exp(log_rate_e)), for counts; the encoder sees log(1 + x).

    Args:
        size_factor: Whether each example comes with a positive number s that multiplies its mean,
            such as how long was counted, as `offset` beside x. Without, s is 1.
    """

    def _distribution(self, params: Tensor, given: Given) -> Any:
        log_rate = self._log_mean(params, given)
        return distributions.from_functions(
            lambda x: poisson_log_prob(x, log_rate),
            lambda: tf.exp(log_rate),
            lambda seed: distributions.poisson_draw(log_rate, seed),
            tf.shape(log_rate),
        )


@register("likelihood", "negative_binomial")
class NegativeBinomial(_Counts):
    """p(x|z) = prod_e NB(x_e) with mean m_e = s exp(log_rate_e) and variance m_e + m_e^2 / r.

    For counts that vary more than a Poisson distribution's, as molecules per gene do. The encoder
    sees log(1 + x).

    Args:
        dispersion: What gives r, the inverse dispersion, which is Poisson at infinity. "element":
            one trained number per element of the event; "shared": one for all; "learned": the
            decoder also returns log r per element (log-rate first, on the last axis).
        start: The initial r of "element" and "shared".
        size_factor: Whether each example comes with a positive number s that multiplies its mean,
            such as a cell's sequencing depth, as `offset` beside x. Without, s is 1.

    Reference: Lopez et al., Deep Generative Modeling for Single-Cell Transcriptomics, 2018.
    """

    def __init__(
        self, dispersion: str = "element", start: float = 1.0, size_factor: bool = False
    ) -> None:
        super().__init__(size_factor)
        self.dispersion = _checks.one_of("dispersion", dispersion, DISPERSIONS)
        self.start = _checks.number("start", start, 0.0, above=True)
        self.params_per_element = 2 if dispersion == "learned" else 1

    def _setup(self, event_shape: tuple[int, ...]) -> None:
        if self.dispersion != "learned":
            self.log_dispersion = self.add_weight(
                name="log_dispersion",
                shape=event_shape if self.dispersion == "element" else (),
                initializer=keras.initializers.Constant(math.log(self.start)),
            )

    def initial_params(self, mean: Tensor, stddev: Tensor) -> Tensor:
        """Returns the log of the mean and, if it is learned, of the r that gives the variance."""
        log_mean = super().initial_params(mean, stddev)
        if self.dispersion != "learned":
            return log_mean
        excess = tf.maximum(tf.square(stddev) - mean, LEAST_MEAN)
        log_r = tf.math.log(tf.maximum(tf.square(mean), LEAST_MEAN) / excess)
        return tf.concat([log_mean, tf.clip_by_value(log_r, -5.0, 5.0)], -1)

    def _parts(self, params: Tensor, given: Given) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Returns log-mean, log r, and the blocks of parameters that are left."""
        log_rate, *others = tf.split(params, self.params_per_element, -1)
        if self.dispersion == "learned":
            log_dispersion, *others = others
        else:
            log_dispersion = tf.convert_to_tensor(self.log_dispersion)
        log_mean = self._log_mean(log_rate, given)
        return log_mean, bounded(log_dispersion) + tf.zeros_like(log_mean), others

    def _distribution(self, params: Tensor, given: Given) -> Any:
        log_mean, log_dispersion, _ = self._parts(params, given)
        return distributions.from_functions(
            lambda x: negative_binomial_log_prob(x, log_mean, log_dispersion),
            lambda: tf.exp(log_mean),
            lambda seed: _draw(log_mean, log_dispersion, seed),
            tf.shape(log_mean),
        )


def _draw(log_mean: Tensor, log_dispersion: Tensor, seed: Tensor) -> Tensor:
    """Returns draws of negative binomials, as Poisson draws whose rates are Gamma draws."""
    seeds = tf.random.experimental.stateless_split(seed, 2)
    r = tf.exp(log_dispersion)
    rate = distributions.gamma_draw(r, log_dispersion - log_mean, seeds[0])
    return distributions.poisson_draw(tf.math.log(rate), seeds[1])


@register("likelihood", "zero_inflated_negative_binomial")
class ZeroInflatedNegativeBinomial(NegativeBinomial):
    """p(x|z) = prod_e [pi_e 1(x_e = 0) + (1 - pi_e) NB(x_e)]: counts with zeros of two kinds.

    The decoder returns the log-rate, log r if it is learned, and the logit of pi, the probability
    that the count is 0 whatever its rate. Arguments are those of `NegativeBinomial`; its mean m is
    that of the negative binomial, and the mean of x is (1 - pi) m.

    Reference: Lopez et al., Deep Generative Modeling for Single-Cell Transcriptomics, 2018.
    """

    def __init__(
        self, dispersion: str = "element", start: float = 1.0, size_factor: bool = False
    ) -> None:
        super().__init__(dispersion, start, size_factor)
        self.params_per_element += 1

    def initial_params(self, mean: Tensor, stddev: Tensor) -> Tensor:
        """Returns the start of the negative binomial, and pi = 0.12."""
        start = super().initial_params(mean, stddev)
        return tf.concat([start, tf.fill(tf.shape(mean), -2.0)], -1)

    def _distribution(self, params: Tensor, given: Given) -> Any:
        log_mean, log_dispersion, (logit,) = self._parts(params, given)

        def log_prob(x: Tensor) -> Tensor:
            counted = negative_binomial_log_prob(x, log_mean, log_dispersion)
            counted -= tf.math.softplus(logit)
            zero = _log_add(-tf.math.softplus(-logit), counted)
            return tf.where(x == 0.0, zero, counted)

        def draw(seed: Tensor) -> Tensor:
            seeds = tf.random.experimental.stateless_split(seed, 2)
            uniform = tf.random.stateless_uniform(tf.shape(logit), seeds[0])
            counts = _draw(log_mean, log_dispersion, seeds[1])
            return tf.where(uniform < tf.sigmoid(logit), 0.0, counts)

        return distributions.from_functions(
            log_prob, lambda: tf.sigmoid(-logit) * tf.exp(log_mean), draw, tf.shape(log_mean)
        )


def _log_add(a: Tensor, b: Tensor) -> Tensor:
    """Returns log(exp(a) + exp(b)) of finite a and b."""
    return tf.maximum(a, b) + tf.math.softplus(-abs(a - b))
