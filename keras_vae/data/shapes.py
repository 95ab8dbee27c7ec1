"""Rendered circles, squares and triangles, whose factors are known."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_vae import _checks
from keras_vae.data.base import ArrayExamples, Indexed, Source

KINDS = ("circle", "square", "triangle")
#: Factor -> (lowest, highest). Sizes are radii of the circle of equal area, positions are centres,
#: both in half image widths from the middle; angles are in radians.
RANGES: dict[str, tuple[float, float]] = {
    "shape": (0, len(KINDS) - 1),
    "size": (0.25, 0.6),
    "x": (-0.4, 0.4),
    "y": (-0.4, 0.4),
    "angle": (0.0, 2.0 * math.pi),
}
#: With the centre free, shapes are smaller, so that all of each stays inside.
FREE_SIZE = (0.2, 0.36)
DEFAULTS = {"shape": 0.0, "size": 0.45, "x": 0.0, "y": 0.0, "angle": 0.0}
_CHUNK = 2048
#: The most pixels of a side, renders of a split, and bytes of all of its renders.
MOST_SIDE, MOST_RENDERS, MOST_BYTES = 4096, 10**7, 2**31


def ranges(factors: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Returns factor -> (lowest, highest) for the factors that vary.

    Raises:
        ValueError, TypeError: for a factor that is unknown or stands twice, or for none.
    """
    if not isinstance(factors, (tuple, list)):
        raise TypeError(f"factors is {factors!r}; expected names of {list(RANGES)} in a tuple.")
    names = [_checks.one_of("factors", name, tuple(RANGES)) for name in factors]
    if len(set(names)) < len(names) or not names:
        raise ValueError(
            f"factors is {tuple(factors)}; expected different names of {list(RANGES)}."
        )
    chosen = {name: RANGES[name] for name in names}
    if "size" in chosen and {"x", "y"} & set(names):
        chosen["size"] = FREE_SIZE
    return chosen


def draw_factors(factors: Sequence[str], count: int, rng: np.random.Generator) -> np.ndarray:
    """Returns uniform factor values, (count, len(factors)), float32; "shape" is a whole number."""
    columns = []
    for name, (low, high) in ranges(factors).items():
        if name == "shape":
            columns.append(rng.integers(0, len(KINDS), count).astype(np.float64))
        else:
            columns.append(rng.uniform(low, high, count))
    return np.stack(columns, 1).astype(np.float32)


def render(values: Any, factors: Sequence[str] = ("shape", "size"), side: int = 28) -> np.ndarray:
    """Returns anti-aliased images of the given factor values.

    Args:
        values: (n, len(factors)); "shape" is 0 for a circle, 1 for a square, 2 for a triangle.
        factors: What the columns are; the other factors keep their defaults.
        side: Height and width in pixels.

    Returns: (n, side, side, 1) uint8, 255 inside. A pixel's value is the share of it that the shape
        covers, by the distance from its centre to the edge.

    Raises:
        ValueError: for unknown factors, another number of columns, a shape that is none, or more
            than 2 GiB of pixels.
    """
    names = list(ranges(factors))
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or table.shape[1] != len(names):
        raise ValueError(
            f"values has shape {table.shape}; expected (n, {len(names)}), a column for each of "
            f"{', '.join(names)}."
        )
    columns = {name: np.full(len(table), DEFAULTS[name]) for name in RANGES}
    columns |= {name: table[:, place] for place, name in enumerate(names)}
    if not np.isin(columns["shape"], range(len(KINDS))).all():
        raise ValueError(f"A shape is none of 0, 1, 2, which stand for {', '.join(KINDS)}.")
    side = _checks.integer("side", side, maximum=MOST_SIDE)
    _check_room(len(table), side)
    images = np.empty((len(table), side, side, 1), np.uint8)
    for start in range(0, len(table), _CHUNK):
        part = {name: column[start : start + _CHUNK] for name, column in columns.items()}
        images[start : start + _CHUNK, ..., 0] = _render(part, side)
    return images


def _check_room(count: int, side: int) -> None:
    if count * side**2 > MOST_BYTES:
        raise ValueError(
            f"{count} renders of {side} x {side} pixels take {count * side**2:,} bytes; expected "
            f"at most {MOST_BYTES:,}. Choose fewer, or a smaller side."
        )


def _render(columns: dict[str, np.ndarray], side: int) -> np.ndarray:
    centres = (np.arange(side) + 0.5) * 2.0 / side - 1.0
    x = centres[None, None, :] - columns["x"][:, None, None]
    y = centres[None, :, None] - columns["y"][:, None, None]
    cosine, sine = (f(columns["angle"])[:, None, None] for f in (np.cos, np.sin))
    x, y = cosine * x + sine * y, cosine * y - sine * x
    radius = columns["size"][:, None, None]
    distances = np.stack([_circle(x, y, radius), _square(x, y, radius), _triangle(x, y, radius)])
    kind = columns["shape"].astype(int)[None, :, None, None]
    distance = np.take_along_axis(distances, kind, 0)[0]
    coverage = np.clip(0.5 - distance * side / 2.0, 0.0, 1.0)
    return np.round(255.0 * coverage).astype(np.uint8)


def _circle(x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - radius


def _square(x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    half = radius * math.sqrt(math.pi) / 2.0
    return np.maximum(np.abs(x), np.abs(y)) - half


def _triangle(x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    inner = radius * math.sqrt(math.pi / (3.0 * math.sqrt(3.0)))
    slopes = [(0.0, 1.0), (math.sqrt(3.0) / 2.0, -0.5), (-math.sqrt(3.0) / 2.0, -0.5)]
    return np.max([a * x + b * y for a, b in slopes], axis=0) - inner


def source(
    factors: Sequence[str] = ("shape", "size"),
    side: int = 28,
    train: int = 6000,
    test: int = 1000,
    seed: int = 0,
) -> Source:
    """Returns a set of renders with uniform factors, which are its labels.

    Args:
        factors: What varies. `("shape", "size")` is centred, for two latent dimensions;
            `("shape", "x", "y", "size", "angle")` is the one for coverage and novelty.
        side: Height and width in pixels.
        train: Examples of training and validation.
        test: Examples of the test set.
        seed: Of the factors; the splits draw from streams of their own.
    """
    splits: dict[str, Any] = {}
    for number, (split, count) in enumerate({"train": train, "test": test}.items()):
        rng = np.random.default_rng([_checks.integer("seed", seed, 0), number])
        values = draw_factors(factors, _checks.integer(split, count, maximum=MOST_RENDERS), rng)
        splits[split] = Indexed(ArrayExamples(render(values, factors, side)), values)
    return Source("shapes", **splits, binarize="dynamic", label_names=tuple(factors))
