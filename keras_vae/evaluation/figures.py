"""The figures that show what a model has learned."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vae import _checks, _sides, plots
from keras_vae.conditions import Classes
from keras_vae.evaluation.base import FEWEST, active_dimensions, finite, kl_per_dimension
from keras_vae.model import VAE
from keras_vae.plots.base import decoded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: How many examples or samples a figure shows.
PAIRS, SAMPLES, LINES, ROWS, STEPS, COLUMNS = 20, 64, 6, 10, 9, 10
#: How far a traversal goes from 0, in standard deviations of the prior.
REACH = 2.5


def figures(
    vae: VAE,
    x: Any,
    labels: Any = None,
    label_names: Sequence[str] = (),
    column_names: Sequence[str] = (),
    seed: Any = 0,
) -> dict[str, "Figure"]:
    """Returns the figures of a model by name.

    Of every model: `latents` (codes by label, with q(z|x) of a few examples) and
    `kl_per_dimension`. Of images: `reconstructions`, `samples`, `interpolations` (straight lines),
    `arcs` (spherical ones), `traversals`, and with two latents `plane`. Of vectors: `histograms`
    and `pairs` of data against samples. Events that are neither, such as images of two channels,
    get the first two. A model that has diverged has fewer: figures of values that are NaN or
    infinite, of its codes, its KL or what it decodes, are left out.

    Args:
        vae: The model.
        x: Examples (n, E), some hundreds or thousands, as the model's methods take them; pictures
            show the first.
        labels: Numbers or words (n,), or (n, K), of which the first column colours the codes; None
            for none.
        label_names: What the labels 0, 1, ... or the columns of them are called.
        column_names: What the elements of a vector are called.
        seed: Of the samples.
    """
    encoding, kl = vae.encode(x), kl_per_dimension(vae, x)
    made = _of_latents(encoding, kl, labels, label_names)
    if plots.is_image(vae.event_shape):
        made |= _of_images(vae, x, seed)
        if finite(encoding.mean):
            made |= _of_moves(vae, x, kl)
    elif len(vae.event_shape) == 1:
        made |= _of_columns(vae, x, column_names, seed)
    return made


def _drawn(
    name: str, draw: Callable[..., "Figure"], *values: Any, **options: Any
) -> dict[str, Any]:
    """Returns what `draw` makes of values by its name, or nothing where one is not finite."""
    return {name: draw(*values, **options)} if finite(*values) else {}


def _of_latents(
    encoding: Any, kl: np.ndarray | None, labels: Any, names: Sequence[str]
) -> dict[str, "Figure"]:
    labels, names = _coloured_by(labels, names)
    mean, stddev = encoding.mean, encoding.stddev
    made = {}
    if finite(mean, stddev):
        title = "Codes of the test set"
        made["latents"] = plots.latent_scatter(mean, labels, stddev, names, title)
    if kl is not None and finite(mean):
        made |= _drawn("kl_per_dimension", plots.kl_per_dimension, kl, active_dimensions(mean))
    return made


def _coloured_by(labels: Any, names: Sequence[str]) -> tuple[np.ndarray | None, Sequence[str]]:
    """Returns labels (n,), and what the classes among them are called in rising order, if known."""
    if labels is None:
        return None, ()
    labels = decoded(labels)
    if labels.ndim > 1:  # factors: the names are those of the columns
        labels = labels[:, 0]
        whole = labels.dtype.kind != "f" or np.array_equal(labels, np.round(labels))
        return labels, () if whole else names[:1]
    present = np.unique(labels)
    if labels.dtype.kind not in "iu" or present[0] < 0 or present[-1] >= len(names):
        return labels, ()
    return labels, [names[each] for each in present]


def _of_columns(vae: VAE, x: Any, names: Sequence[str], seed: Any) -> dict[str, "Figure"]:
    count = max(_sides.count(x), 1000)
    samples = vae.sample(count, seed=seed, condition=_sides.condition_of(x, count)).x
    x = np.asarray(_sides.event_of(x), np.float32)
    if vae.missing:  # what was observed of each column is drawn from, again and again
        x = _completed(x, seed)
    made = _drawn("histograms", plots.histograms, x, samples, names=names)
    if vae.event_shape[0] > 1:
        made |= _drawn("pairs", plots.pair_plot, x, samples, names=names)
    return made


def _completed(x: np.ndarray, seed: Any) -> np.ndarray:
    """Returns the examples (n, K) without missing entries, or else columns filled by others."""
    whole = x[~np.isnan(x).any(1)]
    if len(whole) >= FEWEST:
        return whole
    rng, filled = np.random.default_rng(np.abs(_checks.seed_pair(seed))), x.copy()
    for column in filled.T:
        lost = np.isnan(column)
        held = column[~lost] if not lost.all() else np.zeros(1, np.float32)
        column[lost] = rng.choice(held, lost.sum())
    return filled


def _of_images(vae: VAE, x: Any, seed: Any) -> dict[str, "Figure"]:
    """Returns the figures that need no codes."""
    pairs, title = _sides.rows(x, slice(PAIRS)), "Test examples and reconstructions"
    means, shown = vae.reconstruct(pairs), _shown(vae, pairs)
    made = _drawn("reconstructions", plots.reconstructions, shown, means, title=title)
    drawn = vae.sample(SAMPLES, seed=seed, condition=_sides.condition_of(x, SAMPLES))
    made |= _drawn("samples", plots.image_grid, drawn.mean, title="Samples from p(z), means")
    if vae.latent.output_dim == 2:
        images = vae.decode(plots.plane_codes(), condition=_sides.condition_of(x, 1))
        made |= _drawn("plane", plots.latent_plane, images, title="The latent plane")
    if isinstance(vae.condition, Classes):
        images, title = conditional_samples(vae, seed=seed), "A row per class, a column per style"
        flat = images.reshape(-1, *vae.event_shape)
        made |= _drawn("classes", plots.image_grid, flat, columns=images.shape[1], title=title)
    return made


def _shown(vae: VAE, x: Any) -> np.ndarray:
    """Returns examples (n, E) to look at, grey where an entry is missing."""
    values = np.asarray(_sides.event_of(x), np.float32)
    return np.nan_to_num(values, nan=0.5) if vae.missing else values


def conditional_samples(vae: VAE, columns: int = COLUMNS, seed: Any = 0) -> np.ndarray:
    """Returns what the same latents are decoded to under each class, (classes, columns, E).

    Down a column the content changes, and along a row the style: what z tells beyond the class.

    Args:
        vae: A model whose condition is one of some classes, of which at most 10 are shown.
        columns: How many latents are drawn of p(z).
        seed: Of the latents.

    Raises:
        ValueError: for a model without classes.
    """
    if not isinstance(vae.condition, Classes):
        raise ValueError(
            f"The model's condition is {vae.condition!r}; expected classes: VAE(..., condition=10)."
        )
    classes = np.arange(min(vae.condition.count, ROWS))
    z = np.concatenate([vae.sample(columns, seed, condition=each).z for each in classes])
    decoded = vae.decode(z, condition=np.repeat(classes, columns))
    return decoded.reshape(len(classes), columns, *vae.event_shape)


def _of_moves(vae: VAE, x: Any, kl: np.ndarray | None) -> dict[str, "Figure"]:
    """Returns the figures of what is decoded on the way from codes of examples, all finite."""
    made: dict[str, Figure] = {}
    count = min(LINES, _sides.count(x) // 2)
    kinds = {"interpolations": ("linear", "Lines"), "arcs": ("spherical", "Arcs")}
    for name, (method, word) in kinds.items() if count else ():
        ends = [_sides.rows(x, slice(n * count, (n + 1) * count)) for n in range(2)]
        between = vae.interpolate(ends[0], ends[1], STEPS, method)
        title = f"{word} between the codes of test examples"
        made |= _drawn(name, plots.interpolations, between, title=title)
    if kl is not None and finite(kl):
        images, values = traversals(vae, x, kl)
        title = "Each latent by itself"
        made |= _drawn("traversals", plots.traversals, images, kl, values, title=title)
    return made


def traversals(vae: VAE, x: Any, kl: np.ndarray, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    """Returns what the decoder makes of the first example's code, one dimension changed at a time.

    Args:
        vae: The model.
        x: Examples (n, E), of which the first is encoded.
        kl: KL of each dimension, (D,).
        rows: At most so many dimensions, those of the highest KL.

    Returns: images (rows, steps, E), and the values (steps,) the dimensions were set to.
    """
    values = np.linspace(-REACH, REACH, STEPS, dtype=np.float32)
    first = _sides.rows(x, slice(1))
    codes = plots.traversal_codes(vae.encode(first).mean[0], plots.kl_order(kl, rows), values)
    condition = _sides.condition_of(first, math.prod(codes.shape[:2]))
    images = vae.decode(codes.reshape(-1, codes.shape[-1]), condition=condition)
    return images.reshape(*codes.shape[:2], *vae.event_shape), values
