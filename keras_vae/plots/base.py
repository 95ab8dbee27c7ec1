"""What all figures share: where they draw, their colours, and the check of their arrays."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_vae import _checks

#: Colours that stay apart for colour-blind readers (Okabe and Ito, 2008).
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, AMBER, YELLOW, BLACK = "#56B4E9", "#E69F00", "#F0E442", "#000000"
GREY = "#7F7F7F"
#: Points of a title, of the name of an axis, and of what is written on ticks and in legends.
TITLE, LABEL, TICK = 10, 9, 8
#: Points that the ticks' labels and the name of an x-axis take below the axes.
BELOW = 30


def canvas(width: float, height: float, figure: Any = None) -> Any:
    """Returns `figure`, or a new one of so many inches.

    Raises:
        TypeError: if `figure` is no figure.
    """
    from matplotlib.figure import Figure, FigureBase

    if figure is None:
        figure = Figure(figsize=(width, height), layout="constrained", dpi=150)
        figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
        return figure
    if not isinstance(figure, FigureBase):
        raise TypeError(
            f"figure is {_named(figure)}; expected a matplotlib Figure or SubFigure, such as "
            "matplotlib.figure.Figure()."
        )
    return figure


def panel(width: float, height: float, axes: Any = None) -> Any:
    """Returns `axes`, or those of a new figure of so many inches.

    Raises:
        TypeError: if `axes` is no Axes.
    """
    from matplotlib.axes import Axes

    if axes is None:
        return canvas(width, height).add_subplot()
    if not isinstance(axes, Axes):
        raise TypeError(
            f"axes is {_named(axes)}; expected one matplotlib Axes, such as figure.add_subplot()."
        )
    return axes


def root(artist: Any) -> Any:
    """Returns the Figure that axes or a SubFigure belong to, which is the one to save."""
    while artist is not artist.figure:
        artist = artist.figure
    return artist


def settled(drawn: Any, given: Any) -> Any:
    """Returns the Figure of axes of equal aspect, laid out until nothing is cut off.

    One pass of the layout takes the axes for as large as their place. Figures of users are left to
    the layout that they chose.

    Args:
        drawn: The axes.
        given: The axes that the caller received, or None where the figure is a new one.
    """
    figure = root(drawn)
    if given is None:
        for _ in range(4):
            figure.get_layout_engine().execute(figure)
    return figure


def _named(received: object) -> str:
    name = type(received).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def finite(name: str, values: Any, axes: Sequence[str | int]) -> np.ndarray:
    """Returns values as an array with the named axes, none of them empty.

    Args:
        name: What a message calls the array.
        values: Numbers.
        axes: The axes' names; where there is a number, the axis has that length.

    Raises:
        TypeError: if they are no numbers.
        ValueError: if the shape is another, or a value is NaN or infinite.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} holds {array.dtype}; expected numbers.")
    fixed = [(n, a) for n, a in zip(array.shape, axes) if isinstance(a, int)]
    if array.ndim != len(axes) or array.size == 0 or any(n != a for n, a in fixed):
        words = ", ".join(map(str, axes)) + ("," if len(axes) == 1 else "")
        raise ValueError(f"{name} has shape {array.shape}; expected ({words}), no axis empty.")
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise ValueError(
            f"{name} holds {bad} NaN or infinite value(s); expected finite numbers. Drop or "
            "replace them."
        )
    return array


def decoded(labels: Any) -> np.ndarray:
    """Returns labels as an array in which bytes, as tf.data has words, are words."""
    array = np.asarray(labels)
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind != "O" or not array.size:
        return array
    each = [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in array.flat]
    return np.asarray(each).reshape(array.shape)


def kl_order(kl: Any, count: int | None = None) -> np.ndarray:
    """Returns latent dimensions by falling KL, the first `count` of them or all.

    Args:
        kl: KL(q(z|x) || p(z)) of each dimension, (D,), in nats.
        count: How many to return.
    """
    kl = finite("kl", kl, ("D",))
    count = len(kl) if count is None else _checks.integer("count", count)
    return np.argsort(-kl.astype(np.float64), kind="stable")[:count]


def numeral(value: float, decimals: int) -> str:
    """Returns a number for a tick, with a true minus sign and no minus before zero."""
    written = f"{value:.{decimals}f}"
    if not float(written):
        written = written.lstrip("-")
    return written.replace("-", "\N{MINUS SIGN}")


def decimals(values: np.ndarray) -> int:
    """Returns the fewest decimals, at most two, that keep values apart and right."""
    for count in (0, 1):
        if np.allclose(values, np.round(values, count), atol=1e-6):
            return count
    return 2


def plain(axes: Any) -> None:
    """Takes the upper and right frame away and sets the size of the ticks' labels."""
    axes.tick_params(labelsize=TICK)
    axes.spines[["top", "right"]].set_visible(False)


def entitle(axes: Any, title: str) -> None:
    """Writes a title over axes, if there is one, dollars and all."""
    if title:
        axes.set_title(title, fontsize=TITLE, parse_math=False)


def legend_below(axes: Any, handles: Sequence[Any], columns: int) -> Any:
    """Returns a legend under the name of the x-axis, however flat the axes are."""
    from matplotlib.transforms import ScaledTranslation

    shift = ScaledTranslation(0.0, -BELOW / 72.0, axes.figure.dpi_scale_trans)
    place = {"bbox_to_anchor": (0.5, 0.0), "bbox_transform": axes.transAxes + shift}
    style = {"fontsize": TICK, "frameon": False, "ncols": columns, "loc": "upper center"}
    return axes.legend(handles=handles, **style, **place)


def width_for(title: str) -> float:
    """Returns the inches that a title takes."""
    return 0.085 * max(map(len, title.split("\n"))) if title else 0.0


def halves(count: int, most: int) -> int:
    """Returns how many columns fill rows of at most `most` evenly."""
    return math.ceil(count / math.ceil(count / most))


def quantiles(side: int, coverage: float) -> np.ndarray:
    """Returns `side` evenly spread quantiles of the standard normal, rising, (side,).

    Args:
        side: How many, at least 2.
        coverage: The mass between the first and the last, above 0 and below 1.
    """
    from scipy.stats import norm

    side, coverage = _checks.integer("side", side, 2), _checks.number("coverage", coverage, 0.0)
    if not 0.0 < coverage < 1.0:
        raise ValueError(f"coverage is {coverage}; expected a number above 0 and below 1.")
    tail = (1.0 - coverage) / 2.0
    return norm.ppf(np.linspace(tail, 1.0 - tail, side))
