"""From splits to batches: passes, binarisation, dequantisation and scaling, in the graph."""

import math
from collections.abc import Iterator

import tensorflow as tf

from keras_vae import _noise
from keras_vae._types import Tensor
from keras_vae.data.base import Split


class Passes:
    """Counts the passes over a data set, which decide its order and its draws.

    Attributes:
        next: The number of the pass that begins next.
    """

    def __init__(self, fixed: bool) -> None:
        self.next, self._fixed = 0, fixed

    def __call__(self) -> Iterator[int]:
        """Yields the number of one pass, always 0 where passes are all alike."""
        number = 0 if self._fixed else self.next
        self.next += 1
        yield number


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

    def epoch(number: Tensor) -> tf.data.Dataset:
        key = tf.random.experimental.stateless_fold_in(tf.constant(seed), number)
        return split.batches(batch_size, key if shuffle else None, labels).map(
            lambda found: finish(found, key),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

    passes = Passes(fixed=not shuffle)
    numbers = tf.data.Dataset.from_generator(passes, output_signature=tf.TensorSpec([], tf.int32))
    dataset = numbers.flat_map(epoch).apply(tf.data.experimental.assert_cardinality(steps))
    dataset = dataset.prefetch(tf.data.AUTOTUNE).with_options(_by_example())
    dataset.passes, dataset.num_examples = passes, split.count
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
