"""The examples that callbacks look at while a model trains."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_vae import _sides
from keras_vae.model import VAE


class Watched(NamedTuple):
    """Fixed examples that are looked at in every epoch.

    Attributes:
        x: (n, E).
        labels: (n,), or None.
        events: What the model's methods take for x: with what belongs to it, if anything does.
    """

    x: np.ndarray
    labels: np.ndarray | None
    events: Any


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
        events = {key: found.events[key] for key in model.taken if key in found.events}
        found = found._replace(events=events if len(events) > 1 else found.x)
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
    held = _sides.event_of(parts[0])
    if held is None or not isinstance(held, (np.ndarray, tf.Tensor, list)):
        return None
    x = np.asarray(held)[:count]
    if x.dtype.kind not in "fiub" or not x.ndim or not len(x):
        return None
    events = {"x": x.astype(np.float32, copy=False)}
    y = parts[1] if len(parts) > 1 else None
    others = dict(parts[0]) if isinstance(parts[0], Mapping) else {"x": held}
    for name, side in {"condition": y, **others}.items():
        array = np.asarray(side)
        if name != "x" and array.shape[:1] == (len(held),):
            events[name] = array[:count]
    return Watched(events["x"], _labels(y, len(held), x), events)


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
    together = np.concatenate(labels)[:count] if len(labels) == len(found) else None
    events = _sides.rows(_sides.stacked([each.events for each in found]), slice(count))
    return Watched(_sides.event_of(events), together, events)


def _labels(labels: Any, count: int, x: np.ndarray) -> np.ndarray | None:
    """Returns a label for each row of x, or None: a target as large as x is none."""
    if labels is None or isinstance(labels, dict):
        return None
    array = np.asarray(labels)
    return array[: len(x)] if array.shape == (count,) else None
