"""Events with what comes beside them: {"x": x, "offset": ..., "condition": ..., "mask": ...}."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

#: Key -> what a message calls it.
EXPECTED = {
    "offset": "size factors (n,)",
    "condition": "a condition for each example",
    "mask": "1 where an entry was observed (n, ...)",
}
MASK = "1 where an entry was observed and 0 where it is missing"
#: Key -> what to do about one that is missing, and about one that is not taken.
REMEDIES = {
    "offset": (
        "or make the likelihood with size_factor=False",
        "counts take an offset if their likelihood has size_factor=True",
    ),
    "condition": (
        "or y beside x in `fit`, or the argument condition=",
        "a model takes a condition if it was made with condition=",
    ),
    "mask": ("", "a model takes missing entries if it was made with missing=True"),
}


def event_of(x: Any) -> Any:
    """Returns x of {"x": x, ...}, as data with side inputs comes, or x itself."""
    return x.get("x") if isinstance(x, Mapping) else x


def sides_of(x: Any, needed: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the side inputs that came with x, by name.

    Args:
        x: Events, or a mapping of "x" and side inputs.
        needed: Those the model must have.
        optional: Those it may have.

    Raises:
        ValueError: for one that is missing, or that the model does not take.
    """
    found = {k: v for k, v in x.items() if v is not None} if isinstance(x, Mapping) else {"x": x}
    others = [str(key) for key in found if key not in ("x", *needed, *optional)]
    lacking = [key for key in needed if key not in found]
    if not others and not lacking and (not isinstance(x, Mapping) or "x" in x):
        return {key: found[key] for key in (*needed, *optional) if key in found}
    alone = not isinstance(x, Mapping) or set(found) == {"x"}
    received = "x alone" if alone else f"a mapping of {', '.join(sorted(map(str, x)))}"
    entries = ", ".join(f'"{key}": {EXPECTED[key]}' for key in needed)
    expected = f'{{"x": x, {entries}}}' if needed else "x alone"
    remedies = [REMEDIES[key][0] for key in lacking]
    remedies += [REMEDIES[key][1] for key in others if key in REMEDIES]
    raise ValueError(
        f"The model received {received}; expected {expected}"
        + "".join(f"; {remedy}" for remedy in remedies if remedy)
        + "."
    )


def joined(x: Any, **sides: Any) -> Any:
    """Returns events with side inputs that were given by name; x itself where none was.

    Raises:
        ValueError: for one that x holds already.
    """
    given = {key: value for key, value in sides.items() if value is not None}
    if not given:
        return x
    held = dict(x) if isinstance(x, Mapping) else {"x": x}
    twice = [key for key in given if held.get(key) is not None]
    if twice:
        raise ValueError(f"x holds {twice[0]!r} already; expected it once. Leave {twice[0]}= out.")
    return {**held, **given}


def rows(x: Any, which: Any) -> Any:
    """Returns the examples at an index or slice, side inputs and all."""
    return tf.nest.map_structure(lambda array: np.asarray(array)[which], x)


def count(x: Any) -> int:
    """Returns how many examples there are."""
    return len(event_of(x))


def stacked(parts: Sequence[Any]) -> Any:
    """Returns batches of examples one after the other, side inputs and all."""
    return tf.nest.map_structure(lambda *arrays: np.concatenate(arrays), *parts)


def condition_of(x: Any, n: int) -> np.ndarray | None:
    """Returns the first n conditions of x, again and again where it has fewer; None for none."""
    if not isinstance(x, Mapping) or x.get("condition") is None:
        return None
    held = np.asarray(x["condition"])
    return held[np.arange(n) % len(held)]


def check_mask(mask: Any, x_shape: tuple[int | None, ...]) -> None:
    """Raises where a mask, or its spec, has another shape than x, or holds no numbers.

    Raises:
        ValueError, TypeError: with what was expected.
    """
    if tf.as_dtype(mask.dtype) is tf.string:
        raise TypeError(f"mask holds {tf.as_dtype(mask.dtype).name}; expected {MASK}.")
    shape = tf.TensorShape(mask.shape)
    if not shape.is_compatible_with(x_shape):
        raise ValueError(
            f"mask has shape {tuple(shape)}; expected that of x, {tuple(x_shape)}, with {MASK}."
        )


def marked(x: np.ndarray, mask: Any = None) -> np.ndarray:
    """Returns x (n, E) as float32 with one and the same NaN for every entry that is missing.

    Args:
        x: Numbers; NaN ones are missing.
        mask: (n, E), 1 where an entry was observed and 0 where it is missing, or None.

    Raises:
        ValueError, TypeError: for a mask of another shape, or that holds anything else.
    """
    lost = np.isnan(x)
    if mask is not None:
        mask = np.asarray(mask)
        check_mask(mask, x.shape)
        outside = mask[(mask != 0) & (mask != 1)]
        if outside.size:
            raise ValueError(f"mask holds {outside[0]:g}; expected {MASK}.")
        lost |= mask == 0
    return np.where(lost, np.float32(np.nan), x.astype(np.float32))
