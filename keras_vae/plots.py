"""Arrays in, matplotlib figures out. Nothing global is touched; matplotlib loads on use."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INCH_PER_IMAGE = 0.7
#: Colours that stay apart for colour-blind readers (Okabe and Ito, 2008).
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=150)


def is_image(event_shape: tuple[int, ...]) -> bool:
    """Returns whether events of this shape can be drawn: (H, W, 1) or (H, W, 3)."""
    return len(event_shape) == 3 and event_shape[-1] in (1, 3)


def image_grid(images: np.ndarray, columns: int | None = None, title: str = "") -> "Figure":
    """Returns a figure of images in rows.

    Args:
        images: (n, H, W, 1 or 3), values between 0 and 1; others are clipped.
        columns: Images in a row; about the square root of n by default.
        title: Drawn above, if any.

    Raises:
        ValueError: if there is no image.
    """
    count = len(images)
    if count == 0:
        raise ValueError("There is no image to draw; expected at least one.")
    columns = columns or math.ceil(math.sqrt(count))
    rows = -(-count // columns)
    figure = _figure(columns * INCH_PER_IMAGE, rows * INCH_PER_IMAGE + (0.35 if title else 0.0))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, image in zip(grid.flat, images):
        _draw_image(axes, image)
    for axes in grid.flat[count:]:
        axes.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def reconstructions(x: np.ndarray, means: np.ndarray, title: str = "") -> "Figure":
    """Returns a figure with the inputs (n, H, W, C) above and their reconstructions below."""
    count = len(x)
    figure = _figure(count * INCH_PER_IMAGE + 0.6, 2 * INCH_PER_IMAGE + (0.35 if title else 0.0))
    grid = figure.subplots(2, count, squeeze=False)
    for column, pair in enumerate(zip(x, means)):
        for row, image in enumerate(pair):
            _draw_image(grid[row, column], image)
    for axes, label in zip(grid[:, 0], ("input", "mean")):
        axes.set_ylabel(label, fontsize=8, rotation=0, ha="right", va="center")
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def history(logs: Mapping[str, Sequence[float]]) -> "Figure":
    """Returns training curves: the loss and its two terms, training and validation.

    Args:
        logs: Name -> one value per epoch, as `fit(...).history` holds them.
    """
    names = [n for n in ("loss", "reconstruction_loss", "kl_loss") if n in logs]
    figure = _figure(3.2 * len(names), 2.6)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names):
        epochs = np.arange(1, len(logs[name]) + 1)
        marker = "o" if len(epochs) == 1 else ""  # a line through one point is invisible
        axes.plot(epochs, logs[name], color=BLUE, marker=marker, label="training")
        if f"val_{name}" in logs:
            validation = logs[f"val_{name}"]
            axes.plot(epochs, validation, color=ORANGE, marker=marker, label="validation")
        axes.set_title(name.replace("_", " "), fontsize=10)
        axes.set_xlabel("epoch", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("nats per example", fontsize=9)
    figure.axes[0].legend(fontsize=8, frameon=False)
    return figure


def _draw_image(axes: Any, image: np.ndarray) -> None:
    grey = image.shape[-1] == 1
    shown = np.clip(image[..., 0] if grey else image, 0.0, 1.0)
    axes.imshow(shown, cmap="gray" if grey else None, vmin=0.0, vmax=1.0)
    axes.set_xticks([])
    axes.set_yticks([])
