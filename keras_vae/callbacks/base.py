"""The examples that callbacks look at while a model trains."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_vae.model import VAE


class Watched(NamedTuple):
    """Fixed examples that are looked at in every epoch.

    Attributes:
        x: (n, E).
        labels: (n,), or None.
    """

    x: np.ndarray
    labels: np.ndarray | None


def watched(model: VAE, examples: Any, count: int) -> Watched | None:
    """Returns the first examples of a set, or of what the model is being fitted to.

    Where none are given they come from the validation data, else from training data that is an
    array. A training stream is left alone, since to look at it would use it up.

    Args:
        model: A model within `fit`.
        examples: An array (n, E), a pair (x, labels), a `tf.data.Dataset` of batches of them, or
            None.
        count: At most so many.
    """
    training, validation = model.fit_data
    if examples is None:
        examples = validation
    if examples is None and not isinstance(training[0], tf.data.Dataset):
        examples = training
    parts = _first(examples, count)
    if parts is None or not np.ndim(parts[0]):
        return None
    x, labels = (*parts, None)[:2]
    if labels is not None and (np.ndim(labels) != 1 or len(labels) != len(x)):
        labels = None  # a target as large as x, as in plain Keras, is no label
    return Watched(np.asarray(x, np.float32), None if labels is None else np.asarray(labels))


def _first(examples: Any, count: int) -> tuple[Any, ...] | None:
    """Returns the first rows of each part of a set, or None for what cannot be looked into."""
    if isinstance(examples, tf.data.Dataset):
        batches: list[tuple[Any, ...]] = []
        for batch in examples:
            batches.append(batch if isinstance(batch, tuple) else (batch,))
            if sum(len(parts[0]) for parts in batches) >= count:
                break
        return tuple(np.concatenate(parts)[:count] for parts in zip(*batches))
    parts = examples if isinstance(examples, tuple) else (examples,)
    if not all(part is None or hasattr(part, "shape") for part in parts):
        return None
    return tuple(None if part is None else np.asarray(part[:count]) for part in parts)


def is_chief(model: VAE) -> bool:
    """Returns whether this process is the one that writes and warns."""
    return bool(model.distribute_strategy.extended.should_save_summary)
