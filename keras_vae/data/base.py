"""What a data set is before it is batched: splits that are reached by index or streamed."""

import contextlib
import math
import mmap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae import _checks
from keras_vae._arrays import plain
from keras_vae._types import Tensor

#: Bytes of a window within which a stream is shuffled, and its most examples.
WINDOW_BYTES, WINDOW = 2**28, 8192
#: Examples, and bytes of them, that are looked at together.
CHUNK, CHUNK_BYTES = 4096, 2**24
#: How many batches are made before they are asked for.
AHEAD = 4
#: Data of more bytes than this stays where it is and is read as it is needed.
IN_MEMORY = 2**30


class Examples:
    """Examples that can be gathered by index inside a graph.

    A new kind sets the attributes and writes `gather`.

    Attributes:
        count: How many there are.
        event_shape: Shape of one, E.
        dtype: NumPy dtype they are kept in; uint8 stays uint8 until the graph.
        extremes: Lowest and highest value where they are known without a look, or None.
    """

    count: int
    event_shape: tuple[int, ...]
    dtype: np.dtype
    extremes: tuple[float, float] | None = None

    def gather(self, index: Tensor) -> Tensor:
        """Returns the examples at `index` (B,), (B, E), in their own dtype."""
        raise NotImplementedError

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Returns examples start..stop - 1 as an array."""
        return np.asarray(self.gather(tf.range(start, stop)))


class ArrayExamples(Examples):
    """Examples in memory: an array until a graph asks for it, the graph's tensor from then on."""

    def __init__(self, array: np.ndarray) -> None:
        self._held: Any = array
        self.count, self.event_shape, self.dtype = len(array), array.shape[1:], array.dtype

    @property
    def array(self) -> np.ndarray:
        """All examples, (count, E)."""
        return np.asarray(self._held)

    def gather(self, index: Tensor) -> Tensor:
        """Returns the examples at `index` (B,), (B, E)."""
        if not tf.is_tensor(self._held):
            with tf.init_scope(), tf.device("CPU:0"):
                self._held = tf.constant(self._held)
        return tf.gather(self._held, index)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Returns examples start..stop - 1 as an array."""
        return np.asarray(self._held[start:stop])


class FileExamples(Examples):
    """Examples that stay in an .npy file and are read as they are needed.

    They are read past the memory map, of which far more than the examples would become resident.
    The map is all there is where an example does not lie in one piece (Fortran order), where the
    array is a part or a copy of a map, and where it may hold what the file does not.

    Args:
        array: The file's map, (n, E) of any kind of number and byte order.
    """

    def __init__(self, array: np.memmap) -> None:
        self.count, self.event_shape = len(array), array.shape[1:]
        self.dtype = np.dtype(np.uint8 if array.dtype == np.uint8 else np.float32)
        self._path, self._offset = Path(str(array.filename)), array.offset
        whole = isinstance(array.base, mmap.mmap) and array.mode in ("r", "r+")
        self._stored, self._bytes = array.dtype, array.itemsize * math.prod(array.shape[1:])
        self._map = None if whole and array.flags.c_contiguous else array

    def gather(self, index: Tensor) -> Tensor:
        """Returns the examples at `index` (B,), (B, E)."""

        def read(places: np.ndarray) -> np.ndarray:
            if self._map is not None:
                return np.ascontiguousarray(plain(self._map[places]))
            with still_readable(self._path):
                return self._runs(places.tolist(), 1)

        rows = tf.numpy_function(read, [index], tf.as_dtype(self.dtype), stateful=False)
        return tf.ensure_shape(rows, (None, *self.event_shape))

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Returns examples start..stop - 1 as an array.

        Raises:
            ValueError: if they are no longer there.
        """
        if self._map is not None:
            return plain(self._map[start:stop])
        with readable(self._path):
            return self._runs([start], stop - start)

    def _runs(self, places: Sequence[int], length: int) -> np.ndarray:
        """Returns as many examples from each place on."""
        held = np.empty((len(places), length * self._bytes), np.uint8)
        with self._path.open("rb", buffering=0) as file:  # of its own: threads share no position
            for run, place in zip(held, places):
                file.seek(self._offset + place * self._bytes)
                if file.readinto(run) != len(run):
                    raise EOFError(f"it ends before example {place + length}")
        shape = (len(places) * length, *self.event_shape)
        return plain(held.view(self._stored).reshape(shape))


class PartExamples(Examples):
    """Examples start..stop - 1 of others."""

    def __init__(self, whole: Examples, start: int, stop: int) -> None:
        self.whole, self.start = whole, start
        self.count, self.event_shape, self.dtype = stop - start, whole.event_shape, whole.dtype
        self.extremes = whole.extremes

    def gather(self, index: Tensor) -> Tensor:
        """Returns the examples at `index` (B,), (B, E)."""
        return self.whole.gather(index + tf.cast(self.start, index.dtype))

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Returns examples start..stop - 1 of the part."""
        return self.whole.rows(self.start + start, self.start + min(stop, self.count))


class Split:
    """One part of a data set. A new kind sets the attributes and writes the three methods.

    Attributes:
        count: How many examples there are.
        event_shape: Shape of one, E.
        dtype: NumPy dtype they are kept in.
        extremes: Lowest and highest value where they are known without a look, or None.
        labelled: Whether there are labels.
    """

    count: int
    event_shape: tuple[int, ...]
    dtype: np.dtype
    extremes: tuple[float, float] | None
    labelled: bool

    def batches(
        self, size: int, labels: bool, passes: tf.data.Dataset | None = None, shuffle: bool = False
    ) -> tf.data.Dataset:
        """Returns mappings of "index" (B,), "x" (B, E), "key" and, if asked for, "labels".

        Args:
            size: B; the last batch of a pass holds what is left.
            labels: Whether to look labels up.
            passes: Of the passes, one after the other, each a pair: a key, int32[2], and how many
                batches come at the end of the pass instead of at its start, int64. None for one.
            shuffle: Whether the order is a function of the key, or that of the source.
        """
        raise NotImplementedError

    def part(self, start: int, stop: int) -> "Split":
        """Returns examples start..stop - 1."""
        raise NotImplementedError

    def chunks(self) -> Iterator[np.ndarray]:
        """Yields all examples in order, some at a time."""
        raise NotImplementedError

    @property
    def label_kind(self) -> str | None:
        """What the labels are: "classes" for whole numbers, "other", or None."""
        if not self.labelled:
            return None
        spec = self.batches(1, True).element_spec["labels"]
        whole = spec.shape.rank == 1 and spec.dtype.is_integer
        return "classes" if whole else "other"

    def greatest_label(self) -> int:
        """Returns the greatest of labels that are whole numbers."""
        found = (each["labels"] for each in self.batches(4096, True).as_numpy_iterator())
        return max(int(labels.max()) for labels in found)


class Indexed(Split):
    """Examples reached by index, shuffled as a whole, with labels in memory.

    Args:
        x: The examples.
        labels: (n,) or (n, K), or None.
    """

    def __init__(self, x: Examples, labels: np.ndarray | None = None) -> None:
        self.x, self.labels = x, labels
        self.count, self.event_shape, self.dtype = x.count, x.event_shape, x.dtype
        self.extremes, self.labelled = x.extremes, labels is not None

    def batches(
        self, size: int, labels: bool, passes: tf.data.Dataset | None = None, shuffle: bool = False
    ) -> tf.data.Dataset:
        """Returns the passes; see `Split.batches`."""
        table = ArrayExamples(self.labels) if labels and self.labels is not None else None

        def batch(key: Tensor, index: Tensor) -> dict[str, Tensor]:
            found = {"index": index, "x": self.x.gather(index), "key": key}
            return found if table is None else {**found, "labels": table.gather(index)}

        return map_steps(batch, size, self.count, passes, shuffle)

    def greatest_label(self) -> int:
        """Returns the greatest of labels that are whole numbers."""
        return int(np.max(self.labels))

    def part(self, start: int, stop: int) -> "Indexed":
        """Returns examples start..stop - 1 with their labels."""
        labels = None if self.labels is None else self.labels[start:stop]
        return Indexed(PartExamples(self.x, start, stop), labels)

    def chunks(self) -> Iterator[np.ndarray]:
        """Yields all examples in order, some at a time."""
        bytes_each = self.dtype.itemsize * int(np.prod(self.event_shape))
        step = max(1, min(CHUNK, CHUNK_BYTES // max(1, bytes_each)))
        for start in range(0, self.count, step):
            yield self.x.rows(start, min(start + step, self.count))


class Streamed(Split):
    """Examples that come one after the other, shuffled within windows of bounded memory.

    Args:
        stream: From (start, stop) to a dataset of these examples, as mappings of "x" and, if there
            are labels, "labels".
        stop: One past the last example.
        event_shape: E.
        dtype: NumPy dtype of the values.
        labelled: Whether there are labels.
        extremes: Lowest and highest value, or None where a look must find them.
        start: The first example.
    """

    def __init__(
        self,
        stream: Callable[[int, int], tf.data.Dataset],
        stop: int,
        event_shape: tuple[int, ...],
        dtype: Any,
        labelled: bool,
        extremes: tuple[float, float] | None = None,
        start: int = 0,
    ) -> None:
        self._stream, self._start, self._stop = stream, start, stop
        self.count, self.event_shape, self.dtype = stop - start, event_shape, np.dtype(dtype)
        self.extremes, self.labelled = extremes, labelled

    def batches(
        self, size: int, labels: bool, passes: tf.data.Dataset | None = None, shuffle: bool = False
    ) -> tf.data.Dataset:
        """Returns the passes; see `Split.batches`."""
        kept = ("x", "labels") if labels else ("x",)

        def one(key: Tensor, start: Tensor) -> tf.data.Dataset:
            examples = self._stream(self._start, self._stop).enumerate()
            numbered = examples.map(
                lambda index, found: {"index": index, **{name: found[name] for name in kept}}
            )
            if shuffle:
                pieces = self._in_windows(numbered, key).rebatch(size)
            else:
                pieces = numbered.batch(size)
            return _from(pieces, start).map(lambda found: {**found, "key": key})

        return untuned((_one_pass() if passes is None else passes).flat_map(one))

    def _in_windows(self, numbered: tf.data.Dataset, key: Tensor) -> tf.data.Dataset:
        """Returns windows of examples, each in an order that is a function of the key."""
        bytes_each = self.dtype.itemsize * int(np.prod(self.event_shape))
        window = max(1, min(WINDOW, self.count, WINDOW_BYTES // bytes_each))

        def shuffle(found: dict[str, Tensor]) -> dict[str, Tensor]:
            count = tf.shape(found["index"], tf.int64)[0]
            places = _shuffled(tf.range(count), key, count)
            return {name: tf.gather(values, places) for name, values in found.items()}

        return numbered.batch(window).map(shuffle)

    def part(self, start: int, stop: int) -> "Streamed":
        """Returns examples start..stop - 1."""
        first = self._start
        return Streamed(
            self._stream,
            first + stop,
            self.event_shape,
            self.dtype,
            self.labelled,
            self.extremes,
            first + start,
        )

    def chunks(self) -> Iterator[np.ndarray]:
        """Yields all examples in order, some at a time."""
        for found in self.batches(256, False).as_numpy_iterator():
            yield found["x"]


def map_steps(
    function: Callable[[Tensor, Tensor], Any],
    size: int,
    count: int,
    passes: tf.data.Dataset | None,
    shuffle: bool,
) -> tf.data.Dataset:
    """Returns what a function makes of the key of a pass and the indices (B,) of each batch.

    It is mapped over the steps of all passes at once: datasets within a dataset take TensorFlow
    several times as long to begin.

    Args:
        function: Of key and indices.
        size: B; the last batch of a pass holds what is left.
        count: How many examples there are.
        passes: As for `Split.batches`.
        shuffle: As for `Split.batches`.
    """
    steps = -(-count // size)

    def numbered(key: Tensor, start: Tensor) -> tf.data.Dataset:
        told = tf.data.Dataset.from_tensors((key, start)).repeat()
        return tf.data.Dataset.zip(told, tf.data.Dataset.range(steps))

    def batch(told: tuple[Tensor, Tensor], step: Tensor) -> Any:
        key, start = told
        first = (step + start) % steps * size
        index = tf.range(first, tf.minimum(first + size, count))
        return function(key, _shuffled(index, key, count) if shuffle else index)

    if passes is None:
        key, start = tf.constant([0, 0]), tf.constant(0, tf.int64)
        numbers = tf.data.Dataset.range(steps).map(lambda step: ((key, start), step))
    else:
        numbers = passes.flat_map(numbered)
    made = numbers.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return untuned(made)


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns a dataset that TensorFlow does not tune.

    In some passes it waits, at the end, until its tuning thread looks up from a sleep of up to as
    long as the pass took.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def _one_pass() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensors((tf.constant([0, 0]), tf.constant(0, tf.int64)))


def _from(batches: tf.data.Dataset, start: Tensor) -> tf.data.Dataset:
    """Returns batches with `start` of them at the end."""
    return batches.skip(start).concatenate(batches.take(start))


def _shuffled(index: Tensor, key: Tensor, count: Tensor | int) -> Tensor:
    """Returns what a pseudorandom permutation of 0..count - 1 makes of `index`."""
    seed = tf.bitcast(key, tf.uint32)
    return tf.random.experimental.index_shuffle(index, seed, tf.cast(count - 1, index.dtype))


@dataclass(frozen=True)
class Source:
    """A data set as it was found.

    Attributes:
        name: What the set is called.
        train: The training split, or None where there is a test split alone, to be scored.
        validation: The validation split, or None to take the last tenth of train.
        test: The test split, or None to take the last tenth of train.
        scale: What values are divided by, in the graph; None leaves it to their type.
        binarize: The binarisation the set is usually used with, or None.
        label_names: What the columns or values of the labels are called.
        column_names: What the elements of a vector are called.
    """

    name: str
    train: Split | None
    validation: Split | None = None
    test: Split | None = None
    scale: float | None = None
    binarize: str | None = None
    label_names: tuple[str, ...] = ()
    column_names: tuple[str, ...] = ()


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns whatever goes wrong in reading a file into a ValueError that names it."""
    try:
        yield
    except Exception as error:  # damaged archives and tables raise errors of many kinds
        raise ValueError(
            f"{path} could not be read ({' '.join(str(error).split())}); expected a whole file of "
            "numbers, written without pickles."
        ) from error


@contextlib.contextmanager
def still_readable(path: Path) -> Iterator[None]:
    """Turns what goes wrong in reading a file anew into a sentence that a graph's error carries."""
    try:
        yield
    except Exception as error:
        mark = _checks.MARK
        raise ValueError(
            f"{mark} {path} could no longer be read ({_checks.brief(error)}); expected the files "
            f"that were there at the start. Put it back, and begin again. {mark}"
        ) from error
