"""Files of arrays, looked at before they are read: .npy, .npz."""

import math
from pathlib import Path
from typing import IO

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
