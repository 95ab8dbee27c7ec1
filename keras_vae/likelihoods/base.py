"""The contract of p(x|z): from the decoder's numbers to a distribution over events."""

import math
from typing import Any

import tensorflow as tf

from keras_vae import distributions
from keras_vae._checks import Support
from keras_vae._parts import Part
from keras_vae._types import Given, Tensor

NOTHING = Given()
#: How far from 0 the logarithm of a scale, a rate or a concentration goes: squares stay in float32.
LARGEST_LOG = 40.0


def bounded(log_value: Tensor, largest: float = LARGEST_LOG) -> Tensor:
    """Returns a logarithm that `largest` bounds both ways, with the gradient of one unbounded."""
    held = tf.stop_gradient(tf.clip_by_value(log_value, -largest, largest))
    return held + (log_value - tf.stop_gradient(log_value))


class Likelihood(Part):
    """p(x|z), from the parameters that the decoder returns.

    A new likelihood writes `_distribution(params, given)`, elementwise and for any leading axes,
    and `params_per_element` or `params_shape`; and `_event_log_prob` where the sum over an event
    has a faster form, since estimates of log p(x) spend most of their time on it. It declares:

    Attributes:
        support: The set its mass lies on, by name (a key of `SUPPORTS`) or as a `Support`; data
            outside is refused.
        fill: A value inside the support, put in place of missing entries; a number, or an array
            that broadcasts against events.
        element_ndims: How many trailing axes of the event one element covers.
        params_per_element: How many numbers of the decoder make one element.
        discrete: Whether it gives probabilities to whole numbers, not densities.
        takes_offset: Whether it needs the side input `given.offset`, (B,), such as a size factor.
    """

    support: str | Support = "real"
    fill: Any = 0.0
    element_ndims = 0
    params_per_element = 1
    discrete = False
    takes_offset = False

    shapes = ("event_shape",)
    event_shape: tuple[int, ...]

    def params_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the shape the decoder must return: the last axis times `params_per_element`."""
        return (*event_shape[:-1], event_shape[-1] * self.params_per_element)

    def to_network(self, x: Tensor) -> Tensor:
        """Hook: what the encoder sees of x (B, E); x itself by default."""
        return x

    def network_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Hook: the shape of what `to_network` makes of one event; that of x by default."""
        return event_shape

    def network_mask(self, mask: Tensor) -> Tensor:
        """Hook: which numbers of `to_network` say something of entries with mask 1, (B, ...).

        By default the numbers of each entry stand together on the last axis.

        Args:
            mask: (B, E), 1 where an entry was observed.
        """
        each = self.network_shape(self.event_shape)[-1] // self.event_shape[-1]
        return mask if each == 1 else tf.repeat(mask, each, -1)

    def initial_params(self, mean: Tensor, stddev: Tensor) -> Tensor | None:
        """Hook: the parameters of a p(x|z) with the moments of the data, or None.

        `VAE.adapt` starts the decoder there.

        Args:
            mean: Mean of the data, (E,).
            stddev: Their standard deviation, (E,).

        Returns: (*params_shape), or None to leave the decoder as it is.
        """
        return None

    def observe(
        self, params: Tensor, x: Tensor, mask: Tensor | None, weights: Tensor | None
    ) -> Any:
        """Hook, in training only: looks at the whole batch before `log_prob` is taken.

        May assign the likelihood's own non-trainable weights, reduced over replicas. What it
        returns arrives as `given.observed` in `_distribution`.

        Args:
            params: (S, B, *params_shape).
            x: (B, E).
            mask: (B, E), or None.
            weights: (B,), or None.
        """
        return None

    def distribution(self, params: Tensor, given: Given = NOTHING) -> Any:
        """Returns p(x|z) as a TensorFlow Probability distribution over whole events.

        Args:
            params: (..., *params_shape), any float dtype.
            given: The side inputs.

        Raises:
            ValueError: if the trailing axes of `params` are others.
        """
        elementwise = self._distribution(self._checked(params), given)
        return distributions.independent(elementwise, len(self.event_shape) - self.element_ndims)

    def log_prob(
        self, params: Tensor, x: Tensor, given: Given = NOTHING, mask: Tensor | None = None
    ) -> Tensor:
        """Returns log p(x|z), (...), in nats, summed over the event.

        Args:
            params: (..., *params_shape).
            x: (..., E), broadcast against the leading axes of `params`.
            given: The side inputs.
            mask: None, or 1 where an entry of x was observed. Others count nothing, whatever they
                hold, NaN included; an element of several entries counts if all were observed.
        """
        params, x = self._checked(params), tf.cast(x, tf.float32)
        if mask is None:
            return self._event_log_prob(params, x, given)
        counted, x = self._counted(mask), self.filled(x, mask)
        if self.element_ndims:
            counted = tf.squeeze(counted, list(range(-self.element_ndims, 0)))
        return self._summed(self._distribution(params, given).log_prob(x) * counted)

    def filled(self, x: Tensor, mask: Tensor) -> Tensor:
        """Returns x (..., E) with a value inside the support for elements not wholly observed."""
        return tf.where(self._counted(mask) > 0.0, x, self.fill)

    def _counted(self, mask: Tensor) -> Tensor:
        """Returns 1 for elements that were wholly observed, (..., E) but 1 along their axes."""
        mask = tf.cast(mask, tf.float32)
        if not self.element_ndims:
            return mask
        return tf.reduce_min(mask, list(range(-self.element_ndims, 0)), keepdims=True)

    def _event_log_prob(self, params: Tensor, x: Tensor, given: Given) -> Tensor:
        """Hook: log p(x|z) of whole events, (...), where there is a faster way than elements."""
        return self._summed(self._distribution(params, given).log_prob(x))

    def _summed(self, elements: Tensor) -> Tensor:
        """Returns elements (..., E) summed over the event, (...)."""
        ndims = len(self.event_shape) - self.element_ndims
        return tf.reduce_sum(elements, axis=list(range(-ndims, 0)))

    def mean(self, params: Tensor, given: Given = NOTHING) -> Tensor:
        """Returns the mean of p(x|z), (..., E), float32."""
        return self._distribution(self._checked(params), given).mean()

    def sample(self, params: Tensor, seed: Tensor, given: Given = NOTHING) -> Tensor:
        """Returns one draw of p(x|z) for each parameter vector, (..., E), float32."""
        return self._distribution(self._checked(params), given).sample(seed=seed)

    def typical(self, mean: Tensor, draws: Tensor) -> Tensor:
        """Hook: what stands for a distribution over events, (..., E); its mean by default.

        Args:
            mean: Its mean, as an average of `mean` over several z, (..., E).
            draws: Draws of it, (R, ..., E), for events whose averages mean nothing.
        """
        return mean

    def _distribution(self, params: Tensor, given: Given) -> Any:
        """Hook: the elementwise distribution, batch shape (..., E), from float32 `params`."""
        raise NotImplementedError

    def _checked(self, params: Tensor) -> Tensor:
        expected = self.params_shape(self.event_shape)
        received = tuple(params.shape[-len(expected) :])
        if received != expected:
            raise ValueError(
                f"The likelihood {self.short_name!r} received parameters of shape (..., "
                f"{', '.join(map(str, received))}); expected (..., {', '.join(map(str, expected))})"
                f" for events of shape {self.event_shape}."
            )
        return tf.cast(params, tf.float32)

    @property
    def event_size(self) -> int:
        """How many numbers one event has."""
        return math.prod(self.event_shape)
