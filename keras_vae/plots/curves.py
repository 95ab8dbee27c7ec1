"""Curves over the epochs of a training."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vae.plots import base

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

#: What comes first, in this order, and what is no term of the objective.
FIRST = ("loss", "reconstruction_loss", "kl_loss", "elbo")
OTHER = ("seconds", "learning_rate")
ACRONYMS = {"kl": "KL", "elbo": "ELBO", "nll": "NLL", "mmd": "MMD", "tc": "TC"}


def history(
    logs: Mapping[str, Sequence[float]], *, figure: "Figure | SubFigure | None" = None
) -> "Figure":
    """Returns training curves: the loss and each of its terms, training and validation.

    The vertical limits follow the last three quarters of the epochs, so that a first epoch far off
    does not flatten the rest: they reach past the 2 % and 98 % quantiles of those by twice as much
    again where there are values. A panel whose curve leaves it says how far it goes.

    Args:
        logs: Name -> one value per epoch, as `fit(...).history` holds them. Drawn are `loss`,
            `reconstruction_loss`, `kl_loss`, `elbo` and whatever else there is, but for `seconds`,
            `learning_rate`, and a `regularization_loss` or `skipped_steps` that is always 0. Fewer
            values of validation than epochs are those of every k-th epoch, as
            `fit(validation_freq=k)` leaves them; k is the number of epochs by that of the values,
            rounded down.
        figure: Where to draw; a new figure by default.

    Raises:
        ValueError: if there is nothing to draw.
    """
    names = _names(logs)
    columns = base.halves(len(names), 2 if len(names) in (2, 4) else 3)
    rows = math.ceil(len(names) / columns)
    figure = base.canvas((3.6, 6.6, 7.6)[columns - 1], 2.3 * rows, figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, name in zip(grid.flat, names):
        _curves(axes, logs, name)
    for axes in grid.flat[len(names) :]:
        axes.remove()
    for axes, name in zip(grid[:, 0], names[::columns]):
        if _in_nats(name):
            axes.set_ylabel("nats per example", fontsize=base.LABEL)
    grid[0, 0].legend(fontsize=base.TICK, frameon=False)
    return base.root(figure)


def _names(logs: Mapping[str, Sequence[float]]) -> list[str]:
    known = dict.fromkeys(name.removeprefix("val_") for name in logs if name not in OTHER)
    for name in ("regularization_loss", "skipped_steps"):
        if not np.any(logs.get(name, 0.0)):
            known.pop(name, None)
    names = [n for n in FIRST if n in known] + [n for n in known if n not in FIRST]
    if not names:
        raise ValueError(
            f"logs holds {sorted(logs)}; expected the values of each epoch by name, such as "
            "fit(...).history."
        )
    return names


def _in_nats(name: str) -> bool:
    return name in ("loss", "elbo", "nll") or name.endswith("_loss")


def _curves(axes: Any, logs: Mapping[str, Sequence[float]], name: str) -> None:
    """Draws the curves of one term."""
    drawn, longest = [], max(map(len, logs.values()))
    kinds = ((name, "training", base.BLUE), (f"val_{name}", "validation", base.ORANGE))
    for key, label, colour in kinds:
        if key in logs:
            values = np.asarray(logs[key], np.float64)
            marker = "o" if len(values) == 1 else ""  # a line through one point is invisible
            stride = longest // max(len(values), 1) if key.startswith("val_") else 1
            epochs = stride * np.arange(1, len(values) + 1)
            axes.plot(epochs, values, color=colour, marker=marker, label=label, linewidth=1.5)
            drawn.append((epochs, values))
    words = [ACRONYMS.get(word, word) for word in name.split("_")]
    base.entitle(axes, " ".join(words))
    axes.set_xlabel("epoch", fontsize=base.LABEL)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    if longest == 1:
        axes.set_xlim(0.5, 1.5)
    base.plain(axes)
    _limit(axes, drawn)


def _limit(axes: Any, curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """Sets vertical limits by the later epochs and names the values that lie outside.

    Args:
        axes: Where the curves are drawn.
        curves: The epochs and the values of each.
    """
    everything = np.concatenate([values for _, values in curves])
    everything = everything[np.isfinite(everything)]
    late = np.concatenate([values[len(values) // 4 :] for _, values in curves])
    late = late[np.isfinite(late)]
    if not late.size or np.ptp(late) == 0.0:
        return
    low, high = np.quantile(late, (0.02, 0.98))
    reach = 2.0 * max(high - low, 0.02 * np.ptp(late))
    bottom, top = max(low - reach, everything.min()), min(high + reach, everything.max())
    margin = 0.05 * (top - bottom)
    axes.set_ylim(bottom - margin, top + margin)
    _mark(axes, curves, top + margin, above=True)
    _mark(axes, curves, bottom - margin, above=False)


def _mark(
    axes: Any, curves: Sequence[tuple[np.ndarray, np.ndarray]], limit: float, above: bool
) -> None:
    """Names the extreme value beyond a limit, to the right of where the curve comes back."""
    epochs, values = np.concatenate([np.stack(curve) for curve in curves], axis=1)
    beyond = (values > limit if above else values < limit) & np.isfinite(values)
    if not beyond.any():
        return
    value = values[beyond].max() if above else values[beyond].min()
    last, longest = epochs[beyond].max(), epochs.max()
    place, side = (last + 1.1, "left") if last < 0.6 * longest else (last - 1.1, "right")
    arrow = "\N{UPWARDS ARROW}" if above else "\N{DOWNWARDS ARROW}"
    axes.text(
        place,
        0.98 if above else 0.02,
        f"{arrow} {base.numeral(value, 1)}",
        transform=axes.get_xaxis_transform(),
        ha=side,
        va="top" if above else "bottom",
        fontsize=base.TICK,
        color="#555555",
    )
