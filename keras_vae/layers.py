"""Reusable Keras layers: `Sampling`, and the noise it is made of."""

import math
from typing import Any

import keras
import tensorflow as tf

from keras_vae import _checks, distribute
from keras_vae._registry import PACKAGE
from keras_vae._types import Tensor


def reparameterize(mean: Tensor, log_stddev: Tensor, noise: Tensor) -> Tensor:
    """Returns mean + exp(log_stddev) * noise; gradients pass to mean and log_stddev.

    Reference: Kingma and Welling, Auto-Encoding Variational Bayes, 2014, section 2.4.
    """
    return mean + tf.exp(log_stddev) * noise


@keras.saving.register_keras_serializable(PACKAGE)
class Sampling(keras.layers.Layer):
    """Draws z = mean + exp(log_stddev) * epsilon with epsilon ~ N(0, I): the reparameterisation.

    The noise is a pure function of (seed, step, replica): it differs on every step and replica and
    is the same when a run is repeated. The layer counts its steps in a weight, which is saved with
    the model. A `VAE` owns one; it also serves a model of your own.

    Args:
        seed: Whole number or pair of them. Defaults to 0. Two layers of one seed draw equal noise,
            so give each layer of a model its own.

    Call arguments:
        inputs: `(mean, log_stddev)`, two float tensors of one shape (B, D).
        training: Without effect on the value; outside training the step is not counted.

    Returns: z (B, D), float32.

    Example:
    >>> import keras, keras_vae
    >>> x = keras.Input((784,))
    >>> mean, log_stddev = keras.layers.Dense(2)(x), keras.layers.Dense(2)(x)
    >>> keras_vae.layers.Sampling()((mean, log_stddev)).shape
    (None, 2)

    Reference: Kingma and Welling, Auto-Encoding Variational Bayes, 2014, section 2.4.
    """

    def __init__(self, seed: int | tuple[int, int] = 0, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **{k: v for k, v in kwargs.items() if k != "dtype"})
        self.seed = tuple(int(part) for part in _checks.seed_pair(seed))

    def build(self, input_shape: Any) -> None:
        """Makes the counter of steps."""
        self.step = self.add_weight(
            name="step",
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
        )

    def call(self, inputs: tuple[Tensor, Tensor], training: bool = False) -> Tensor:
        """Returns z for one batch of (mean, log_stddev)."""
        mean, log_stddev = inputs
        noise = self.noise(tf.shape(mean), self.step.value)
        if training:
            self.step.assign_add(1)
        return reparameterize(mean, log_stddev, noise)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the mean."""
        return input_shape[0]

    def seed_at(self, step: Tensor | int) -> Tensor:
        """Returns the int32[2] seed of `step` on this replica."""
        seed = tf.random.experimental.stateless_fold_in(
            tf.constant(self.seed, tf.int32), tf.cast(step, tf.int32)
        )
        return tf.random.experimental.stateless_fold_in(
            seed, tf.cast(distribute.replica_id(), tf.int32)
        )

    def noise(self, shape: Any, step: Tensor | int) -> Tensor:
        """Returns standard normal noise of `shape` for one training step, float32."""
        return tf.random.stateless_normal(shape, self.seed_at(step))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "seed": self.seed}


def _constant(value: int) -> Tensor:
    return tf.constant(value, tf.uint32)


def _mix(bits: Tensor) -> Tensor:
    """Returns a bijective scrambling of 32-bit words (xor-shift and multiply, twice)."""
    xor, shift = tf.bitwise.bitwise_xor, tf.bitwise.right_shift
    bits = xor(bits, shift(bits, _constant(16))) * _constant(0x21F0AAAD)
    bits = xor(bits, shift(bits, _constant(15))) * _constant(0xD35A2D97)
    return xor(bits, shift(bits, _constant(15)))


def _count(size: Tensor | int, start: Tensor | int = 0) -> Tensor:
    """Returns scrambled counters start, start + 1, ... (size,), uint32."""
    return _mix(tf.cast(tf.range(size) + start, tf.uint32) * _constant(0x9E3779B9))


def content_noise(
    x: Tensor, num_samples: Tensor | int, size: int, seed: Tensor, first: Tensor | int = 0
) -> Tensor:
    """Returns standard normal noise that depends on each example's own bits, not on the batch.

    An example gets the same noise in every batch, chunk and process, compiled by XLA or not, so
    figures of evaluation depend neither on the batch size nor on the order. Equal examples get
    equal noise.

    Args:
        x: (B, E) float32.
        num_samples: How many draws per example, S.
        size: Numbers per draw, N.
        seed: int32[2].
        first: The index of the first draw; draws `first..first + S - 1` are returned.

    Returns: (S, B, N) float32, by the Box-Muller transform of hashed counters. Magnitudes end at
    5.9, where the normal distribution has 4e-9 of its mass left.

    Reference: Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, 2011 (counters hashed in
    place of a state).
    """
    bits = tf.bitcast(tf.reshape(x, [tf.shape(x)[0], math.prod(x.shape[1:])]), tf.uint32)
    keys = tf.bitcast(seed, tf.uint32)
    # A sum of words, each scrambled with its place: exact whatever the order of the additions.
    rows = tf.reduce_sum(_mix(bits ^ _mix(_count(bits.shape[1]) + keys[0])), axis=1)
    draws = _mix(_count(num_samples, first) + keys[1])
    words = _mix(_mix(rows + keys[1])[None, :] + draws[:, None])
    half = (size + 1) // 2
    words = _mix(words[:, :, None] + _count(half))
    twins = _mix(words + _constant(0x85EBCA6B))
    eight = _constant(8)
    scale = 2.0**-24
    uniform = (tf.cast(tf.bitwise.right_shift(words, eight), tf.float32) + 0.5) * scale
    angle = tf.cast(tf.bitwise.right_shift(twins, eight), tf.float32) * (2.0 * math.pi * scale)
    radius = tf.sqrt(-2.0 * tf.math.log(uniform))
    return tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=2)[:, :, :size]
