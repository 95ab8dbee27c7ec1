"""From splits to batches: passes, binarisation, dequantisation and scaling, in the graph."""

import math
from collections.abc import Iterator
from typing import Any

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

    def __call__(self) -> Iterator[tuple[int, int]]:
        """Yields the number of one pass, always 0 where passes are all alike, and its start."""
        number = 0 if self._fixed else self.next
        self.next += not self._held
        yield number, self.start


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
    steps = -(-split.count // batch_size)
    size = math.prod(split.event_shape)

    def finish(found: dict[str, Tensor], key: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        values = tf.ensure_shape(tf.cast(found["x"], tf.float32), (None, *split.event_shape))
        if draw in ("dynamic", "static", "dequantize"):
            once = draw == "static" or not shuffle
            numbers = _noise.index_uniform(found["index"], size, tf.constant(seed) if once else key)
            values = _drawn(values, tf.reshape(numbers, tf.shape(values)), scale, draw)
        elif draw:
            values = _kept(values, tf.cast(values >= 0.5 * scale, tf.float32))
        else:
            values = values / scale
        return (values, found["labels"]) if labels else values

    def epoch(number: Tensor, start: Tensor) -> tf.data.Dataset:
        key = tf.random.experimental.stateless_fold_in(tf.constant(seed), number)
        return split.batches(batch_size, key if shuffle else None, labels, start).map(
            lambda found: finish(found, key),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

    return _in_passes(epoch, steps, split.count, fixed=not shuffle)


def of_arrays(
    arrays: Any, batch_size: int, shuffle: bool, seed: tuple[int, int]
) -> tf.data.Dataset:
    """Returns batches of a nest of arrays, each (n, ...), in their own dtypes.

    In each pass the order is another function of the seed, as in `batches`.

    Args:
        arrays: The nest.
        batch_size: B.
        shuffle: Whether there is another order in each pass.
        seed: Of the order, int32 each.
    """
    with tf.device("CPU:0"):
        held = tf.nest.map_structure(tf.constant, arrays)
    count = len(tf.nest.flatten(held)[0])
    steps = -(-count // batch_size)

    def epoch(number: Tensor, start: Tensor) -> tf.data.Dataset:
        key = tf.random.experimental.stateless_fold_in(tf.constant(seed), number)

        def batch(step: Tensor) -> Any:
            index = base.batch_index(step, batch_size, count, key if shuffle else None)
            return tf.nest.map_structure(lambda array: tf.gather(array, index), held)

        return base.steps_from(start, steps).map(batch, num_parallel_calls=tf.data.AUTOTUNE)

    return _in_passes(epoch, steps, count, fixed=not shuffle)


def _in_passes(epoch: Any, steps: int, count: int, fixed: bool) -> tf.data.Dataset:
    """Returns the passes of a data set one after the other, each a function of number and start."""
    passes = Passes(fixed, count)
    spec = (tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.int64))
    numbers = tf.data.Dataset.from_generator(passes, output_signature=spec)
    dataset = numbers.flat_map(epoch).apply(tf.data.experimental.assert_cardinality(steps))
    dataset = dataset.prefetch(tf.data.AUTOTUNE).with_options(_by_example())
    dataset.passes, dataset.num_examples = passes, count
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
