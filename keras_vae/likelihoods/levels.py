"""Likelihoods of grey levels: real distributions cut into as many intervals as there are levels."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_vae import _checks, distributions
from keras_vae._registry import register
from keras_vae._types import Given, Tensor
from keras_vae.likelihoods.base import Likelihood, bounded


class _Levels(Likelihood):
    """What the likelihoods of levels 0, 1, ..., L - 1 share: a logistic cut into L intervals.

    Locations and scales are in units in which the levels lie from -1 to 1. The lowest and the
    highest level have the tails, so probabilities add up to 1.
    """

    discrete = True

    def __init__(
        self, levels: int = 256, high: float | None = None, minimum_scale: float = 1e-3
    ) -> None:
        super().__init__()
        self.levels = _checks.integer("levels", levels, 2, _checks.WIDEST)
        high = levels - 1.0 if high is None else high
        self.high = _checks.number("high", high, 0.0, above=True)
        self.minimum_scale = _checks.number("minimum_scale", minimum_scale, 0.0, above=True)
        self.support = _checks.levels(self.levels, self.high)

    def to_network(self, x: Tensor) -> Tensor:
        """Returns the levels moved and scaled to lie from -1 to 1."""
        return x * (2.0 / self.high) - 1.0

    def _scale(self, log_scale: Tensor) -> Tensor:
        return self.minimum_scale + tf.exp(bounded(log_scale))

    def _log_probs(self, u: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        """Returns the log-probability of the level at u, in -1..1, under a cut logistic.

        With a and b the ends of the interval, sigmoid(a) - sigmoid(b) is sigmoid(a) sigmoid(-b)
        (1 - exp(b - a)), whose factors have logarithms without cancellation; the tails lack one.
        """
        half = 1.0 / (self.levels - 1)
        below = tf.math.log_sigmoid((u + half - loc) / scale)
        above = tf.math.log_sigmoid((loc - u + half) / scale)
        width = tf.math.log(-tf.math.expm1(-2.0 * half / scale))
        inside = tf.where(u > half - 1.0, above, 0.0) + tf.where(u < 1.0 - half, below, 0.0)
        ends = (u <= half - 1.0) | (u >= 1.0 - half)
        return inside + tf.where(ends, 0.0, width)

    def _mean_levels(self, loc: Tensor, scale: Tensor) -> Tensor:
        """Returns the means of cut logistics, in -1..1: one plus a step for each level exceeded."""
        step = 2.0 / (self.levels - 1)

        def add(level: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
            edge = step * (tf.cast(level, tf.float32) - 0.5) - 1.0
            return level + 1, total + step * tf.sigmoid((loc - edge) / scale)

        start = (tf.constant(1), tf.zeros_like(loc + scale) - 1.0)
        most = self.levels - 1
        return tf.while_loop(lambda level, _: level <= most, add, start, maximum_iterations=most)[1]

    def _draw_levels(self, loc: Tensor, scale: Tensor, seed: Tensor) -> Tensor:
        """Returns draws of cut logistics, as levels 0..L-1."""
        uniform = tf.random.stateless_uniform(tf.shape(loc), seed, np.finfo(np.float32).tiny)
        u = loc + scale * (tf.math.log(uniform) - tf.math.log1p(-uniform))
        return tf.round((tf.clip_by_value(u, -1.0, 1.0) + 1.0) * (0.5 * (self.levels - 1)))

    def _of_level(self, level: Tensor) -> Tensor:
        """Returns levels 0..L-1 in the units of the data."""
        return level * (self.high / (self.levels - 1))

    def _of_unit(self, u: Tensor) -> Tensor:
        """Returns values in -1..1 in the units of the data."""
        return (u + 1.0) * (0.5 * self.high)


@register("likelihood", "discretized_logistic")
class DiscretizedLogistic(_Levels):
    """p(x|z) = prod_e of the mass that a logistic distribution has on the interval of level x_e.

    For grey levels 0..255 as they are; the encoder sees them scaled to -1..1. The decoder returns
    location and log-scale, in these units, on the last axis in this order. The lowest and the
    highest level have the tails, so the probabilities of all levels add up to 1.

    Args:
        levels: How many levels there are, L.
        high: The highest level as the data writes it; L - 1 by default, for whole numbers. 1 is for
            grey levels divided by 255.
        minimum_scale: Added to the scale.

    Reference: Kingma et al., Improved Variational Inference with Inverse Autoregressive Flow, 2016,
    section 5.2; Salimans et al., PixelCNN++, 2017, eq. 2.
    """

    params_per_element = 2

    def initial_params(self, mean: Tensor, stddev: Tensor) -> Tensor:
        """Returns location and log-scale of a logistic with these moments."""
        scale = stddev * (2.0 * np.sqrt(3.0) / (np.pi * self.high))
        excess = tf.maximum(scale - self.minimum_scale, 1.0 / self.levels)
        return tf.concat([self.to_network(mean), tf.math.log(excess)], -1)

    def _distribution(self, params: Tensor, given: Given) -> Any:
        loc, log_scale = tf.split(params, 2, -1)
        scale = self._scale(log_scale)
        return distributions.from_functions(
            lambda x: self._log_probs(self.to_network(x), loc, scale),
            lambda: self._of_unit(self._mean_levels(loc, scale)),
            lambda seed: self._of_level(self._draw_levels(loc, scale, seed)),
            tf.shape(loc),
        )


class _Mixture(NamedTuple):
    """The parameters of a mixture: C channels, K components, any leading axes.

    Attributes:
        logits: (..., K).
        loc: (..., K, C).
        scale: (..., K, C).
        slopes: For each channel, (..., K, c): what c earlier channels add to its location.
    """

    logits: Tensor
    loc: Tensor
    scale: Tensor
    slopes: list[Tensor]

    def conditional(self, channel: int, earlier: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns location and scale of a channel, given the earlier ones, each (..., K)."""
        loc = self.loc[..., channel]
        for place, u in enumerate(earlier):
            loc += self.slopes[channel][..., place] * u
        return loc, self.scale[..., channel]


@register("likelihood", "logistic_mixture")
class LogisticMixture(_Levels):
    """p(x|z): each pixel a mixture of K cut logistics, its channels conditioned on one another.

    For images and sequences of levels, (..., C). Within a component the location of channel c is
    loc_c + sum over j < c of slope_cj x_j, so colours hang together. Vectors have one mixture per
    element. The decoder returns, for each pixel on the last axis, K logits, K x C locations, K x C
    log-scales and K x C (C - 1) / 2 slopes, the last through tanh.

    The mean is that of each component, taken at the means of the earlier channels.

    Args:
        components: K.
        levels: As in `DiscretizedLogistic`, which says how levels are scaled, too.
        high: As there.
        minimum_scale: As there.

    Reference: Salimans et al., PixelCNN++, 2017, eq. 1 to 3.
    """

    def __init__(
        self,
        components: int = 10,
        levels: int = 256,
        high: float | None = None,
        minimum_scale: float = 1e-3,
    ) -> None:
        super().__init__(levels, high, minimum_scale)
        self.components = _checks.integer("components", components, maximum=_checks.WIDEST)

    def _setup(self, event_shape: tuple[int, ...]) -> None:
        self.element_ndims = int(len(event_shape) > 1)

    def _sizes(self, channels: int) -> list[int]:
        """Returns how many logits, locations, log-scales and slopes a pixel has."""
        k = self.components
        return [k, k * channels, k * channels, k * channels * (channels - 1) // 2]

    def params_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns (E * 3 K,) for vectors, and all but the last axis of E with a pixel's numbers."""
        if len(event_shape) == 1:
            return (event_shape[0] * sum(self._sizes(1)),)
        return (*event_shape[:-1], sum(self._sizes(event_shape[-1])))

    def initial_params(self, mean: Tensor, stddev: Tensor) -> Tensor:
        """Returns components side by side about the mean, as far apart as the data are spread."""
        shape, k = self.event_shape, self.components
        pixels = mean[..., None] if len(shape) == 1 else mean
        spread = (stddev[..., None] if len(shape) == 1 else stddev) * (2.0 / self.high)
        places = tf.linspace(-1.0, 1.0, k) if k > 1 else tf.zeros([1])
        loc = self.to_network(pixels)[..., None, :] + places[:, None] * spread[..., None, :]
        log_scale = tf.math.log(tf.maximum(spread / k, 1.0 / self.levels))
        blocks = [loc, tf.zeros_like(loc) + log_scale[..., None, :]]
        flat = [tf.reshape(block, [*pixels.shape[:-1], -1]) for block in blocks]
        sizes = self._sizes(pixels.shape[-1])
        none = [tf.zeros([*pixels.shape[:-1], size]) for size in (sizes[0], sizes[3])]
        return tf.reshape(tf.concat([none[0], *flat, none[1]], -1), self.params_shape(shape))

    def _mixture(self, params: Tensor) -> _Mixture:
        channels = self.event_shape[-1] if self.element_ndims else 1
        sizes = self._sizes(channels)
        if not self.element_ndims:
            shape = tf.concat([tf.shape(params)[:-1], [self.event_shape[0], sum(sizes)]], 0)
            params = tf.reshape(params, shape)
        logits, *blocks = tf.split(params, sizes, -1)
        leading = tf.shape(logits)
        loc, log_scale, slopes = (
            tf.reshape(block, tf.concat([leading, [block.shape[-1] // self.components]], 0))
            for block in blocks
        )
        slopes = tf.split(tf.tanh(slopes), list(range(channels)), -1)
        return _Mixture(logits, loc, self._scale(log_scale), slopes)

    def _distribution(self, params: Tensor, given: Given) -> Any:
        mixture = self._mixture(params)
        event_shape = self.event_shape[-1:] if self.element_ndims else ()

        def stacked(channels: list[Tensor]) -> Tensor:
            return tf.stack(channels, -1) if event_shape else channels[0]

        return distributions.from_functions(
            lambda x: self._log_prob(mixture, x if event_shape else x[..., None]),
            lambda: self._of_unit(stacked(self._means(mixture))),
            lambda seed: self._of_level(stacked(self._draws(mixture, seed))),
            tf.shape(mixture.logits)[:-1],
            event_shape,
        )

    def _log_prob(self, mixture: _Mixture, x: Tensor) -> Tensor:
        u = self.to_network(x)[..., None, :]
        channels = tf.unstack(u, axis=-1)
        total = tf.nn.log_softmax(mixture.logits)
        for channel, value in enumerate(channels):
            loc, scale = mixture.conditional(channel, channels[:channel])
            total += self._log_probs(value, loc, scale)
        return tf.reduce_logsumexp(total, -1)

    def _means(self, mixture: _Mixture) -> list[Tensor]:
        shares = tf.nn.softmax(mixture.logits)
        means: list[Tensor] = []
        for channel in range(mixture.loc.shape[-1]):
            means.append(self._mean_levels(*mixture.conditional(channel, means)))
        return [tf.reduce_sum(shares * mean, -1) for mean in means]

    def _draws(self, mixture: _Mixture, seed: Tensor) -> list[Tensor]:
        channels = mixture.loc.shape[-1]
        seeds = tf.unstack(tf.random.experimental.stateless_split(seed, channels + 1))
        chosen = distributions.one_hot_categorical(mixture.logits).sample(seed=seeds[0])

        def of_chosen(values: Tensor) -> Tensor:
            return tf.reduce_sum(values * chosen[..., None], -2)

        loc, scale = of_chosen(mixture.loc), of_chosen(mixture.scale)
        one = _Mixture(mixture.logits, loc, scale, list(map(of_chosen, mixture.slopes)))
        draws: list[Tensor] = []
        for channel in range(channels):
            earlier = [self.to_network(self._of_level(level)) for level in draws]
            draws.append(self._draw_levels(*one.conditional(channel, earlier), seeds[channel + 1]))
        return draws
