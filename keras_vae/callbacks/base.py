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
        model: A model, within `fit` unless examples are given.
        examples: An array (n, E), a pair (x, labels), a `tf.data.Dataset` of batches of them, or
            None.
        count: At most so many.

    Raises:
        ValueError: for given examples that are none of these, or of another shape than the model's.
    """
    source = examples
    if examples is None:
        training, validation = getattr(model, "fit_data", ((None, None), None))
        stream = isinstance(training[0], tf.data.Dataset)
        source = training if validation is None and not stream else validation
    found = _first(source, count)
    if found is not None:
        model._check_shape(found.x.shape)
    elif examples is not None:
        raise ValueError(
            f"examples is a {type(examples).__name__} without examples; expected an array (n, "
            f"{', '.join(map(str, model.event_shape))}), a pair (x, labels), or a tf.data.Dataset "
            "of batches of them."
        )
    return found


def _first(source: Any, count: int) -> Watched | None:
    """Returns the first rows of a set, or None for what cannot be looked into."""
    if isinstance(source, tf.data.Dataset):
        return _joined(source, count)
    parts = source if isinstance(source, tuple) else (source,)
    if parts[0] is None or not isinstance(parts[0], (np.ndarray, tf.Tensor, list)):
        return None
    x = np.asarray(parts[0])[:count]
    if x.dtype.kind not in "fiub" or not x.ndim or not len(x):
        return None
    labels = parts[1] if len(parts) > 1 else None
    return Watched(x.astype(np.float32, copy=False), _labels(labels, len(np.asarray(parts[0])), x))


def _joined(batches: tf.data.Dataset, count: int) -> Watched | None:
    found: list[Watched] = []
    for batch in batches:
        one = _first(batch, count)
        if one is None:
            return None
        found.append(one)
        if sum(len(each.x) for each in found) >= count:
            break
    if not found:
        return None
    labels = [each.labels for each in found if each.labels is not None]
    x = np.concatenate([each.x for each in found])[:count]
    return Watched(x, np.concatenate(labels)[:count] if len(labels) == len(found) else None)


def _labels(labels: Any, count: int, x: np.ndarray) -> np.ndarray | None:
    """Returns a label for each row of x, or None: a target as large as x is none."""
    if labels is None or isinstance(labels, dict):
        return None
    array = np.asarray(labels)
    return array[: len(x)] if array.shape == (count,) else None
