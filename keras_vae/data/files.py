"""Arrays, and files of arrays: .npy, .npz."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_vae import _arrays, _checks
from keras_vae.data import base
from keras_vae.data.base import ArrayExamples, Examples, FileExamples, Indexed, Source

#: Names under which an .npz file or a mapping may hold each split, and its labels.
SPLIT_KEYS = {
    "train": ("train", "x_train", "x", "data", "arr_0"),
    "validation": ("validation", "val", "x_validation", "x_val"),
    "test": ("test", "x_test"),
}
LABEL_KEYS = {
    "train": ("y_train", "y", "labels", "train_labels"),
    "validation": ("y_validation", "y_val", "validation_labels"),
    "test": ("y_test", "test_labels"),
}
_KNOWN = tuple(key for keys in (*SPLIT_KEYS.values(), *LABEL_KEYS.values()) for key in keys)


def npy(path: Path, missing: bool = False) -> Source:
    """Returns the source in one array; above 1 GiB it stays on the disk.

    Raises:
        ValueError, TypeError: if the file is damaged, or holds no numbers.
    """
    mode = "r" if path.stat().st_size > base.IN_MEMORY else None
    with base.readable(path):
        _arrays.check_npy(path)
        loaded = np.load(path, mmap_mode=mode, allow_pickle=False)
    return Source(path.stem, Indexed(_examples(str(path), loaded, missing)))


def npz(path: Path, missing: bool = False) -> Source:
    """Returns the source in an archive of arrays, held in memory; see `mapping`.

    Raises:
        ValueError, TypeError: if the file is damaged, or as `mapping`.
    """
    with base.readable(path):
        _arrays.check_npz(path)
    with base.readable(path), np.load(path, allow_pickle=False) as archive:
        keys = [key for key in archive.files if key in _KNOWN] or archive.files
        loaded = {key: archive[key] for key in keys}
        rest = set(archive.files) - set(keys)
    for key in sorted(rest):
        meant = next((known for known in _KNOWN if _one_slip(key.lower(), known)), None)
        if meant is not None:
            raise ValueError(
                f"{path} holds {key!r}, which is none of the names that are read; expected "
                f"{meant!r}, or a name unlike it. Rename or remove that array."
            )
    return mapping(str(path), loaded, missing)


def mapping(name: str, arrays: Mapping[str, Any], missing: bool = False) -> Source:
    """Returns the source in a mapping of arrays, by the names in `SPLIT_KEYS` and `LABEL_KEYS`.

    Raises:
        ValueError, TypeError: without training examples, for other names or two of one meaning, or
            for labels that are none or of another number than the examples.
    """
    found = {split: _only(name, arrays, keys) for split, keys in SPLIT_KEYS.items()}
    if len(arrays) == 1 and all(array is None for array in found.values()):
        found["train"] = next(iter(arrays.values()))
    if found["train"] is None and found["test"] is None:
        raise ValueError(
            f"{name} holds {', '.join(map(repr, arrays)) or 'nothing'}; expected the training "
            f"examples under one of {', '.join(SPLIT_KEYS['train'])}."
        )
    for key in arrays if len(arrays) > 1 else ():
        if key not in _KNOWN:
            raise ValueError(
                f"{name} holds {key!r}; expected {', '.join(_KNOWN)}. Rename or remove it."
                + _checks.near(str(key).lower(), _KNOWN)
            )
    splits: dict[str, Any] = {"train": None}
    for split, values in found.items():
        if values is not None:
            x = _examples(f"{name}[{split}]", values, missing)
            labels = _only(name, arrays, LABEL_KEYS[split])
            splits[split] = Indexed(x, _labels(f"{name}[{split}]", labels, x.count))
    return Source(Path(name).stem, **splits)


def array(values: Any, missing: bool = False) -> Source:
    """Returns the source in one array (n, E).

    Raises:
        ValueError, TypeError: if it is none, or not of finite numbers.
    """
    if isinstance(values, tuple) and any(
        hasattr(each, "shape") or hasattr(each, "element_spec") for each in values
    ):
        raise TypeError(
            f"data is a tuple of {len(values)} arrays or datasets; expected one, or a mapping that "
            'says what they are: {"train": ..., "validation": ..., "test": ...}.'
        )
    return Source("array", Indexed(_examples("data", values, missing)))


def _only(name: str, arrays: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    found = [key for key in keys if key in arrays]
    if len(found) > 1:
        raise ValueError(
            f"{name} holds {' and '.join(map(repr, found))}, which mean the same; expected one of "
            "them. Remove the other."
        )
    return arrays[found[0]] if found else None


def _one_slip(word: str, known: str) -> bool:
    """Returns whether one letter is changed, missing or too many, or two stand the wrong way."""
    if min(len(word), len(known)) < 3:
        return word == known
    start = len(os.path.commonprefix([word, known]))
    end = len(os.path.commonprefix([word[start:][::-1], known[start:][::-1]]))
    one, other = word[start : len(word) - end], known[start : len(known) - end]
    return max(len(one), len(other)) <= 1 or (len(one) == 2 and one == other[::-1])


def _examples(name: str, values: Any, missing: bool) -> Examples:
    if isinstance(values, np.memmap) and values.dtype.kind in "fiub" and values.ndim >= 2:
        return FileExamples(values)
    return ArrayExamples(_arrays.array_of_numbers(name, values, missing))


def _labels(name: str, labels: Any, count: int) -> np.ndarray | None:
    if labels is None:
        return None
    try:
        array = np.asarray(labels)
    except ValueError:  # a ragged nest
        array = np.empty(0, object)
    if array.dtype.kind not in "fiubUS" or not array.ndim:
        raise TypeError(
            f"The labels of {name} are {array.dtype} of shape {array.shape}; expected one number, "
            "or one row of as many, for each example."
        )
    if len(array) != count:
        raise ValueError(f"{name} has {count} examples and {len(array)} labels; expected as many.")
    return array.astype(array.dtype.newbyteorder("="), copy=False)
