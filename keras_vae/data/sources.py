"""Where data comes from: built-in sets, arrays and array files, each as uint8 or float arrays."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_vae import _checks

#: Names under which an .npz file or a mapping may hold each split.
SPLIT_KEYS = {
    "train": ("train", "x_train", "x", "data", "arr_0"),
    "validation": ("validation", "val", "x_validation", "x_val"),
    "test": ("test", "x_test"),
}


@dataclass(frozen=True)
class Source:
    """Examples as they were found.

    Attributes:
        name: What the set is called.
        train: (n, E), uint8 or float32.
        test: (n, E), or None to split it off.
        validation: (n, E), or None to split it off.
        scale: What values are divided by, in the graph; None leaves it to their type.
        binarize: The binarisation the set is usually used with, or None.
    """

    name: str
    train: np.ndarray
    test: np.ndarray | None = None
    validation: np.ndarray | None = None
    scale: float | None = None
    binarize: str | None = None


def digits() -> Source:
    """Returns scikit-learn's 1,797 handwritten digits, 8x8 grey levels 0..16, real data.

    The last 297 of a fixed shuffle are the test set.

    Reference: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    from sklearn.datasets import load_digits

    images = load_digits().images.astype(np.uint8)[..., None]
    order = np.random.default_rng(0).permutation(len(images))
    images = images[order]
    return Source("digits", images[:1500], images[1500:], scale=16.0, binarize="dynamic")


#: Sets that come with the package: name -> loader.
BUILT_IN: dict[str, Callable[[], Source]] = {"digits": digits}


def find(what: Any) -> Source:
    """Returns the source that a name, a path, an array or a mapping of arrays stands for.

    Raises:
        ValueError, TypeError: for anything else, in words.
    """
    if isinstance(what, (str, os.PathLike)):
        name = os.fspath(what)
        if name in BUILT_IN:
            return BUILT_IN[name]()
        if Path(name).suffix in (".npy", ".npz"):
            return _file(Path(name))
        raise ValueError(
            f"There is no data set {name!r}; expected one of {', '.join(BUILT_IN)}, or the path of "
            "a .npy or .npz file." + _checks.near(name, BUILT_IN)
        )
    if isinstance(what, Mapping):
        return _mapping("arrays", what)
    return Source("array", _array("data", what))


def _file(path: Path) -> Source:
    if not path.is_file():
        raise ValueError(f"There is no file {path}; expected the path of a .npy or .npz file.")
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            with loaded:
                wanted = {key for keys in SPLIT_KEYS.values() for key in keys}
                keys = [key for key in loaded.files if key in wanted] or loaded.files
                loaded = {key: loaded[key] for key in keys}
    except Exception as error:  # damaged archives raise zip, zlib and other errors
        raise ValueError(
            f"{path} could not be read as NumPy data ({error}); expected a whole .npy or .npz file "
            "of numbers, written without pickles."
        ) from error
    if isinstance(loaded, dict):
        return _mapping(str(path), loaded)
    return Source(path.stem, _array(str(path), loaded))


def _mapping(name: str, arrays: Mapping[str, Any]) -> Source:
    found = {
        split: next((arrays[key] for key in keys if key in arrays), None)
        for split, keys in SPLIT_KEYS.items()
    }
    if len(arrays) == 1 and all(array is None for array in found.values()):
        found["train"] = next(iter(arrays.values()))
    if found["train"] is None:
        raise ValueError(
            f"{name} holds {', '.join(map(repr, arrays)) or 'nothing'}; expected the training "
            f"examples under one of {', '.join(SPLIT_KEYS['train'])}."
        )
    splits = {k: _array(f"{name}[{k}]", v) for k, v in found.items() if v is not None}
    for split, array in splits.items():
        if array.shape[1:] != splits["train"].shape[1:]:
            raise ValueError(
                f"The {split} examples of {name} have shape {array.shape[1:]}, those of train "
                f"{splits['train'].shape[1:]}; expected one shape."
            )
    return Source(Path(name).stem, **splits)


def _array(name: str, values: Any) -> np.ndarray:
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
    if array.dtype == np.uint8:
        return array
    with np.errstate(over="ignore"):  # a float64 may be too large for float32
        array = array.astype(np.float32, copy=False)
    finite = np.isfinite(array)
    if not finite.all():
        places = np.argwhere(~finite)
        raise ValueError(
            f"{name} holds {len(places)} NaN or infinite value(s), the first at index "
            f"{tuple(places[0].tolist())}; expected finite numbers. Drop or replace them."
        )
    return array
