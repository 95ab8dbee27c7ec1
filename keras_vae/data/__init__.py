"""Data sets as batched `tf.data`, with what a model must know of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae import _checks
from keras_vae.data import sources
from keras_vae.data.pipeline import batches, binarized
from keras_vae.data.sources import Source

__all__ = ["Data", "Source", "batches", "load", "names"]

BINARIZE = ("dynamic", "static", "threshold")


@dataclass(frozen=True)
class Data:
    """A data set ready for `fit`.

    Attributes:
        name: What it is called.
        train: Shuffled batches (B, E) of float32.
        validation: Batches in fixed order.
        test: Batches in fixed order.
        event_shape: E.
        support: Where the values lie, "binary", "unit_interval" or "real".
        counts: Split -> number of examples.
        binarize: How the values were binarised, or None.
    """

    name: str
    train: tf.data.Dataset
    validation: tf.data.Dataset
    test: tf.data.Dataset
    event_shape: tuple[int, ...]
    support: str
    counts: dict[str, int]
    binarize: str | None


def names() -> list[str]:
    """Returns the sets that come with the package."""
    return list(sources.BUILT_IN)


def load(
    source: Any = "digits",
    batch_size: int = 128,
    *,
    binarize: str | None = "auto",
    seed: int = 0,
) -> Data:
    """Returns a data set's training, validation and test batches.

    Args:
        source: Name of a built-in set; path of a .npy or .npz file; an array (n, E); or a mapping
            with "train" and, if at hand, "validation" and "test". Of what is missing, test is the
            last tenth of the examples and validation the last tenth of the remaining ones.
        batch_size: B. A larger one than the set makes one batch.
        binarize: "dynamic" draws x ~ Bernoulli(value) anew each time an example is used (validation
            and test once, by the seed); "static" draws once by the seed; "threshold" cuts at 0.5;
            None leaves the values. "auto" is what the set is usually used with.
        seed: Of the order, the draws and nothing else.

    Raises:
        ValueError, TypeError: for what is not there, not numbers, or cannot be binarised.
    """
    batch_size = _checks.integer("batch_size", batch_size)
    seed = _checks.integer("seed", seed, 0)
    found = sources.find(source)
    method = found.binarize if binarize == "auto" else binarize
    if method is not None:
        _checks.one_of("binarize", method, BINARIZE)
    splits = _split(found)
    scales = _scales(found, splits)
    support = _support(splits, scales)
    if method is not None and support == "real":
        raise ValueError(
            f"binarize is {method!r}, but the values of {found.name} lie outside 0..1; expected "
            "numbers between 0 and 1, or grey levels as uint8. Divide them, or leave binarize out."
        )
    datasets = {}
    for number, (split, examples) in enumerate(splits.items()):
        drawn = method == "dynamic" and split == "train"
        divisor = scales[split]
        if method is not None and not drawn:
            examples = binarized(examples, divisor, method, [seed, number])
            divisor = 1.0
        order = seed if split == "train" else None
        datasets[split] = batches(examples, batch_size, scale=divisor, seed=order, binarize=drawn)
    return Data(
        name=found.name,
        **datasets,
        event_shape=tuple(found.train.shape[1:]),
        support="binary" if method else support,
        counts={split: len(examples) for split, examples in splits.items()},
        binarize=method,
    )


def _split(found: Source) -> dict[str, np.ndarray]:
    train, validation, test = found.train, found.validation, found.test
    needed = 1 + (test is None) + (validation is None)
    if len(train) < needed:
        raise ValueError(
            f"Received {len(train)} example(s) to split; expected at least {needed} to make "
            "training, validation and test sets, or a mapping that holds them."
        )
    if test is None:
        train, test = _last_tenth(train)
    if validation is None:
        train, validation = _last_tenth(train)
    return {"train": train, "validation": validation, "test": test}


def _last_tenth(examples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cut = len(examples) - max(1, len(examples) // 10)
    return examples[:cut], examples[cut:]


def _scales(found: Source, splits: dict[str, np.ndarray]) -> dict[str, float]:
    """Returns what to divide each split by: 255 for grey levels as uint8 unless the source says.

    Each split goes by its own type, since one may hold grey levels and another numbers in 0..1.
    """
    if found.scale is not None:
        return dict.fromkeys(splits, found.scale)
    levels = [examples for examples in splits.values() if examples.dtype == np.uint8]
    largest = 255.0 if any(examples.max() > 1 for examples in levels) else 1.0
    return {k: largest if v.dtype == np.uint8 else 1.0 for k, v in splits.items()}


def _support(splits: dict[str, np.ndarray], scales: dict[str, float]) -> str:
    low = min(float(examples.min()) for examples in splits.values())
    high = max(float(examples.max()) / scales[split] for split, examples in splits.items())
    return "unit_interval" if low >= 0.0 and high <= 1.0 else "real"
