"""A user's own `tf.data` as a source."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from keras_vae._types import Tensor
from keras_vae.data.base import Source, Streamed

X_KEYS, LABEL_KEYS = ("x", "image"), ("y", "label", "labels")
SPLITS = ("train", "validation", "test")


def source(datasets: Mapping[str, tf.data.Dataset]) -> Source:
    """Returns the source in datasets of examples x, (x, label), {"x": ..., "y": ...}, or batches.

    Elements whose first axis is None are taken as batches, others as single examples. They are
    shuffled within windows of bounded memory, so they may be larger than memory; what changes from
    pass to pass in them is no longer a function of the seed.

    Args:
        datasets: "train" and, if at hand, "validation" and "test".

    Raises:
        ValueError, TypeError: for other keys, endless or empty datasets, or elements that are no
            numbers of one known shape.
    """
    for key in datasets:
        if key not in SPLITS:
            raise ValueError(f"A dataset is called {key!r}; expected {', '.join(SPLITS)}.")
    if "train" not in datasets:
        raise ValueError("The mapping holds no dataset called 'train'; expected at least that.")
    splits: dict[str, Any] = {split: _split(split, each) for split, each in datasets.items()}
    return Source("dataset", **splits)


def _split(name: str, dataset: Any) -> Streamed:
    if not isinstance(dataset, tf.data.Dataset):
        raise TypeError(
            f"{name} is a {type(dataset).__name__} beside a tf.data.Dataset; expected all to be "
            "datasets, or all to be arrays."
        )
    examples = dataset.map(_named)
    spec = examples.element_spec["x"]
    if spec.shape.rank and spec.shape[0] is None and None not in spec.shape[1:]:
        examples = examples.unbatch()
        spec = examples.element_spec["x"]
    if not spec.shape.rank or None in spec.shape or not (spec.dtype.is_integer or _real(spec)):
        raise ValueError(
            f"The {name} dataset has elements of shape {spec.shape} and {spec.dtype.name}; "
            "expected numbers of one known shape, such as (28, 28, 1), or batches of them."
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


def _real(spec: tf.TensorSpec) -> bool:
    return spec.dtype.is_floating or spec.dtype.is_bool


def _named(*parts: Any) -> dict[str, Tensor]:
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
