"""From splits to batches: passes, binarisation, dequantisation and scaling, in the graph."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_vae import _noise
from keras_vae._types import Tensor
from keras_vae.data import base
from keras_vae.data.base import Split


class Passes:
    """Counts the passes over a data set, which decide its order and its draws.

    Attributes:
        next: The number of the pass that begins next.
        start: How many of its batches come at its end instead of its start.
        num_examples: How many there are in one.
    """

    def __init__(self, fixed: bool, num_examples: int) -> None:
        self.num_examples = num_examples
        self.next, self.start, self._fixed, self._held = 0, 0, fixed, False

    def hold(self, number: int, start: int = 0) -> None:
        """Makes every pass that begins the one of a number, until it is told another or let go.

        Strategies begin passes before they are asked to, so that counting them would not do.
        """
        self.next, self.start, self._held = number, start, True

    def release(self) -> None:
        """Goes on counting, from the pass after the one that was held."""
        if self._held:
            self.next, self.start, self._held = self.next + 1, 0, False

    def begin(self) -> tuple[np.int32, np.int64]:
        """Returns the number of a pass, always 0 where passes are all alike, and its start."""
        number = 0 if self._fixed else self.next
        self.next += not self._held
        return np.int32(number), np.int64(self.start)

    def of(self, seed: tuple[int, int]) -> tf.data.Dataset:
        """Returns a dataset that begins one pass: its key, a function of the seed, and its start.

        Args:
            seed: int32 each.
        """

        def begin(_: Tensor) -> tuple[Tensor, Tensor]:
            number, start = tf.numpy_function(self.begin, [], [tf.int32, tf.int64])
            key = tf.random.experimental.stateless_fold_in(
                tf.constant(seed), tf.ensure_shape(number, [])
            )
            return key, tf.ensure_shape(start, [])

        return tf.data.Dataset.range(1).map(begin)


def batches(
    split: Split,
    batch_size: int,
    *,
    scale: float = 1.0,
    seed: tuple[int, int] = (0, 0),
    shuffle: bool = False,
    draw: str | None = None,
    labels: bool = False,
) -> tf.data.Dataset:
    """Returns float32 batches x (B, E), or (x, labels); the last one holds what is left.

    Examples keep their dtype until they are batched, and nothing is copied per epoch. Order and
    draws are functions of the seed and of the number of the pass (how often the dataset has been
    gone through before), nothing else; the global seed has no part in them. The dataset's attribute
    `passes.next` is that number, which may be set to go on from a pass.

    Args:
        split: The examples, and their labels.
        batch_size: B.
        scale: What values are divided by.
        seed: Of the order and the draws, int32 each.
        shuffle: Another order and other draws in each pass; otherwise both stay.
        draw: "dynamic" draws x ~ Bernoulli(value) in each pass, "static" once, as a function of
            seed and index; "threshold" cuts at 0.5; "dequantize" adds uniform noise within a grey
            level, (k + u) / levels, with scale + 1 levels; None draws nothing.
        labels: Whether to return the labels too.
    """
    passes = Passes(not shuffle, split.count)
    size = math.prod(split.event_shape)

    def finish(found: dict[str, Tensor]) -> Tensor | tuple[Tensor, Tensor]:
        values = tf.ensure_shape(tf.cast(found["x"], tf.float32), (None, *split.event_shape))
        if draw in ("dynamic", "static", "dequantize"):
            key = tf.constant(seed) if draw == "static" or not shuffle else found["key"]
            numbers = _noise.index_uniform(found["index"], size, key)
            values = _drawn(values, tf.reshape(numbers, tf.shape(values)), scale, draw)
        elif draw:
            values = _kept(values, tf.cast(values >= 0.5 * scale, tf.float32))
        else:
            values = values / scale
        return (values, found["labels"]) if labels else values

    found = split.batches(batch_size, labels, passes.of(seed), shuffle)
    finished = found.map(finish, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return _counted(finished, passes, batch_size)


def of_arrays(
    arrays: Any, batch_size: int, shuffle: bool = False, seed: tuple[int, int] | None = None
) -> tf.data.Dataset:
    """Returns batches of a nest of arrays, each (n, ...), in their own dtypes or Keras's `floatx`.

    In each pass the order is another function of the seed, as in `batches`.

    Args:
        arrays: The nest.
        batch_size: B.
        shuffle: Whether there is another order in each pass.
        seed: Of the order, int32 each; None for passes that are in order and not counted.
    """
    with tf.device("CPU:0"):
        held = tf.nest.map_structure(_held, arrays)
    count = len(tf.nest.flatten(held)[0])
    passes = Passes(not shuffle, count)

    def batch(_: Tensor, index: Tensor) -> Any:
        return tf.nest.map_structure(lambda array: tf.gather(array, index), held)

    begun = None if seed is None else passes.of(seed)
    return _counted(base.map_steps(batch, batch_size, count, begun, shuffle), passes, batch_size)


def _held(array: Any) -> Tensor:
    """Returns an array as a tensor, of Keras's own dtype for floats."""
    tensor = tf.convert_to_tensor(array)
    return tf.cast(tensor, keras.config.floatx()) if tensor.dtype.is_floating else tensor


def _counted(dataset: tf.data.Dataset, passes: Passes, batch_size: int) -> tf.data.Dataset:
    """Returns the batches of a pass, prefetched, with what is known of them."""
    steps = -(-passes.num_examples // batch_size)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps))
    dataset = dataset.prefetch(base.AHEAD).with_options(_by_example())
    dataset.passes, dataset.num_examples = passes, passes.num_examples
    return dataset


def _by_example() -> tf.data.Options:
    """Returns options by which several workers share each batch, every worker reading all files.

    So the batches are those of one worker, which files that differ in length would not give.
    """
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return options


def _drawn(values: Tensor, uniform: Tensor, scale: float, draw: str) -> Tensor:
    if draw == "dequantize":
        return (values + uniform) / (scale + 1.0)
    return _kept(values, tf.cast(uniform * scale < values, tf.float32))


def _kept(values: Tensor, drawn: Tensor) -> Tensor:
    """Returns what was drawn, but for entries that are missing."""
    return tf.where(tf.math.is_nan(values), values, drawn)
