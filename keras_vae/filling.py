"""Files with missing entries, filled by a model; what was observed stays as it stood."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_vae import _arrays, _files
from keras_vae.data import tables
from keras_vae.data.base import readable
from keras_vae.imputation import Imputation
from keras_vae.model import VAE

#: A field of a .csv file as it stands, quotes and all, and what ends it.
_FIELD = re.compile(r'("(?:[^"]|"")*"|[^,\r\n]*)(,|\r\n|\r|\n|\Z)')
#: Draws of each example that a file of arrays holds.
DRAWS = 20


class Filled(NamedTuple):
    """What was done to a file.

    Attributes:
        entries: How many were missing, and are filled.
        examples: How many examples they were in.
        least_effective_sample_size: Of the importance weights, the least of these examples.
    """

    entries: int
    examples: int
    least_effective_sample_size: float


def fill(
    vae: VAE,
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    num_samples: int = 1000,
    seed: Any = 0,
    condition: Any = None,
) -> Filled:
    """Writes a copy of a file in which every missing entry is at its conditional mean.

    The copy is of the kind of the source. Instead it may be a .npz of what the model says: `x`,
    `stddev` and `draws` (20 for each example), as `VAE.impute` returns them. In a .npz, arrays of
    examples are filled and others are kept. A .csv is the same text but for the fields that are
    filled. What cannot be imputed stays missing, with a warning.

    Args:
        vae: A model that was made, and trained, with missing=True.
        source: A .csv, .parquet, .npy or .npz file of examples as they were trained on, with empty
            fields or NaN where entries are missing.
        output: A new file.
        num_samples: Samples per example.
        seed: Of the samples.
        condition: For a model that has one: one for all examples, or one for each.

    Raises:
        ValueError, TypeError: for files of other kinds or shapes, or values that the model does not
            take.
        FileExistsError: if the output exists.
    """
    source, output = Path(source), Path(output)
    _check(source, output)

    x, write = _KINDS[source.suffix.lower()](source, vae.event_shape)
    found = vae.impute(x, num_samples, DRAWS, seed, condition=condition)
    arrays = output.suffix == ".npz" and source.suffix.lower() != ".npz"
    _files.write(output, (lambda file: _save(file, found)) if arrays else _writer(write, found))
    lost = np.isnan(x) & np.isfinite(found.x)
    rows = lost.reshape(len(lost), -1).any(1)
    least = found.effective_sample_size[rows].min() if rows.any() else float(num_samples)
    return Filled(int(lost.sum()), int(rows.sum()), float(least))


def _check(source: Path, output: Path) -> None:
    suffix = source.suffix.lower()
    if suffix not in _KINDS:
        raise ValueError(f"--data is {source}; expected a file ending in {', '.join(_KINDS)}.")
    if not source.is_file():
        raise ValueError(f"There is no file {source}; expected one with missing entries.")
    if output.suffix.lower() not in (suffix, ".npz"):
        raise ValueError(
            f"--output is {output}; expected a name ending in {suffix}, as --data does, or in .npz "
            "for x, stddev and draws as arrays."
        )
    if output.exists():
        raise FileExistsError(f"{output} exists already; choose another --output.")
    _files.check_room(output)


def _writer(write: Callable[[Any, np.ndarray], None], found: Imputation) -> Any:
    return lambda file: write(file, found.x)


def _save(file: Any, found: Imputation) -> None:
    np.savez_compressed(file, x=found.x, stddev=found.stddev, draws=found.draws)


# Each kind: from a path and E to examples x (n, E), and what writes x, filled, into a new file.


def _csv(path: Path, event_shape: tuple[int, ...]) -> Any:
    x = tables.numbers(path)
    _check_shape(path, x, event_shape)
    text = path.read_bytes().decode()
    mark = text[: text.startswith("\ufeff")]
    pieces, (_, *rows) = _fields(text[len(mark) :])
    if len(rows) != len(x):
        raise ValueError(f"{path} has lines that are no rows; expected one example on each line.")

    def write(file: Any, filled: np.ndarray) -> None:
        made = pieces.copy()
        for places, old, new in zip(rows, x, filled, strict=True):
            for column in np.flatnonzero(np.isnan(old)):
                value = f"{new[column]:.9g}" if np.isfinite(new[column]) else ""
                if column >= len(places):  # the line ends before it
                    made[places[-1]] += f",{value}"
                elif value:
                    made[places[column]] = value
        file.write((mark + "".join(made)).encode())

    return x, write


def _fields(text: str) -> tuple[list[str], list[list[int]]]:
    """Returns fields and what ends them by turns, and where among these the fields of each row are.

    Blank lines are no rows.
    """
    pieces: list[str] = []
    rows: list[list[int]] = []
    row: list[int] = []
    for field, end in _FIELD.findall(text):
        row.append(len(pieces))
        pieces += [field, end]
        if end != ",":
            if len(row) > 1 or field.strip():
                rows.append(row)
            row = []
    return pieces, rows


def _parquet(path: Path, event_shape: tuple[int, ...]) -> Any:
    import pandas

    x = tables.numbers(path)
    _check_shape(path, x, event_shape)
    frame = pandas.read_parquet(path)

    def write(file: Any, filled: np.ndarray) -> None:
        made = frame.copy()
        for place, name in enumerate(frame.columns):
            if frame[name].isna().any():
                made[name] = _completed(frame[name], filled[:, place].astype(np.float64))
        made.to_parquet(file)

    return x, write


def _completed(values: Any, new: np.ndarray) -> Any:
    """Returns a column whose missing values are as near to `new` (n,) as its type allows."""
    kind = getattr(values.dtype, "numpy_dtype", values.dtype)
    held = values.notna() | np.isnan(new)
    if kind.kind == "b":
        return values.where(held, new >= 0.5)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        new = np.clip(np.round(np.nan_to_num(new)), limits.min, limits.max)
    return values.where(held, new).astype(values.dtype)


def _npy(path: Path, event_shape: tuple[int, ...]) -> Any:
    with readable(path):
        _arrays.check_npy(path)
        held = np.load(path, allow_pickle=False)
    x = _floats(path, held)
    _check_shape(path, x, event_shape)
    return x, lambda file, filled: np.save(file, _filled(held, filled))


def _npz(path: Path, event_shape: tuple[int, ...]) -> Any:
    with readable(path):
        _arrays.check_npz(path)
    with readable(path), np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    names = [
        name
        for name, each in arrays.items()
        if each.shape[1:] == event_shape and len(each) and each.dtype.kind in "fiu"
    ]
    if not names:
        raise ValueError(
            f"{path} holds no array of examples; expected one of shape (n, "
            f"{', '.join(map(str, event_shape))})."
        )
    x = np.concatenate([_floats(path, arrays[name]) for name in names])
    ends = np.cumsum([len(arrays[name]) for name in names])[:-1]

    def write(file: Any, filled: np.ndarray) -> None:
        parts = dict(zip(names, np.split(filled, ends)))
        made = {name: _filled(arrays[name], part) for name, part in parts.items()}
        np.savez_compressed(file, **{**arrays, **made})

    return x, write


_KINDS: dict[str, Callable[[Path, tuple[int, ...]], Any]] = {
    ".csv": _csv,
    ".parquet": _parquet,
    ".npy": _npy,
    ".npz": _npz,
}


def _floats(path: Path, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "fiub":
        raise TypeError(f"{path} holds {values.dtype}; expected numbers.")
    return _arrays.plain(values).astype(np.float32, copy=False)


def _filled(held: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """Returns an array with its NaN entries from another, in its own type."""
    if held.dtype.kind != "f":
        return held
    return np.where(np.isnan(held), filled.astype(held.dtype), held)


def _check_shape(path: Path, x: np.ndarray, event_shape: tuple[int, ...]) -> None:
    if not len(x):
        raise ValueError(f"{path} holds no example; expected at least one.")
    if x.shape[1:] != event_shape:
        raise ValueError(
            f"{path} holds examples of shape {x.shape[1:]}; the model was trained on {event_shape}."
        )
