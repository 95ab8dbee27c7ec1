"""Arrays, and files of them (.npy, .npz), looked at before they are used."""

import math
from pathlib import Path
from typing import IO, Any

import numpy as np

from keras_vae import _archive

#: What is compressed may be this many times larger than the file, or this many bytes.
MOST_EXPANSION, FREE = 100, 2**28


def check_npy(path: Path) -> None:
    """Raises a ValueError for an .npy file whose header declares more than the file holds."""
    with path.open("rb") as file:
        _check_header(file, path.stat().st_size)


def check_npz(path: Path) -> None:
    """Raises a ValueError for an .npz file that holds far less than it declares."""
    with _archive.opened(path) as archive:
        members = archive.infolist()
        declared = sum(member.file_size for member in members)
        if declared > max(FREE, MOST_EXPANSION * path.stat().st_size):
            raise ValueError(f"its arrays would take {declared:,} bytes, far more than the file")
        for member in members:
            with archive.open(member) as file:
                _check_header(file, member.file_size)


def _check_header(file: IO[bytes], size: int) -> None:
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:  # that of structures with names beyond Latin letters
        raise ValueError(f"an array is of format {version}, which is none of numbers")
    shape, _, dtype = readers[version](file)
    if not dtype.hasobject and math.prod(shape) * dtype.itemsize > size - file.tell():
        raise ValueError(f"an array declares shape {shape} of {dtype}, more than there is")


def plain(values: np.ndarray) -> np.ndarray:
    """Returns numbers of any kind and byte order as uint8, if they are, or float32.

    What is too large for float32 becomes infinite.
    """
    with np.errstate(over="ignore"):
        return values if values.dtype == np.uint8 else values.astype(np.float32, copy=False)


class NonFinite:
    """Counts the values of an array that are not finite, looked at some rows at a time.

    Args:
        name: What messages call the array.
        missing: Whether NaN stands for an entry that is missing, which is no fault then.
    """

    def __init__(self, name: str, missing: bool = False) -> None:
        self._name, self._missing, self._count, self._rows = name, missing, 0, 0
        self._first: tuple[int, ...] = ()

    def look(self, rows: np.ndarray) -> None:
        """Counts in the next rows (n, E)."""
        if rows.dtype.kind == "f":
            bad = np.isinf(rows) if self._missing else ~np.isfinite(rows)
            if bad.any():
                self._keep(np.argwhere(bad))
        self._rows += len(rows)

    def _keep(self, places: np.ndarray) -> None:
        if not self._count:
            self._first = (self._rows + int(places[0][0]), *places[0][1:].tolist())
        self._count += len(places)

    def refuse(self) -> None:
        """Raises a ValueError with the count and the first place, if there were any."""
        if self._count:
            raise ValueError(
                f"{self._name} holds {self._count} {'' if self._missing else 'NaN or '}infinite "
                f"value(s), the first at index {self._first}; expected finite numbers. Drop or "
                "replace them"
                + (
                    "."
                    if self._missing
                    else ", or have NaN taken as missing: missing=True, or --missing."
                )
            )


def array_of_numbers(name: str, values: Any, missing: bool = False) -> np.ndarray:
    """Returns values as an array (n, E) of uint8 or finite float32, or with `missing` NaN.

    Raises:
        TypeError, ValueError: if they are no numbers, not finite, of several shapes, or none.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(
            f"{name} is no array; expected examples of one shape ({error})."
        ) from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} holds {array.dtype}; expected an array of numbers.")
    if array.ndim < 2 or array.size == 0:
        raise ValueError(
            f"{name} has shape {array.shape}; expected (examples, ...) with at least one example."
        )
    array = plain(array)
    found = NonFinite(name, missing)
    found.look(array)
    found.refuse()
    return array
