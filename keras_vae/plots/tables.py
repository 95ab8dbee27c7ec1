"""Data against samples, for vectors and tables: column by column and in pairs."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vae.plots import base

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

#: Most panels of histograms, columns of a pair plot, and points of each kind in one of its panels.
PANELS, PAIRED, POINTS = 16, 5, 1000
#: Most distinct values of a column that is drawn as bars.
DISTINCT = 12


def histograms(
    x: Any,
    samples: Any,
    names: Sequence[str] = (),
    title: str = "",
    *,
    figure: "Figure | SubFigure | None" = None,
) -> "Figure":
    """Returns histograms of data and samples, column by column over the same bins.

    Of more than sixteen columns those are drawn in which data and samples differ most, by the
    largest gap between their cumulative distributions, so that the figure hides no failure.
    Heights are shares. Bins span the data and, where samples lie beyond, half as much again on
    either side; a panel says what share of the samples lies outside, from half a per cent. Columns
    of few distinct values get bars at those values.

    Args:
        x: Data, (n, columns).
        samples: From the model, (m, columns).
        names: Of the columns; their numbers, counted from 0, by default.
        title: Drawn above, if any; by default it says how many columns are left out.
        figure: Where to draw; a new figure by default.

    Raises:
        ValueError: if the shapes do not agree, or a value is NaN or infinite.
    """
    x, samples, names = _columns(x, samples, names)
    chosen = _most_different(x, samples, PANELS)
    columns = base.halves(len(chosen), 4)
    rows = math.ceil(len(chosen) / columns)
    figure = base.canvas(max(1.85 * columns, 3.4), 1.55 * rows + 0.6, figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, column in zip(grid.flat, chosen):
        _histogram(axes, x[:, column], samples[:, column])
        axes.set_title(_short(names[column], 22), fontsize=base.LABEL, parse_math=False)
    for axes in grid.flat[len(chosen) :]:
        axes.remove()
    for axes in grid[:, 0]:
        axes.set_ylabel("share", fontsize=base.TICK)
    _finish(figure, title or _left_out(x.shape[1], len(chosen)), corner=False)
    return base.root(figure)


def pair_plot(
    x: Any,
    samples: Any,
    names: Sequence[str] = (),
    title: str = "",
    *,
    figure: "Figure | SubFigure | None" = None,
) -> "Figure":
    """Returns scatter plots of data and samples for pairs of columns, histograms on the diagonal.

    At most five columns are drawn, chosen as in `histograms`, and as many points of either kind, at
    most a thousand, evenly spaced through the rows. The limits are those of `histograms`.

    Args:
        x: Data, (n, columns).
        samples: From the model, (m, columns).
        names: Of the columns; their numbers, counted from 0, by default.
        title: Drawn above, if any; by default it says how many columns are left out.
        figure: Where to draw; a new figure by default.

    Raises:
        ValueError: if the shapes do not agree, or a value is NaN or infinite.
    """
    x, samples, names = _columns(x, samples, names)
    chosen = _most_different(x, samples, PAIRED)
    count = len(chosen)
    side = max(1.4 * count, 3.4)
    figure = base.canvas(side, side + 0.5, figure)
    grid = figure.subplots(count, count, squeeze=False)
    limits = [_padded(_span(x[:, column], samples[:, column])) for column in chosen]
    for row, column in np.ndindex(count, count):
        if column > row:
            grid[row, column].remove()
            continue
        _pair(grid[row, column], x, samples, (chosen[column], chosen[row]))
        if column < row:
            grid[row, column].set(xlim=limits[column], ylim=limits[row])
        grid[row, column].locator_params(nbins=3)
        grid[row, column].label_outer()
    style: dict[str, Any] = {"fontsize": base.TICK, "parse_math": False}
    for row, column in enumerate(chosen):
        grid[-1, row].set_xlabel(_short(names[column], 17), **style)
        if row:
            grid[row, 0].set_ylabel(_short(names[column], 17), **style)
    _finish(figure, title or _left_out(x.shape[1], count), corner=count > 1)
    return base.root(figure)


def _columns(x: Any, samples: Any, names: Sequence[str]) -> tuple[Any, Any, list[str]]:
    x = base.finite("x", x, ("n", "columns")).astype(np.float64)
    samples = base.finite("samples", samples, ("m", x.shape[1])).astype(np.float64)
    if len(names) not in (0, x.shape[1]):
        raise ValueError(
            f"names holds {len(names)} name(s), and x has {x.shape[1]} column(s); expected a name "
            "for each, or none."
        )
    return x, samples, [str(n) for n in names] or [f"column {i}" for i in range(x.shape[1])]


def _most_different(x: np.ndarray, samples: np.ndarray, most: int) -> np.ndarray:
    """Returns at most `most` columns, those in which data and samples differ most, in order."""
    if x.shape[1] <= most:
        return np.arange(x.shape[1])
    gaps = np.array([_gap(*pair) for pair in zip(x.T, samples.T)])
    return np.sort(np.argsort(-gaps, kind="stable")[:most])


def _gap(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the largest gap between two empirical cumulative distributions."""
    places = np.concatenate([a, b])
    ranks = [np.searchsorted(np.sort(v), places, "right") / len(v) for v in (a, b)]
    return float(np.abs(ranks[0] - ranks[1]).max())


def _span(x: np.ndarray, samples: np.ndarray) -> tuple[float, float]:
    """Returns what a panel shows: the data, and samples at most half as far again beyond it."""
    lowest, highest = min(x.min(), samples.min()), max(x.max(), samples.max())
    half = np.ptp(x) / 2 or highest - lowest
    return max(x.min() - half, lowest), min(x.max() + half, highest)


def _padded(span: tuple[float, float]) -> tuple[float, float]:
    margin = 0.04 * (span[1] - span[0]) or 0.5
    return span[0] - margin, span[1] + margin


def _histogram(axes: Any, x: np.ndarray, samples: np.ndarray) -> None:
    """Draws shares of data and samples, as bars where there are few distinct values."""
    values = np.unique(np.concatenate([x, samples]))
    if len(values) <= DISTINCT and 2 * len(values) <= len(x) + len(samples):
        _bars(axes, values, x, samples)
    else:
        _stairs(axes, x, samples)
    axes.locator_params(nbins=4)
    base.plain(axes)


def _bars(axes: Any, values: np.ndarray, x: np.ndarray, samples: np.ndarray) -> None:
    width = 0.4 * (np.diff(values).min() if len(values) > 1 else 1.0)
    for rows, shift, colour in ((x, -0.5, base.BLUE), (samples, 0.5, base.ORANGE)):
        shares = (rows[:, None] == values).mean(axis=0)
        axes.bar(values + shift * width, shares, width, color=colour)
    margin = max(0.04 * np.ptp(values), 1.5 * width)
    axes.set_xlim(values[0] - margin, values[-1] + margin)


def _stairs(axes: Any, x: np.ndarray, samples: np.ndarray) -> None:
    span = _span(x, samples)
    bins = int(np.clip(np.ceil(2.0 * np.cbrt(len(x))), 8, 40))  # Rice's rule
    edges = np.linspace(*span, bins + 1)
    shares = [np.histogram(rows, edges)[0] / len(rows) for rows in (x, samples)]
    axes.stairs(shares[0], edges, fill=True, color=base.BLUE, alpha=0.45)
    axes.stairs(shares[1], edges, color=base.ORANGE, linewidth=1.5)
    axes.set_xlim(*_padded(span))
    outside = 1.0 - shares[1].sum()
    if outside >= 0.005:
        axes.set_ylim(0.0, 1.2 * max(map(np.max, shares)))
        style = {"ha": "right", "va": "top", "fontsize": 7, "transform": axes.transAxes}
        axes.text(1.0, 1.0, f"{100.0 * outside:.1f} % outside", color=base.ORANGE, **style)


def _pair(axes: Any, x: np.ndarray, samples: np.ndarray, columns: tuple[int, int]) -> None:
    """Draws one panel of a pair plot, (column across, column up)."""
    across, up = columns
    if across == up:
        _histogram(axes, x[:, across], samples[:, across])
        axes.set_yticks([])
        return
    count = min(POINTS, len(x), len(samples))
    kept = [_spaced(rows, count)[:, columns] for rows in (x, samples)]
    colours = [base.BLUE] * len(kept[0]) + [base.ORANGE] * len(kept[1])
    # In mixed order, so that neither colour hides the other.
    order = np.random.default_rng(0).permutation(len(colours))
    points, colours = np.concatenate(kept)[order], [colours[i] for i in order]
    size = float(np.clip(4000 / len(points), 3, 12))
    axes.scatter(*points.T, c=colours, s=size, alpha=0.6, linewidths=0)
    base.plain(axes)


def _spaced(rows: np.ndarray, count: int) -> np.ndarray:
    return rows[np.linspace(0, len(rows) - 1, count).astype(int)]


def _finish(figure: Any, title: str, corner: bool) -> None:
    """Adds the legend, in the empty corner or below, and the title."""
    from matplotlib.patches import Patch

    handles = [Patch(color=base.BLUE, alpha=0.6, label="data")]
    handles += [Patch(color=base.ORANGE, label="samples")]
    engine = figure.get_layout_engine()
    outside = "outside " if engine is not None and engine.adjust_compatible is False else ""
    style: dict[str, Any] = {"loc": f"{outside}lower center", "ncols": 2}
    if corner:
        style = {"loc": "upper right", "bbox_to_anchor": (0.95, 0.9)}
    figure.legend(handles=handles, fontsize=base.LABEL, frameon=False, **style)
    if title:
        figure.suptitle(title, fontsize=base.TITLE, parse_math=False)


def _left_out(columns: int, drawn: int) -> str:
    if columns == drawn:
        return ""
    return f"{drawn} of {columns} columns, where data and samples differ most"


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
