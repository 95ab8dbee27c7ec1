"""Arrays, and files of arrays: .npy, .npz."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

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


def npy(path: Path) -> Source:
    """Returns the source in one array; above 1 GiB it stays on the disk.

    Raises:
        ValueError, TypeError: if the file is damaged, or holds no numbers.
    """
    mode = "r" if path.stat().st_size > base.IN_MEMORY else None
    with base.readable(path):
        loaded = np.load(path, mmap_mode=mode, allow_pickle=False)
    return Source(path.stem, Indexed(_examples(str(path), loaded)))


def npz(path: Path) -> Source:
    """Returns the source in an archive of arrays, held in memory; see `mapping`.

    Raises:
        ValueError, TypeError: if the file is damaged, or as `mapping`.
    """
    with base.readable(path), np.load(path, allow_pickle=False) as archive:
        wanted = {k for keys in (*SPLIT_KEYS.values(), *LABEL_KEYS.values()) for k in keys}
        keys = [key for key in archive.files if key in wanted] or archive.files
        loaded = {key: archive[key] for key in keys}
    return mapping(str(path), loaded)


def mapping(name: str, arrays: Mapping[str, Any]) -> Source:
    """Returns the source in a mapping of arrays, by the names in `SPLIT_KEYS` and `LABEL_KEYS`.

    Raises:
        ValueError, TypeError: without training examples, for splits of several shapes, or for
            labels of another number than the examples.
    """
    found = {split: _first(arrays, keys) for split, keys in SPLIT_KEYS.items()}
    if len(arrays) == 1 and all(array is None for array in found.values()):
        found["train"] = next(iter(arrays.values()))
    if found["train"] is None:
        raise ValueError(
            f"{name} holds {', '.join(map(repr, arrays)) or 'nothing'}; expected the training "
            f"examples under one of {', '.join(SPLIT_KEYS['train'])}."
        )
    splits: dict[str, Any] = {}
    for split, values in found.items():
        if values is not None:
            x = _examples(f"{name}[{split}]", values)
            labels = _first(arrays, LABEL_KEYS[split])
            splits[split] = Indexed(x, _labels(f"{name}[{split}]", labels, x.count))
    shape = splits["train"].x.event_shape
    for split, part in splits.items():
        if part.x.event_shape != shape:
            raise ValueError(
                f"The {split} examples of {name} have shape {part.x.event_shape}, those of train "
                f"{shape}; expected one shape."
            )
    return Source(Path(name).stem, **splits)


def array(values: Any) -> Source:
    """Returns the source in one array (n, E).

    Raises:
        ValueError, TypeError: if it is none, or not of finite numbers.
    """
    return Source("array", Indexed(_examples("data", values)))


def _first(arrays: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((arrays[key] for key in keys if key in arrays), None)


def _examples(name: str, values: Any) -> Examples:
    if isinstance(values, np.memmap) and values.dtype.kind in "fiub" and values.ndim >= 2:
        return FileExamples(values)
    return ArrayExamples(base.array_of_numbers(name, values))


def _labels(name: str, labels: Any, count: int) -> np.ndarray | None:
    if labels is None:
        return None
    array = np.asarray(labels)
    if len(array) != count:
        raise ValueError(f"{name} has {count} examples and {len(array)} labels; expected as many.")
    return array
