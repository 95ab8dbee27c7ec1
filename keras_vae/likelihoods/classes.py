"""Likelihoods of classes."""

from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae import _checks, distributions
from keras_vae._registry import register
from keras_vae._types import Given, Tensor
from keras_vae.likelihoods.base import NOTHING, Likelihood

#: The least probability that a decoder is started from.
LEAST_SHARE = 1e-3


@register("likelihood", "categorical")
class Categorical(Likelihood):
    """p(x|z) = prod_e Categorical(x_e; softmax(logits_e)): one of K classes per element.

    The decoder returns K logits for each element, side by side on the last axis. The mean is the
    vector of probabilities for one-hot classes. The mean of whole numbers would say nothing, so in
    its place stands the most probable class.

    Args:
        num_classes: K, at least 2.
        one_hot: Whether an element is a vector of K numbers on the event's last axis, one of them
            1. Otherwise it is a whole number 0..K-1, and the encoder sees it one-hot.

    Raises:
        ValueError: when a model is made for one-hot events whose last axis is not K long.
    """

    discrete = True

    def __init__(self, num_classes: int, one_hot: bool = False) -> None:
        super().__init__()
        self.num_classes = _checks.integer("num_classes", num_classes, 2, _checks.WIDEST)
        self.one_hot = _checks.one_of("one_hot", one_hot, (False, True))
        self.support = _checks.one_hot() if one_hot else _checks.classes(num_classes)
        self.params_per_element = 1 if one_hot else num_classes
        self.element_ndims = int(one_hot)
        if one_hot:
            self.fill = np.eye(1, num_classes, dtype=np.float32)[0]

    def _setup(self, event_shape: tuple[int, ...]) -> None:
        if self.one_hot and event_shape[-1] != self.num_classes:
            raise ValueError(
                f"Events have the shape {event_shape}; expected a last axis of {self.num_classes} "
                "for one-hot classes. Give another num_classes, or whole numbers (one_hot=False)."
            )

    def to_network(self, x: Tensor) -> Tensor:
        """Returns the classes one-hot, (B, *network_shape)."""
        if self.one_hot:
            return x
        vectors = tf.one_hot(tf.cast(x, tf.int32), self.num_classes)
        return tf.reshape(vectors, [-1, *self.network_shape(self.event_shape)])

    def network_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the shape of an event whose classes stand one-hot, side by side."""
        return self.params_shape(event_shape)

    def initial_params(self, mean: Tensor, stddev: Tensor) -> Tensor | None:
        """Returns the logarithms of the classes' shares; whole numbers' moments do not say them."""
        return tf.math.log(tf.maximum(mean, LEAST_SHARE)) if self.one_hot else None

    def mean(self, params: Tensor, given: Given = NOTHING) -> Tensor:
        """Returns the probabilities, or the most probable class, (..., E), float32."""
        distribution = self._distribution(self._checked(params), given)
        return distribution.mean() if self.one_hot else distribution.mode()

    def typical(self, mean: Tensor, draws: Tensor) -> Tensor:
        """Returns the most frequent class among the draws; of one-hot vectors the mean."""
        if self.one_hot:
            return mean
        counts = tf.reduce_sum(tf.one_hot(tf.cast(draws, tf.int32), self.num_classes), 0)
        return tf.cast(tf.argmax(counts, -1), tf.float32)

    def _distribution(self, params: Tensor, given: Given) -> Any:
        if self.one_hot:
            return distributions.one_hot_categorical(params)
        leading = tf.shape(params)[:-1]
        parts = [params.shape[-1] // self.num_classes, self.num_classes]
        logits = tf.reshape(params, tf.concat([leading, parts], 0))
        return distributions.categorical(logits)
