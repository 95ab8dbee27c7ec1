"""Codes worth decoding: a plane, traversals and lines. Arrays in, arrays out."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_vae import _checks
from keras_vae.plots import base

#: Sine of the angle below which two codes count as parallel: the arc between them is then straight
#: to eight digits, or of no known direction.
PARALLEL = 1e-4


def plane_codes(side: int = 15, coverage: float = 0.98) -> np.ndarray:
    """Returns codes on the quantiles of the prior in two dimensions, (side * side, 2) of float32.

    They go row by row from the top left: the first coordinate rises within a row, the second falls
    from row to row, as in the picture that `latent_plane` makes of what they decode to.

    Args:
        side: Codes in a row and in a column, at least 2.
        coverage: The mass of each coordinate's standard normal between the outermost codes.
    """
    values = base.quantiles(side, coverage)
    first, second = np.meshgrid(values, values[::-1])
    return np.stack([first.ravel(), second.ravel()], axis=1).astype(np.float32)


def traversal_codes(code: Any, order: Sequence[int], values: Any) -> np.ndarray:
    """Returns copies of a code, each with one dimension changed, (rows, steps, D).

    Args:
        code: Where to start, (D,).
        order: The dimension that each row changes, counted from 0, (rows,); see `kl_order`.
        values: What it is set to, (steps,).

    Raises:
        ValueError: if there is no such dimension.
    """
    code, values = base.finite("code", code, ("D",)), base.finite("values", values, ("steps",))
    dims = [_checks.integer("order", dim, 0, len(code) - 1) for dim in order]
    codes = np.empty((len(dims), len(values), len(code)), np.result_type(code, np.float32))
    codes[:] = code
    for row, dim in enumerate(dims):
        codes[row, :, dim] = values
    return codes


def linear(a: Any, b: Any, steps: int = 8) -> np.ndarray:
    """Returns codes on straight lines from a to b, (n, steps, D).

    Args:
        a: Where the lines start, (n, D).
        b: Where they end, (n, D).
        steps: Codes on each line, both ends included; at least 2.

    Raises:
        ValueError: if the shapes differ.
    """
    start, end, fractions = _ends(a, b, steps)
    codes = (1.0 - fractions) * start[:, None] + fractions * end[:, None]
    return _exact(codes, a, b)


def spherical(a: Any, b: Any, steps: int = 8) -> np.ndarray:
    """Returns codes on arcs from a to b, (n, steps, D), which keep the norm of ends alike in norm.

    In many dimensions the mass of the normal prior lies near a sphere, which straight lines leave.
    Where a and b are parallel, opposite or zero no arc is defined, and the line is straight.

    Args:
        a: Where the arcs start, (n, D).
        b: Where they end, (n, D).
        steps: Codes on each arc, both ends included; at least 2.

    Raises:
        ValueError: if the shapes differ.

    Reference: White, Sampling Generative Networks, 2016.
    """
    start, end, fractions = _ends(a, b, steps)
    angle = _angle(start, end)[:, None, None]
    curved = np.sin(angle) > PARALLEL
    sine = np.where(curved, np.sin(angle), 1.0)
    weights = [np.sin(part * angle) / sine for part in (1.0 - fractions, fractions)]
    weights = [np.where(curved, w, f) for w, f in zip(weights, (1.0 - fractions, fractions))]
    return _exact(weights[0] * start[:, None] + weights[1] * end[:, None], a, b)


def _ends(a: Any, b: Any, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    start, end = base.finite("a", a, ("n", "D")), base.finite("b", b, ("n", "D"))
    if start.shape != end.shape:
        raise ValueError(f"b has shape {end.shape}; expected that of a, {start.shape}.")
    fractions = np.linspace(0.0, 1.0, _checks.integer("steps", steps, 2))[None, :, None]
    return start.astype(np.float64), end.astype(np.float64), fractions


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the angles between rows, (n,); 0 where one is zero."""
    norms = [np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b)]
    a, b = (rows / np.where(norm > 0.0, norm, 1.0) for rows, norm in zip((a, b), norms))
    # Unlike the arc cosine of a dot product, this keeps its digits near 0 and pi.
    angle = 2.0 * np.arctan2(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1))
    return np.where((norms[0] * norms[1])[:, 0] > 0.0, angle, 0.0)


def _exact(codes: np.ndarray, a: Any, b: Any) -> np.ndarray:
    """Returns codes in the type of a and b, whose ends are a and b to the bit."""
    codes = codes.astype(np.result_type(np.asarray(a), np.asarray(b), np.float32))
    codes[:, 0], codes[:, -1] = a, b
    return codes
