"""A user's own `tf.data` as a source."""

import re
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from keras_vae import _checks
from keras_vae._types import Tensor
from keras_vae.data import base
from keras_vae.data.base import Source, Streamed

X_KEYS, LABEL_KEYS = ("x", "image"), ("y", "label", "labels")
SPLITS = ("train", "validation", "test")
#: Classes of datasets that make batches, and of those whose elements are as they were or mapped.
_BATCHES = re.compile("_?(Parallel|Padded)?BatchDataset|_?RebatchDataset")
_KEEPS = re.compile(
    "_?((Parallel)?Map|Prefetch|Options|Take|Skip|Shard|Cache|Shuffle|Repeat|Filter|"
    "AssertCardinality|IgnoreErrors)Dataset"
)


def source(datasets: Mapping[str, tf.data.Dataset]) -> Source:
    """Returns the source in datasets of examples x, (x, label), {"x": ..., "y": ...}, or batches.

    Elements are batches if their first axis is None, or if the dataset was made by `.batch(n)`,
    perhaps with maps after it that keep the axis of n; others are single examples. They are
    shuffled within windows of bounded memory, so they may be larger than memory. What changes from
    pass to pass in them is no longer a function of the seed, and cannot be split.

    Args:
        datasets: "train" and, if at hand, "validation" and "test".

    Raises:
        ValueError, TypeError: for other keys, endless or empty datasets, elements that are no
            numbers of one known shape, or a dataset to be split whose order changes.
    """
    for key in datasets:
        if key not in SPLITS:
            raise ValueError(
                f"A dataset is called {key!r}; expected {', '.join(SPLITS)}."
                + _checks.near(key, SPLITS)
            )
    if "train" not in datasets:
        raise ValueError("The mapping holds no dataset called 'train'; expected at least that.")
    splits: dict[str, Any] = {split: _split(split, each) for split, each in datasets.items()}
    if len(splits) < len(SPLITS):
        _check_order(splits["train"])
    return Source("dataset", **splits)


def _split(name: str, dataset: Any) -> Streamed:
    if not isinstance(dataset, tf.data.Dataset):
        raise TypeError(
            f"{name} is a {type(dataset).__name__} beside a tf.data.Dataset; expected all to be "
            "datasets, or all to be arrays."
        )
    parts = dataset.element_spec
    _named(*parts) if isinstance(parts, tuple) else _named(parts)  # complains outside the graph
    examples = dataset.map(_named)
    if _batched(dataset, examples.element_spec):
        examples = examples.unbatch()
    spec = examples.element_spec["x"]
    dense = isinstance(spec, tf.TensorSpec) and spec.shape.rank and None not in spec.shape
    if not dense or not (spec.dtype.is_integer or _real(spec)):
        raise ValueError(
            f"The {name} dataset has elements {_shown(spec)}; expected numbers, not sparse, of "
            "one known shape, such as (28, 28, 1), or batches of them."
        )
    count = int(examples.cardinality())
    if count == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            f"The {name} dataset is endless; expected a finite one. Leave out .repeat(), or end it "
            "by .take(n)."
        )
    if count < 0:
        count = sum(1 for _ in examples)
    if count == 0:
        raise ValueError(f"The {name} dataset is empty; expected at least one example.")

    def stream(start: int, stop: int) -> tf.data.Dataset:
        return examples.skip(start).take(stop - start)

    labelled = "labels" in examples.element_spec
    return Streamed(stream, count, tuple(spec.shape), spec.dtype.as_numpy_dtype, labelled)


def _batched(dataset: tf.data.Dataset, specs: dict[str, Any]) -> bool:
    """Returns whether elements are batches: by their first axis, or by how the dataset was made."""
    x = specs["x"]
    if not isinstance(x, tf.TensorSpec) or not x.shape.rank:
        return False
    if x.shape[0] is None:
        return None not in x.shape[1:]
    while _KEEPS.fullmatch(type(dataset).__name__):
        dataset = getattr(dataset, "_input_dataset", None)
    if not _BATCHES.fullmatch(type(dataset).__name__):
        return False
    first = tf.nest.flatten(dataset.element_spec)[0].shape[0]
    return all(spec.shape.rank and spec.shape[0] == first for spec in specs.values())


def _check_order(train: Streamed) -> None:
    """Raises where a dataset to be cut by position begins otherwise in a second pass."""
    count = min(train.count, base.WINDOW)
    once, again = (
        [hash(rows.tobytes()) for rows in train.part(0, count).chunks()] for _ in range(2)
    )
    if once != again:
        raise ValueError(
            "The train dataset changes from pass to pass, so that no test set can be cut from it; "
            "expected one order. Give train, validation and test, or use "
            ".shuffle(..., reshuffle_each_iteration=False)."
        )


def _shown(spec: Any) -> str:
    kind = "" if isinstance(spec, tf.TensorSpec) else f" ({type(spec).__name__})"
    shape, dtype = (getattr(spec, name, "unknown") for name in ("shape", "dtype"))
    return f"of shape {shape} and {getattr(dtype, 'name', dtype)}{kind}"


def _real(spec: tf.TensorSpec) -> bool:
    return spec.dtype.is_floating or spec.dtype.is_bool


def _named(*parts: Any) -> dict[str, Tensor]:
    if len(parts) > 2:
        raise ValueError(
            f"The elements have {len(parts)} parts; expected x or (x, label). Drop the others, "
            "which are not read."
        )
    if isinstance(parts[0], dict):
        found = {"x": _first(parts[0], X_KEYS), "labels": _first(parts[0], LABEL_KEYS)}
    else:
        found = {"x": parts[0], "labels": parts[1] if len(parts) > 1 else None}
    if found["x"] is None:
        raise ValueError(
            f"The elements have the keys {', '.join(map(str, parts[0]))}; expected the examples "
            f"under one of {', '.join(X_KEYS)}."
        )
    return {name: value for name, value in found.items() if value is not None}


def _first(mapping: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((mapping[key] for key in keys if key in mapping), None)
