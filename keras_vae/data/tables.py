"""Tables of numbers: .csv and .parquet, whole or streamed in chunks of rows."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae.data import base
from keras_vae.data.base import ArrayExamples, Indexed, Source, Streamed

#: Rows that are read at a time where a table is streamed.
ROWS = 2**14


def read(path: Path) -> Source:
    """Returns the columns of a table as one vector per row.

    A file above 1 GiB is streamed, and gone through once to count its rows.

    Raises:
        ValueError, TypeError: if the file is damaged, or a column holds no numbers.
    """
    if path.stat().st_size <= base.IN_MEMORY:
        with base.readable(path):
            whole = np.concatenate(list(_chunks(path)))
        values = base.array_of_numbers(str(path), whole)
        return Source(path.stem, Indexed(ArrayExamples(values)))
    count, columns = 0, 0
    with base.readable(path):
        for rows in _chunks(path):
            count, columns = count + len(rows), rows.shape[1]

    def chunks() -> Iterator[np.ndarray]:
        for rows in _chunks(path):
            yield rows.astype(np.float32)

    def stream(start: int, stop: int) -> tf.data.Dataset:
        spec = tf.TensorSpec((None, columns), tf.float32)
        rows = tf.data.Dataset.from_generator(chunks, output_signature=spec).unbatch()
        return rows.skip(start).take(stop - start).map(lambda row: {"x": row})

    return Source(path.stem, Streamed(stream, count, (columns,), np.float32, labelled=False))


def _chunks(path: Path) -> Iterator[np.ndarray]:
    """Yields the rows of a table some at a time."""
    for table in _READERS[path.suffix](path):
        words = [name for name, kind in table.dtypes.items() if kind.kind not in "fiub"]
        if words:
            raise ValueError(
                f"the columns {', '.join(map(str, words))} hold no numbers: encode or drop them"
            )
        yield table.to_numpy()


def _csv(path: Path) -> Iterator[Any]:
    import pandas

    with pandas.read_csv(path, chunksize=ROWS) as reader:
        yield from reader


def _parquet(path: Path) -> Iterator[Any]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS):
            yield batch.to_pandas()


_READERS: dict[str, Callable[[Path], Iterator[Any]]] = {".csv": _csv, ".parquet": _parquet}
