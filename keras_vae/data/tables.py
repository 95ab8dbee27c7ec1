"""Tables of numbers: .csv and .parquet, whole or streamed in chunks of rows."""

import csv
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae import _arrays
from keras_vae.data import base
from keras_vae.data.base import ArrayExamples, Indexed, Source, Split, Streamed

#: Rows that are read at a time, and values.
ROWS, VALUES = 2**14, 2**24
#: The most columns, and bytes of a line of text.
MOST_COLUMNS, MOST_LINE = 2**17, 2**24
#: A parquet file that takes more memory than `base.IN_MEMORY` may hold this many times its bytes.
MOST_EXPANSION = 100
_CHUNK = 2**20


def read(path: Path, missing: bool = False) -> Source:
    """Returns the columns of a table as one float32 vector per row, NaN where a field is empty.

    A file above 1 GiB is streamed, and gone through once to count its rows.

    Raises:
        ValueError, TypeError: if the file is damaged, lacks a header, or a column holds no numbers.
    """
    held: list[np.ndarray] = []
    columns: tuple[str, ...] = ()
    count = 0
    with base.readable(path):
        small = check(path) <= base.IN_MEMORY
        for table in _tables(path):
            count, columns = count + len(table), tuple(map(str, table.columns))
            if small:
                held.append(_numbers(table))
    split: Split
    if held:
        values = _arrays.array_of_numbers(str(path), np.concatenate(held), missing)
        split = Indexed(ArrayExamples(values))
    else:
        split = _streamed(path, count, len(columns))
    return Source(path.stem, split, column_names=columns)


def numbers(path: Path) -> np.ndarray:
    """Returns all rows of a table as float32, (n, columns), NaN where a field is empty.

    Raises:
        ValueError: as `read`.
    """
    with base.readable(path):
        check(path)
        return np.concatenate([_numbers(table) for table in _tables(path)])


def check(path: Path) -> int:
    """Returns about how many bytes a table takes in memory.

    Raises:
        ValueError: for lines, columns or rows that are too many.
    """
    return _check_parquet(path) if path.suffix.lower() == ".parquet" else _check_lines(path)


def _check_lines(path: Path) -> int:
    since = 0
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            last = max(part.rfind(b"\n"), part.rfind(b"\r"))
            since = since + len(part) if last < 0 else len(part) - last - 1
            if since > MOST_LINE:
                raise ValueError(f"a line is longer than {MOST_LINE:,} bytes")
    return path.stat().st_size


def _check_parquet(path: Path) -> int:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        rows, columns = file.metadata.num_rows, file.metadata.num_columns
    _check_columns(columns)
    taken = 4 * rows * columns
    if taken > max(base.IN_MEMORY, MOST_EXPANSION * path.stat().st_size):
        raise ValueError(f"its {rows:,} rows would take {taken:,} bytes, far more than the file")
    return taken


def _check_columns(count: int) -> None:
    if count > MOST_COLUMNS:
        raise ValueError(
            f"there are {count:,} columns, and at most {MOST_COLUMNS:,} are read: wider examples "
            "go into a .npy file"
        )


def _rows(columns: int) -> int:
    """Returns how many rows of a table are read at a time."""
    return max(1, min(ROWS, VALUES // max(1, columns)))


def _streamed(path: Path, count: int, columns: int) -> Streamed:
    def chunks() -> Iterator[np.ndarray]:
        with base.still_readable(path):
            for table in _tables(path):
                yield _numbers(table)

    def stream(start: int, stop: int) -> tf.data.Dataset:
        spec = tf.TensorSpec((None, columns), tf.float32)
        rows = tf.data.Dataset.from_generator(chunks, output_signature=spec).unbatch()
        return rows.skip(start).take(stop - start).map(lambda row: {"x": row})

    return Streamed(stream, count, (columns,), np.float32, labelled=False)


def _tables(path: Path) -> Iterator[Any]:
    """Yields the rows of a table some at a time, each time as a data frame."""
    for table in _READERS[path.suffix.lower()](path):
        words = [name for name, kind in table.dtypes.items() if kind.kind not in "fiub"]
        if words and len(table):
            raise ValueError(
                f"the columns {', '.join(map(str, words))} hold no numbers: encode or drop them"
            )
        yield table


def _numbers(table: Any) -> np.ndarray:
    """Returns a data frame as float32, since a column's type says nothing of grey levels."""
    with np.errstate(over="ignore"):  # what is too large is refused as infinite
        return np.asarray(table.to_numpy(np.float32, na_value=np.nan))


def _csv(path: Path) -> Iterator[Any]:
    import pandas

    with path.open(newline="", encoding="utf-8-sig") as file:
        names = next(csv.reader(file), [])
    _check_columns(len(names))
    _check_header(names)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pandas.errors.ParserWarning)  # fields that would be lost
        with pandas.read_csv(path, chunksize=_rows(len(names)), index_col=False) as reader:
            yield from reader


def _check_header(names: list[str]) -> None:
    torn = [name for name in names if ";" in name or "\t" in name]
    if torn:
        raise ValueError(
            f"the header is {torn[0]!r}: separate fields by commas, and decimals by points"
        )
    named = [name.strip() for name in names if name.strip()]
    counted = len(named) > 1 and named == [str(place) for place in range(len(named))]
    if named and all(map(_is_number, named)) and not counted:
        raise ValueError(
            f"the first row is {', '.join(named[:3])}, ..., so there is no header: name the columns"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parquet(path: Path) -> Iterator[Any]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(_rows(file.metadata.num_columns)):
            yield batch.to_pandas()


_READERS: dict[str, Callable[[Path], Iterator[Any]]] = {".csv": _csv, ".parquet": _parquet}
