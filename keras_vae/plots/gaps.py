"""Where the codes leave p(z) empty."""

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vae.plots import base

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def latent_gaps(
    codes: Any, prior: Any, far: Any = None, title: str = "", *, axes: "Axes | None" = None
) -> "Figure":
    """Returns a figure of draws of q(z) over draws of p(z), with the empty places marked.

    More than two dimensions are turned to the two principal components of the codes, where empty
    places may look filled; one dimension makes two histograms.

    Args:
        codes: Draws of q(z), (n, D).
        prior: Draws of p(z), (m, D).
        far: Which prior draws count as lying in a gap, (m,) of truth values, if known.
        title: Drawn above, if any.
        axes: Where to draw; those of a new figure by default.

    Raises:
        ValueError: if the shapes do not agree, or a value is NaN or infinite.
    """
    codes = base.finite("codes", codes, ("n", "D")).astype(np.float64)
    prior = base.finite("prior", prior, ("m", codes.shape[1])).astype(np.float64)
    far = np.zeros(len(prior)) if far is None else base.finite("far", far, (len(prior),))
    far = far.astype(bool)
    drawn = base.panel(*((6.2, 3.4) if codes.shape[1] == 1 else (5.6, 5.6)), axes)
    if codes.shape[1] == 1:
        _histograms(drawn, codes[:, 0], prior[:, 0], far)
    else:
        _scatter(drawn, *_plane(codes, prior), far)
    base.entitle(drawn, title)
    base.plain(drawn)
    _legend(drawn, far, codes.shape[1] > 1)
    return base.settled(drawn, axes)


def _plane(codes: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[str, str]]:
    """Returns codes and prior in two dimensions, and the names of the axes."""
    if codes.shape[1] == 2:
        return codes, prior, ("z0", "z1")
    middle = codes.mean(0)
    _, spread, directions = np.linalg.svd(codes - middle, full_matrices=len(codes) < 2)
    shares = np.zeros(2)
    squares = np.square(spread)[:2] / max(np.square(spread).sum(), np.finfo(float).tiny)
    shares[: len(squares)] = 100.0 * squares
    names = [
        f"principal component {1 + i} ({share:.0f} % of variance)" for i, share in enumerate(shares)
    ]
    plane = [(rows - middle) @ directions[:2].T for rows in (codes, prior)]
    return plane[0], plane[1], (names[0], names[1])


def _scatter(
    axes: Any, codes: np.ndarray, prior: np.ndarray, names: tuple[str, str], far: np.ndarray
) -> None:
    size = float(np.clip(12000 / len(codes), 4, 20))
    style = {"s": size, "linewidths": 0, "rasterized": len(codes) > 5000}
    axes.scatter(*prior[~far].T, color="#B0B0B0", zorder=1.5, **style)
    axes.scatter(*codes.T, color=base.BLUE, alpha=0.7, zorder=2, **style)
    crosses = {"s": 12, "linewidths": 0.9, "marker": "x", "alpha": 0.9, "zorder": 3}
    axes.scatter(*prior[far].T, color=base.ORANGE, **crosses)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(names[0], fontsize=base.LABEL)
    axes.set_ylabel(names[1], fontsize=base.LABEL)


def _histograms(axes: Any, codes: np.ndarray, prior: np.ndarray, far: np.ndarray) -> None:
    edges = np.histogram_bin_edges(np.concatenate([codes, prior]), bins=50)
    for values, colour in ((prior, "#B0B0B0"), (codes, base.BLUE)):
        axes.stairs(
            np.histogram(values, edges, density=True)[0], edges, color=colour, linewidth=1.5
        )
    style = {"color": base.ORANGE, "linestyle": "", "marker": "x", "markersize": 4, "alpha": 0.9}
    axes.plot(prior[far], np.zeros(far.sum()), clip_on=False, **style)
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("z0", fontsize=base.LABEL)
    axes.set_ylabel("density", fontsize=base.LABEL)


def _legend(axes: Any, far: np.ndarray, plane: bool) -> None:
    from matplotlib.lines import Line2D

    dot: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 5}
    dot = dot if plane else {"linewidth": 1.5}
    handles = [
        Line2D([], [], color="#B0B0B0", label="draws of p(z)", **dot),
        Line2D([], [], color=base.BLUE, label="draws of q(z)", **dot),
    ]
    if far.any():
        words = f"draws of p(z) in a gap ({far.mean():.1%})"
        cross = {"linestyle": "", "marker": "x", "markersize": 5}
        handles.append(Line2D([], [], color=base.ORANGE, label=words, **cross))
    base.legend_below(axes, handles, len(handles))
