"""Figures made of images: samples, reconstructions, and what the decoder makes along codes."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vae import _checks
from keras_vae.plots import base

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Inches of an image, the most of all in a row and in a column, the least that all take in height,
#: and the gap between two as a share of an image.
INCH, WIDEST, TALLEST, LEAST, GAP = 0.7, 10.0, 12.0, 0.3, 0.06
#: Inches of the latent plane: its usual width, and the least of its figure either way.
PLANE, LEAST_PLANE = 6.0, 1.5
#: Most values named on an axis of the plane, and the inches that one takes, down and across.
TICKS, TICK_HEIGHT, TICK_WIDTH = 8, 0.18, 0.45
#: Most pairs of input and reconstruction side by side.
PAIRS = 10


def is_image(event_shape: tuple[int, ...]) -> bool:
    """Returns whether events of this shape can be drawn: (H, W, 1) or (H, W, 3)."""
    return len(event_shape) == 3 and event_shape[-1] in (1, 3)


def image_grid(
    images: np.ndarray,
    columns: int | None = None,
    title: str = "",
    *,
    axes: "Axes | None" = None,
) -> "Figure":
    """Returns a figure of images in rows.

    Args:
        images: (n, H, W, 1 or 3), values between 0 and 1; others are clipped.
        columns: Images in a row; about the square root of n by default.
        title: Drawn above, if any.
        axes: Where to draw; those of a new figure by default.

    Raises:
        ValueError: if there is no image, or none that can be drawn.
    """
    images = _drawable("images", images, ("n",))
    count = len(images)
    columns = math.ceil(math.sqrt(count)) if columns is None else columns
    columns = min(_checks.integer("columns", columns), count)
    places = [divmod(index, columns) for index in range(count)]
    return base.settled(_draw(images, places, title, axes), axes)


def reconstructions(
    x: np.ndarray, means: np.ndarray, title: str = "", *, axes: "Axes | None" = None
) -> "Figure":
    """Returns a figure with inputs above and their reconstructions below.

    More than ten pairs are spread over several double rows.

    Args:
        x: Inputs, (n, H, W, 1 or 3), values between 0 and 1; others are clipped.
        means: Means of p(x|z), of the same shape.
        title: Drawn above, if any.
        axes: Where to draw; those of a new figure by default.

    Raises:
        ValueError: if the shapes differ, or images like these cannot be drawn.
    """
    x, means = _drawable("x", x, ("n",)), _drawable("means", means, ("n",))
    if x.shape != means.shape:
        raise ValueError(f"means has shape {means.shape}; expected that of x, {x.shape}.")
    columns = base.halves(len(x), PAIRS)
    pairs = [divmod(index, columns) for index in range(len(x))]
    # Input and reconstruction touch more closely than two double rows do.
    above = [(row * 2.2, column) for row, column in pairs]
    below = [(row + 1, column) for row, column in above]
    drawn = _draw(np.concatenate([x, means]), above + below, title, axes, margin=(0.9, 0.0))
    rows = sorted({row for row, _ in above + below})
    _name_rows(drawn, x.shape[1:], dict(zip(rows, ["input", "reconstruction"] * len(rows))))
    return base.settled(drawn, axes)


def interpolations(images: np.ndarray, title: str = "", *, axes: "Axes | None" = None) -> "Figure":
    """Returns a figure of decoded lines between codes, their framed ends named start and end.

    Args:
        images: (n, steps, H, W, 1 or 3), values between 0 and 1; others are clipped. A row is one
            line, as `linear` or `spherical` and a decoder make it.
        title: Drawn above, if any.
        axes: Where to draw; those of a new figure by default.

    Raises:
        ValueError: if images like these cannot be drawn.
    """
    images = _drawable("images", images, ("n", "steps"))
    rows, steps = images.shape[:2]
    drawn = _table(images, title, axes, margin=(0.0, 0.25))
    for row in range(rows):
        _frame(drawn, images.shape[2:], (row, 0))
        _frame(drawn, images.shape[2:], (row, steps - 1))
    _name_columns(drawn, images.shape[2:], {0: "start", steps - 1: "end"})
    return base.settled(drawn, axes)


def traversals(
    images: np.ndarray,
    kl: Any,
    values: Any,
    order: Sequence[int] | None = None,
    title: str = "",
    *,
    axes: "Axes | None" = None,
) -> "Figure":
    """Returns a figure whose rows each show one latent dimension changed and the others kept.

    Args:
        images: (rows, steps, H, W, 1 or 3), values between 0 and 1; others are clipped. They are
            what a decoder makes of `traversal_codes`.
        kl: KL(q(z|x) || p(z)) of every dimension, (D,), in nats.
        values: What the dimension was set to, (steps,).
        order: The dimension of each row, counted from 0; those of the highest KL by default, as
            `kl_order` gives them.
        title: Drawn above, if any.
        axes: Where to draw; those of a new figure by default.

    Raises:
        ValueError: if the lengths do not agree, or images like these cannot be drawn.
    """
    images = _drawable("images", images, ("rows", "steps"))
    kl, values = base.finite("kl", kl, ("D",)), base.finite("values", values, (images.shape[1],))
    order = base.kl_order(kl, len(images)) if order is None else order
    if len(order) != len(images):
        raise ValueError(
            f"images holds {len(images)} rows and order {len(order)} dimension(s) out of "
            f"{len(kl)}; expected one dimension for each row."
        )
    order = [_checks.integer("order", dim, 0, len(kl) - 1) for dim in order]
    drawn = _table(images, title, axes, margin=(0.9, 0.45))
    names = {row: f"z{dim}  KL {kl[dim]:.2f}" for row, dim in enumerate(order)}
    _name_rows(drawn, images.shape[2:], names)
    _name_columns(drawn, images.shape[2:], dict(enumerate(_written(values))))
    drawn.set_xlabel("value of z", fontsize=base.LABEL)
    drawn.xaxis.set_label_position("top")
    return base.settled(drawn, axes)


def latent_plane(
    images: np.ndarray, coverage: float = 0.98, title: str = "", *, axes: "Axes | None" = None
) -> "Figure":
    """Returns a figure of the two-dimensional latent space as one seamless picture.

    Args:
        images: (side * side, H, W, 1 or 3), values between 0 and 1; others are clipped. They are
            what a decoder makes of `plane_codes(side, coverage)`, in that order.
        coverage: That of `plane_codes`, for the values on the axes.
        title: Drawn above, if any.
        axes: Where to draw; those of a new figure by default.

    Raises:
        ValueError: if their number is no square, or images like these cannot be drawn.
    """
    images = _drawable("images", images, ("side * side",))
    side = math.isqrt(len(images))
    if side * side != len(images):
        raise ValueError(
            f"images holds {len(images)} images; expected a square number of them, as "
            "plane_codes(side) has."
        )
    height, width, channels = images.shape[1:]
    rows = images.reshape(side, side, height, width, channels).swapaxes(1, 2)
    inch = min(PLANE / width, TALLEST / height)
    needed = max(width * inch, LEAST_PLANE, base.width_for(title))
    drawn = base.panel(needed, max(height * inch, LEAST_PLANE), axes)
    _show(drawn, rows.reshape(side * height, side * width, channels), 0.0, 0.0)
    _tick_plane(drawn, base.quantiles(side, coverage), (height, width), inch)
    base.entitle(drawn, title)
    return base.settled(drawn, axes)


def mosaic(images: np.ndarray, gap: int = 1) -> np.ndarray:
    """Returns images as one, without a figure around it: what TensorBoard takes.

    Args:
        images: (rows, columns, H, W, C).
        gap: White pixels between neighbours.

    Returns: (rows * (H + gap) - gap, columns * (W + gap) - gap, C).
    """
    rows, columns, height, width, channels = images.shape
    padded = np.ones((rows, columns, height + gap, width + gap, channels), images.dtype)
    padded[:, :, :height, :width] = images
    whole = padded.swapaxes(1, 2).reshape(rows * (height + gap), columns * (width + gap), channels)
    return whole[: len(whole) - gap, : whole.shape[1] - gap]


def pixels(figure: "Figure") -> np.ndarray:
    """Returns what a figure looks like, (H, W, 3) of float32 between 0 and 1."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), np.float32)[..., :3] / np.float32(255.0)


def _tick_plane(axes: Any, quantiles: np.ndarray, shape: tuple[int, int], inch: float) -> None:
    """Names the values along the plane of images (height, width), as many as have room."""
    written = np.array([base.numeral(value, 1) for value in quantiles])
    (height, width), middles = shape, np.arange(len(quantiles)) + 0.5
    across = _with_room(len(quantiles), width * inch / TICK_WIDTH)
    down = _with_room(len(quantiles), height * inch / TICK_HEIGHT)
    axes.set_xticks(middles[across] * width, written[across])
    axes.set_yticks(middles[down] * height, written[::-1][down])
    axes.set_xlabel("z0", fontsize=base.LABEL)
    axes.set_ylabel("z1", fontsize=base.LABEL)
    axes.tick_params(labelsize=base.TICK, length=2)


def _with_room(count: int, room: float) -> np.ndarray:
    """Returns which of `count` values to name where `room` names fit: the middle one at least."""
    most = min(int(room), TICKS)
    return np.arange(0, count, math.ceil(count / most)) if most > 1 else np.array([count // 2])


def _drawable(name: str, images: Any, leading: tuple[str, ...]) -> np.ndarray:
    """Returns images (*leading, H, W, C) as they are drawn, clipped to 0..1."""
    shape = np.shape(images)
    if len(shape) != len(leading) + 3 or not is_image(shape[-3:]):
        words = ", ".join((*leading, "H, W, 1"))
        raise ValueError(
            f"{name} has shape {shape}; expected ({words}), or 3 channels at the end. Choose what "
            "to draw, such as one channel, x[..., :1]."
        )
    images = base.finite(name, images, (*leading, "H", "W", "C"))
    if images.dtype.kind in "iu" and images.max() > 1:
        raise ValueError(
            f"{name} holds whole numbers up to {images.max()}; expected values between 0 and 1. "
            "Divide grey levels by 255."
        )
    return np.clip(images, 0.0, 1.0)


def _draw(
    images: np.ndarray,
    places: Sequence[tuple[float, int]],
    title: str,
    axes: Any,
    margin: tuple[float, float] = (0.0, 0.0),
) -> Any:
    """Draws image i at places[i], (row, column), and returns the axes.

    Args:
        images: (n, H, W, C) within 0..1.
        places: Where they stand, in images.
        title: Drawn above, if any.
        axes: Axes to draw into, or None.
        margin: Inches that a new figure leaves for names, on the left and above.
    """
    height, width = images.shape[1:3]
    pitch = _pitch(images.shape[1:])
    bottom, right = np.max(places, axis=0) * pitch + (height, width)
    inch = min(INCH / width, WIDEST / right, TALLEST / bottom)
    needed = max(right * inch + margin[0], LEAST, base.width_for(title)) + 0.1
    tall = max(bottom * inch, LEAST) + margin[1] + (0.32 if title else 0.1)
    axes = base.panel(needed, tall, axes)
    for image, (row, column) in zip(images, places):
        _show(axes, image, column * pitch[1], row * pitch[0])
    axes.set(xlim=(0, right), ylim=(bottom, 0), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    base.entitle(axes, title)
    return axes


def _table(images: np.ndarray, title: str, axes: Any, margin: tuple[float, float]) -> Any:
    """Draws images (rows, columns, H, W, C) and returns the axes."""
    places = list(np.ndindex(images.shape[:2]))
    return _draw(images.reshape(-1, *images.shape[2:]), places, title, axes, margin)


def _pitch(shape: tuple[int, ...]) -> np.ndarray:
    """Returns the distance from image to image, downwards and to the right, in pixels."""
    return np.asarray(shape[:2]) + GAP * max(shape[:2])


def _show(axes: Any, image: np.ndarray, left: float, top: float) -> None:
    height, width, channels = image.shape
    extent = (left, left + width, top + height, top)
    shown = image[..., 0] if channels == 1 else image
    axes.imshow(shown, cmap="gray", vmin=0.0, vmax=1.0, extent=extent)


def _frame(axes: Any, shape: tuple[int, ...], place: tuple[int, int]) -> None:
    from matplotlib.patches import Rectangle

    top, left = np.asarray(place) * _pitch(shape)
    style = {"fill": False, "edgecolor": base.ORANGE, "linewidth": 1.5, "clip_on": False}
    axes.add_patch(Rectangle((left, top), shape[1], shape[0], **style))


def _name_rows(axes: Any, shape: tuple[int, ...], names: Mapping[Any, str]) -> None:
    middles = np.asarray(list(names)) * _pitch(shape)[0] + shape[0] / 2
    axes.set_yticks(middles, list(names.values()))
    axes.tick_params(axis="y", length=0, labelsize=base.TICK)


def _name_columns(axes: Any, shape: tuple[int, ...], names: Mapping[int, str]) -> None:
    middles = np.asarray(list(names)) * _pitch(shape)[1] + shape[1] / 2
    axes.xaxis.tick_top()
    axes.set_xticks(middles, list(names.values()))
    axes.tick_params(axis="x", length=0, labelsize=base.TICK)


def _written(values: np.ndarray) -> list[str]:
    """Returns values in words, every other one where they are many."""
    places, step = base.decimals(values), math.ceil(len(values) / 15)
    shown = [base.numeral(value, places) for value in values]
    return [text if index % step == 0 else "" for index, text in enumerate(shown)]
