"""From arrays to batches: order, binarisation and scaling, in the graph."""

import itertools

import numpy as np
import tensorflow as tf

from keras_vae._types import Tensor


def batches(
    examples: np.ndarray,
    batch_size: int,
    *,
    scale: float = 1.0,
    seed: int | None = None,
    binarize: bool = False,
) -> tf.data.Dataset:
    """Returns float32 batches (B, E); the last one holds what is left.

    Batches are gathered by index from the one array, which keeps its dtype until then. Order and
    binarisation are functions of the seed and of how often the data has been gone through, nothing
    else; the global seed has no part in them.

    Args:
        examples: (n, E).
        batch_size: B.
        scale: What values are divided by.
        seed: Of the order and the binarisation; None keeps the order and draws nothing.
        binarize: Draw x ~ Bernoulli(value) anew each time an example is used.
    """
    count = len(examples)
    steps = -(-count // batch_size)
    source = tf.constant(examples)

    def batch(step: Tensor, key: Tensor) -> Tensor:
        first = step * batch_size
        index = tf.range(first, tf.minimum(first + batch_size, count))
        if seed is not None:
            # A pseudorandom permutation of all indices, looked up at these places.
            index = tf.random.experimental.index_shuffle(
                index, tf.bitcast(key, tf.uint32), count - 1
            )
        x = tf.cast(tf.gather(source, index), tf.float32) / scale
        if binarize:
            seeds = tf.random.experimental.stateless_fold_in(key, step)
            x = tf.cast(tf.random.stateless_uniform(tf.shape(x), seeds) < x, tf.float32)
        return tf.ensure_shape(x, (None, *examples.shape[1:]))

    def epoch(key: Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.range(steps).map(
            lambda step: batch(step, key), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    passes = itertools.count()
    numbers = tf.data.Dataset.from_generator(
        lambda: iter([next(passes)]), output_signature=tf.TensorSpec([], tf.int32)
    )
    keys = numbers.map(lambda n: tf.random.experimental.stateless_fold_in([0, seed or 0], n))
    dataset = keys.flat_map(epoch).apply(tf.data.experimental.assert_cardinality(steps))
    return dataset.prefetch(tf.data.AUTOTUNE)


def binarized(examples: np.ndarray, scale: float, method: str, seed: int | list[int]) -> np.ndarray:
    """Returns the examples binarised once, uint8, by draws of that seed or at 0.5.

    Args:
        examples: (n, E) with values in 0..scale.
        scale: What values are divided by.
        method: "threshold", or anything else for x ~ Bernoulli(value).
        seed: Of the draws.
    """
    values = examples.astype(np.float32) / scale
    if method == "threshold":
        return (values >= 0.5).astype(np.uint8)
    draws = np.random.default_rng(seed).random(values.shape, np.float32)
    return (draws < values).astype(np.uint8)
