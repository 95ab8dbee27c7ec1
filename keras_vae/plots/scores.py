"""Scores of strangeness: their histograms, and how well a threshold on them tells sets apart."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vae.plots import base

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (base.BLUE, base.ORANGE, base.GREEN, base.PURPLE, base.SKY, base.AMBER)
DASHES = ("-", "--", "-.", ":")
#: Bins of a histogram, and the share of each set on either side that is drawn in the last of them.
BINS, TAIL = 60, 0.005


def score_histograms(
    scores: Mapping[str, Any],
    threshold: float | None = None,
    title: str = "",
    xlabel: str = "negative log-likelihood (nats)",
    *,
    axes: "Axes | None" = None,
) -> "Figure":
    """Returns a figure of the densities of several sets' scores, with a threshold.

    The outermost bins also hold what lies beyond them, at most half a per cent of each set on
    either side.

    Args:
        scores: Name -> scores (n,); at most 6 sets.
        threshold: Where to draw a line; the legend says which share of each set lies above it.
        title: Drawn above, if any.
        xlabel: What the scores are.
        axes: Where to draw; those of a new figure by default.

    Raises:
        ValueError: for no set or more than 6, or scores that are NaN, infinite or no list.
    """
    sets = _sets("scores", scores)
    drawn = base.panel(5.2, 3.4, axes)
    low = min(np.quantile(each, TAIL) for each in sets.values())
    high = max(np.quantile(each, 1.0 - TAIL) for each in sets.values())
    reach = (low, high) if threshold is None else (min(low, threshold), max(high, threshold))
    edges = np.histogram_bin_edges(np.array(reach), BINS)
    for (name, values), colour in zip(sets.items(), COLOURS):
        inside = np.clip(values, edges[0], edges[-1])
        density = np.histogram(inside, edges, density=True)[0]
        above = "" if threshold is None else f" ({np.mean(values > threshold):.1%} above)"
        label = _plain(f"{name}{above}")
        drawn.stairs(density, edges, color=colour, fill=True, alpha=0.25)
        drawn.stairs(density, edges, color=colour, linewidth=1.3, label=label)
    if threshold is not None:
        drawn.axvline(threshold, color="black", linewidth=1.0, linestyle="--", label="threshold")
    drawn.set_ylim(bottom=0.0)
    drawn.set_xlabel(xlabel, fontsize=base.LABEL)
    drawn.set_ylabel("density", fontsize=base.LABEL)
    return _finished(drawn, title, axes)


def roc_curves(
    pairs: Mapping[str, tuple[Any, Any]], title: str = "", *, axes: "Axes | None" = None
) -> "Figure":
    """Returns a figure of receiver operating characteristics, with the area under each.

    A curve goes through all thresholds: across, the share of usual examples above it, the
    false-positive rate; upwards, that of strange ones, the detection rate. The diagonal is chance,
    and a curve below it belongs to strange examples that score lower than usual ones.

    Args:
        pairs: Name -> scores of usual examples (n,) and of strange ones (m,); at most 6.
        title: Drawn above, if any.
        axes: Where to draw; those of a new figure by default.

    Raises:
        ValueError: for no pair or more than 6, or scores that are NaN, infinite or no list.
    """
    usual = _sets("pairs", {name: pair[0] for name, pair in pairs.items()})
    strange = _sets("pairs", {name: pair[1] for name, pair in pairs.items()})
    drawn = base.panel(4.2, 4.2, axes)
    drawn.plot([0.0, 1.0], [0.0, 1.0], color=base.GREY, linewidth=0.8, linestyle=":")
    for place, name in enumerate(usual):
        rates = _rates(usual[name], strange[name])
        area = np.sum(np.diff(rates[0]) * (rates[1, 1:] + rates[1, :-1])) / 2.0
        style = {"color": COLOURS[place], "linestyle": DASHES[place % len(DASHES)]}
        drawn.plot(*rates, linewidth=1.5, label=_plain(f"{name}, AUROC {area:.3f}"), **style)
    drawn.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    drawn.set_xlabel("false-positive rate", fontsize=base.LABEL)
    drawn.set_ylabel("detection rate", fontsize=base.LABEL)
    return _finished(drawn, title, axes)


def _rates(usual: np.ndarray, strange: np.ndarray) -> np.ndarray:
    """Returns false-positive and detection rates at all thresholds, falling, (2, K)."""
    limits = np.unique(np.concatenate([usual, strange]))[::-1]
    ordered = (np.sort(usual), np.sort(strange))
    rates = [1.0 - np.searchsorted(each, limits, "left") / len(each) for each in ordered]
    return np.insert(np.stack(rates), 0, 0.0, axis=1)


def _sets(name: str, scores: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if not 1 <= len(scores) <= len(COLOURS):
        raise ValueError(f"{name} holds {len(scores)} sets; expected 1 to {len(COLOURS)}.")
    return {
        key: base.finite(f"{name}[{key!r}]", values, ("n",)).astype(np.float64)
        for key, values in scores.items()
    }


def _plain(text: str) -> str:
    """Returns a text in which dollars are dollars and no underscore hides a line of a legend."""
    return text.replace("$", r"\$").lstrip("_") or " "


def _finished(drawn: Any, title: str, given: Any) -> Any:
    base.entitle(drawn, title)
    base.plain(drawn)
    base.legend_below(drawn, drawn.get_legend_handles_labels()[0], 1)
    return base.settled(drawn, given)
