"""Data sets as batched `tf.data`, with what a model must know of them."""

import functools
import inspect
import math
import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae import _arrays, _checks, _registry
from keras_vae.data import digits, files, images, shapes, streams, tables, tfds
from keras_vae.data.base import Examples, Indexed, Source, Split, Streamed
from keras_vae.data.pipeline import batches

__all__ = [
    "Data",
    "Examples",
    "Indexed",
    "Source",
    "Split",
    "Streamed",
    "batches",
    "find",
    "is_path",
    "load",
    "names",
    "shapes",
    "tfds",
]

BINARIZE = ("dynamic", "static", "threshold")
#: Sets that come with the package: name -> function that makes the source.
BUILT_IN = {"digits": digits.source, "shapes": shapes.source}
#: Suffix -> function that reads such a file.
FILES: dict[str, Callable[..., Source]] = {
    ".npy": files.npy,
    ".npz": files.npz,
    ".csv": tables.read,
    ".parquet": tables.read,
}


@dataclass(frozen=True)
class Data:
    """A data set ready for `fit`.

    Attributes:
        name: What it is called.
        train: Shuffled batches x (B, E) of float32, or (x, labels).
        validation: Batches in fixed order.
        test: Batches in fixed order.
        event_shape: E.
        support: Where the values lie, "binary", "unit_interval" or "real".
        counts: Split -> number of examples.
        binarize: How the values were binarised, or None.
        levels: How many grey levels one unit was divided into where the values were dequantised,
            or None.
        label_names: What the labels' values or columns are called.
        column_names: What the elements of a vector are called.
        labelled: Whether the batches hold labels.
        splits: The examples before they were batched, training, validation and test.
    """

    name: str
    train: tf.data.Dataset
    validation: tf.data.Dataset
    test: tf.data.Dataset
    event_shape: tuple[int, ...]
    support: str
    counts: dict[str, int]
    binarize: str | None
    levels: int | None = None
    label_names: tuple[str, ...] = ()
    column_names: tuple[str, ...] = ()
    labelled: bool = False
    splits: tuple[Split, ...] = field(default=(), repr=False)

    @functools.cached_property
    def classes(self) -> int | None:
        """How many classes the labels number from 0 on; None where they are no such numbers.

        Of a stream whose classes have no names it takes a pass to find out.
        """
        return _classes(self.label_names, self.splits) if self.labelled else None


def names() -> list[str]:
    """Returns the sets that come with the package."""
    return list(BUILT_IN)


def is_path(name: str | os.PathLike[str]) -> bool:
    """Returns whether `load` reads a name as that of a file or folder.

    A set's name is not one, even where a folder has the same; ./mnist says that a folder is meant.
    """
    if not isinstance(name, str):
        return True
    bare = os.sep not in name and (os.altsep or os.sep) not in name
    if not name or (bare and _built_in(name)):
        return False
    if Path(name).suffix.lower() in FILES:
        return True
    return Path(name).exists() and not (bare and tfds.is_known(name))


def load(
    source: Any = "digits",
    batch_size: int = 128,
    *,
    binarize: str | None = "auto",
    dequantize: bool = False,
    labels: bool | None = False,
    image_size: int | tuple[int, int] | None = None,
    skip_corrupt: bool = False,
    download: bool = False,
    missing: bool = False,
    seed: int = 0,
) -> Data:
    """Returns a data set's training, validation and test batches.

    Args:
        source: Name of a built-in set, as `name` or `name:key=value,...` with what its `source`
            takes, or of one of TensorFlow Datasets; path of a .npy, .npz, .csv or .parquet file, or
            of a folder of images; an array (n, E); a `tf.data.Dataset` of examples or batches; a
            `Source`; or a mapping with "train" and, if at hand, "validation" and "test". Of what
            is missing, test is the last tenth of the examples and validation the last tenth of the
            remaining ones, so shuffle what is sorted; only the files of a folder are permuted.
        batch_size: B. A larger one than the set makes one batch, with a warning.
        binarize: "dynamic" draws x ~ Bernoulli(value) anew each time an example is used (validation
            and test once, by the seed); "static" draws once by the seed; "threshold" cuts at 0.5;
            None leaves the values. "auto" is what the set is usually used with.
        dequantize: Add uniform noise within a grey level, so that a density over real values says
            something of the levels: log P(level) is at least log p(x) - (elements) log(levels) on
            average (Theis et al., A Note on the Evaluation of Generative Models, 2016).
        labels: Whether batches are (x, labels); None says where every split has them.
        image_size: What images of a folder or of TensorFlow Datasets are resized to, (height,
            width) or one number for both.
        skip_corrupt: Leave out images that cannot be decoded.
        download: Fetch and prepare a set of TensorFlow Datasets that is absent.
        missing: Take NaN, or an empty field of a table, as an entry that is missing.
        seed: Of the order, the draws and nothing else. Both are functions of it and of the number
            of the pass.

    Raises:
        ValueError, TypeError: for what is not there, not numbers, or cannot be binarised.
    """
    batch_size = _checks.integer("batch_size", batch_size, maximum=2**31 - 1)
    seed = _checks.integer("seed", seed, 0, 2**63 - 1)
    _checks.flag("dequantize", dequantize)
    found = find(
        source,
        image_size=image_size,
        skip_corrupt=skip_corrupt,
        download=download,
        missing=missing,
    )
    splits = _splits(found)
    labelled = _labelled(found.name, labels, splits)
    scale, support = _scale(found, splits, missing)
    method = (None if dequantize else found.binarize) if binarize == "auto" else binarize
    _check_draws(found.name, method, dequantize, support, splits)
    _warn_of_one_batch(found.name, batch_size, splits["train"].count)
    draw = "dequantize" if dequantize else method
    made = {
        split: batches(
            part,
            batch_size,
            scale=scale[split],
            seed=(number, int(_checks.seed_pair(seed)[1])),
            shuffle=split == "train",
            draw=draw,
            labels=labelled,
        )
        for number, (split, part) in enumerate(splits.items())
    }
    return Data(
        found.name,
        **made,
        event_shape=tuple(splits["train"].event_shape),
        support="binary" if method else support,
        counts={split: part.count for split, part in splits.items()},
        binarize=method,
        levels=int(scale["train"]) + 1 if dequantize else None,
        label_names=found.label_names,
        column_names=found.column_names,
        labelled=labelled,
        splits=tuple(splits.values()),
    )


def find(
    source: Any,
    *,
    image_size: int | tuple[int, int] | None = None,
    skip_corrupt: bool = False,
    download: bool = False,
    missing: bool = False,
) -> Source:
    """Returns a data set as it was found, before it is split and batched; see `load`."""
    _checks.flag("skip_corrupt", skip_corrupt)
    _checks.flag("missing", missing)
    return _find(source, _side(image_size), skip_corrupt, download, missing)


def _warn_of_one_batch(name: str, batch_size: int, count: int) -> None:
    if batch_size > count:
        warnings.warn(
            f"batch_size is {batch_size}, more than the {count} training examples of {name}; each "
            "pass is one batch.",
            stacklevel=3,
        )


def _side(image_size: Any) -> Any:
    """Returns (height, width), or None."""
    if image_size is None:
        return None
    sides = _checks.integers("image_size", image_size, "64 or (64, 48)")
    if len(sides) > 2:
        raise ValueError(
            f"image_size is {image_size}; expected (height, width), or one number for both. Leave "
            "the channels out."
        )
    return (sides * 2)[:2]


def _labelled(name: str, labels: bool | None, splits: dict[str, Split]) -> bool:
    if labels is not None:
        _checks.flag("labels", labels, "True, False or None")
    without = [split for split, part in splits.items() if not part.labelled]
    if labels and without:
        raise ValueError(
            f"labels is True, but {name} has no labels for {', '.join(without)}; leave labels=True "
            "out, or give labels for every split."
        )
    return labels is None and not without or bool(labels)


def _classes(names: Sequence[str], splits: Iterable[Split]) -> int | None:
    """Returns how many classes labels number, by their names or the greatest of them."""
    kinds = {split.label_kind for split in splits}
    if kinds != {"classes"}:
        return None
    return len(names) or 1 + max(split.greatest_label() for split in splits)


def _find(what: Any, side: Any, skip_corrupt: bool, download: bool, missing: bool) -> Source:
    name = os.fspath(what) if isinstance(what, (str, os.PathLike)) else None
    path = Path(name) if name is not None and is_path(what) else None
    if path is not None and path.is_dir():
        return images.read(path, side, skip_corrupt)
    if name and path is None and not _built_in(name) and tfds.is_known(name):
        return tfds.source(name, side, download)
    if side is not None:
        raise ValueError(
            f"image_size is {side}, but the data is neither a folder of images nor a set of "
            "TensorFlow Datasets; leave it out."
        )
    if isinstance(what, Source):
        return what
    if isinstance(what, tf.data.Dataset):
        return streams.source({"train": what})
    if isinstance(what, Mapping):
        streamed = any(isinstance(each, tf.data.Dataset) for each in what.values())
        return streams.source(what) if streamed else files.mapping("arrays", what, missing)
    if name is None:
        return files.array(what, missing)
    if path is None and _built_in(name):
        return _made(name)
    reader = FILES.get(path.suffix.lower()) if path is not None else None
    if path is not None and reader and not path.is_file():
        raise ValueError(f"There is no file {name}; expected one ending in {', '.join(FILES)}.")
    if path is not None and reader:
        return reader(path, missing)
    raise ValueError(
        f"There is no data set {name!r}; expected one of {', '.join(BUILT_IN)}, a name of "
        f"TensorFlow Datasets, a file ending in {', '.join(FILES)}, or a folder of images."
        + (_checks.near(name, BUILT_IN) or tfds.near(name))
    )


def _built_in(name: str) -> bool:
    return re.split("[:(]", name)[0].strip() in BUILT_IN


def _made(text: str) -> Source:
    """Returns the built-in set of `name` or `name:key=value,...`."""
    name, options = _registry.parse(text)
    known = inspect.signature(BUILT_IN[name]).parameters
    _checks.options(f"The data set {name!r}", options, known)
    return BUILT_IN[name](**{key: _words(value) for key, value in options.items()})


def _words(value: Any) -> Any:
    """Returns "[a,b]" as ("a", "b"), which is no literal; other values as they are."""
    if not isinstance(value, str):
        return value
    return tuple(word.strip(" '\"") for word in value.strip("[]()").split(",") if word.strip())


def _splits(found: Source) -> dict[str, Split]:
    train, validation, test = found.train, found.validation, found.test
    if train is None:
        held = [name for name in ("validation", "test") if getattr(found, name) is not None]
        raise ValueError(
            f"{found.name} holds {' and '.join(map(repr, held))} and no training examples; "
            "expected some beside them, such as under 'train'."
        )
    _check_splits(found, tuple(train.event_shape))
    needed = 1 + (test is None) + (validation is None)
    if train.count < needed:
        raise ValueError(
            f"Received {train.count} example(s) to split; expected at least {needed} to make "
            "training, validation and test sets, or a mapping that holds them."
        )
    if test is None:
        train, test = _last_tenth(train)
    if validation is None:
        train, validation = _last_tenth(train)
    return {"train": train, "validation": validation, "test": test}


def _check_splits(found: Source, expected: tuple[int, ...]) -> None:
    for split in ("train", "validation", "test"):
        part = getattr(found, split)
        if part is not None and not part.count:
            raise ValueError(
                f"The {split} set of {found.name} is empty; expected at least one example. Fill "
                "it, or leave it out."
            )
        if part is not None and tuple(part.event_shape) != expected:
            raise ValueError(
                f"The {split} examples of {found.name} have shape {tuple(part.event_shape)}, those "
                f"of train {expected}; expected one shape."
            )


def _last_tenth(split: Split) -> tuple[Split, Split]:
    cut = split.count - max(1, split.count // 10)
    return split.part(0, cut), split.part(cut, split.count)


def _scale(found: Source, splits: dict[str, Split], missing: bool) -> tuple[dict[str, float], str]:
    """Returns what to divide each split by, and the support of the values then.

    Grey levels as uint8 are divided by 255 unless the source says. Each split goes by its own type,
    since one may hold grey levels and another numbers in 0..1.
    """
    ranges = {
        split: _range(split, part, missing, found.scale is None) for split, part in splits.items()
    }
    levels = [split for split, part in splits.items() if part.dtype == np.uint8]
    scales = dict.fromkeys(splits, found.scale or 1.0)
    if found.scale is None and any(ranges[split][1] > 1 for split in levels):
        scales |= dict.fromkeys(levels, 255.0)
        for split, (low, high, _) in ranges.items():
            if split not in levels and (low < 0 or high > 1):
                raise ValueError(
                    f"The {split} examples hold {low:g} to {high:g} as {splits[split].dtype}, and "
                    f"those of {levels[0]} grey levels as uint8, which are divided by 255; "
                    "expected both alike. Give both as uint8, or divide by 255 beforehand."
                )
    if all(low >= 0 and high <= scales[split] for split, (low, high, _) in ranges.items()):
        binary = all(ends for *_, ends in ranges.values()) and set(scales.values()) == {1.0}
        return scales, "binary" if binary else "unit_interval"
    return scales, "real"


def _range(name: str, split: Split, missing: bool, free: bool) -> tuple[float, float, bool]:
    """Returns the lowest and highest value, and whether there are no values but 0 and 1.

    Where the scale is free, and one pass is like another, uint8 above 1 says all that matters.
    """
    if split.extremes is not None:
        return *split.extremes, False
    low, high, binary, count = math.inf, -math.inf, True, 0
    found = _arrays.NonFinite(f"The {name} set", missing)
    levels = free and split.dtype == np.uint8 and isinstance(split, Indexed)
    for rows in map(_arrays.plain, split.chunks()):
        found.look(rows)
        count += len(rows)
        held = rows[~np.isnan(rows)] if missing and rows.dtype.kind == "f" else rows
        if held.size:
            low, high = min(low, float(held.min())), max(high, float(held.max()))
        if levels and high > 1:
            return 0.0, 255.0, False
        binary = binary and low >= 0.0 and high <= 1.0 and _is_binary(held)
    found.refuse()
    if count != split.count:
        raise ValueError(
            f"The {name} set gave {split.count} examples in one pass and {count} in the next; "
            "expected the same in each. Use a dataset that can be gone through again."
        )
    return low, high, binary


def _is_binary(values: np.ndarray) -> bool:
    """Returns whether numbers between 0 and 1 are nothing else."""
    return values.dtype.kind != "f" or bool(((values == 0) | (values == 1)).all())


def _check_draws(
    name: str, method: str | None, dequantize: bool, support: str, splits: dict[str, Split]
) -> None:
    if method is not None:
        _checks.one_of("binarize", method, BINARIZE)
    if method is not None and support == "real":
        raise ValueError(
            f"binarize is {method!r}, but the values of {name} lie outside 0..1; expected numbers "
            "between 0 and 1, or grey levels as uint8. Divide them, or leave binarize out."
        )
    if dequantize and method is not None:
        raise ValueError(f"binarize is {method!r} and dequantize is True; expected one of the two.")
    if dequantize and any(part.dtype != np.uint8 for part in splits.values()):
        raise ValueError(
            f"dequantize is True, but {name} holds no grey levels; expected whole numbers as uint8."
        )
