"""Counter-based random numbers: functions of a seed and an example, wherever the example stands.

Reference: Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, 2011 (counters hashed in
place of a state).
"""

import math

import tensorflow as tf

from keras_vae._types import Tensor


def _constant(value: int) -> Tensor:
    return tf.constant(value, tf.uint32)


def _mix(bits: Tensor) -> Tensor:
    """Returns a bijective scrambling of 32-bit words (xor-shift and multiply, twice)."""
    xor, shift = tf.bitwise.bitwise_xor, tf.bitwise.right_shift
    bits = xor(bits, shift(bits, _constant(16))) * _constant(0x21F0AAAD)
    bits = xor(bits, shift(bits, _constant(15))) * _constant(0xD35A2D97)
    return xor(bits, shift(bits, _constant(15)))


def _scattered(numbers: Tensor) -> Tensor:
    """Returns scrambled counters, uint32."""
    return _mix(tf.cast(numbers, tf.uint32) * _constant(0x9E3779B9))


def _fraction(words: Tensor) -> Tensor:
    """Returns the upper 24 bits of words as multiples of 2^-24 in [0, 1), float32."""
    return tf.cast(tf.bitwise.right_shift(words, _constant(8)), tf.float32) * 2.0**-24


def index_uniform(index: Tensor, size: int, seed: Tensor) -> Tensor:
    """Returns uniform numbers that depend on the seed and each example's index alone.

    Args:
        index: Of the examples, whole numbers (B,).
        size: Numbers per example, N.
        seed: int32[2].

    Returns: (B, N) float32 in [0, 1).
    """
    keys = tf.bitcast(seed, tf.uint32)
    rows = _mix(_scattered(index) + keys[0]) + keys[1]
    return _fraction(_mix(_mix(rows)[:, None] + _scattered(tf.range(size))))


def content_keys(x: Tensor, seed: Tensor) -> Tensor:
    """Returns one word for each example, (B,) uint32, from its bits and the seed.

    Args:
        x: (B, E) float32.
        seed: int32[2].
    """
    bits = tf.bitcast(tf.reshape(x, [tf.shape(x)[0], math.prod(x.shape[1:])]), tf.uint32)
    keys = tf.bitcast(seed, tf.uint32)
    # A sum of words, each scrambled with its place: exact whatever the order of the additions.
    places = _mix(_scattered(tf.range(bits.shape[1])) + keys[0])
    rows = tf.reduce_sum(_mix(bits ^ places), axis=1)
    return _mix(rows + keys[1])


def keyed_noise(
    keys: Tensor, num_samples: Tensor | int, size: int, seed: Tensor, first: Tensor | int = 0
) -> Tensor:
    """Returns the `content_noise` of examples with these `content_keys` (B,), (S, B, N).

    A loop over draws finds the keys once, and the noise of each turn by them.
    """
    words = _draw_words(keys, num_samples, seed, first)
    half = (size + 1) // 2
    words = _mix(words[:, :, None] + _scattered(tf.range(half)))
    twins = _mix(words + _constant(0x85EBCA6B))
    radius = tf.sqrt(-2.0 * tf.math.log(_fraction(words) + 2.0**-25))
    angle = 2.0 * math.pi * _fraction(twins)
    return tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=2)[:, :, :size]


def keyed_uniform(
    keys: Tensor, num_samples: Tensor | int, size: int, seed: Tensor, first: Tensor | int = 0
) -> Tensor:
    """Returns uniform numbers as `keyed_noise` returns normal ones, (S, B, N), within (0, 1)."""
    words = _draw_words(keys, num_samples, seed, first)
    words = _mix(words[:, :, None] + _scattered(tf.range(size)))
    return _fraction(words) * (1.0 - 2.0**-23) + 2.0**-25


def keyed_seeds(keys: Tensor, num_samples: Tensor | int, seed: Tensor, first: Tensor) -> Tensor:
    """Returns seeds for what cannot draw from noise, (S, B, 2) int32, as `keyed_noise` does."""
    words = _draw_words(keys, num_samples, seed, first)
    return tf.bitcast(tf.stack([words, _mix(words + _constant(0xC2B2AE35))], -1), tf.int32)


def _draw_words(
    keys: Tensor, num_samples: Tensor | int, seed: Tensor, first: Tensor | int
) -> Tensor:
    """Returns one word for each draw of each example, (S, B) uint32."""
    second = tf.bitcast(seed, tf.uint32)[1]
    draws = _mix(_scattered(tf.range(num_samples) + first) + second)
    return _mix(keys[None, :] + draws[:, None])


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
    """
    return keyed_noise(content_keys(x, seed), num_samples, size, seed, first)
