"""The figures that show what a model has learned."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vae import plots
from keras_vae.evaluation.base import active_dimensions, kl_per_dimension
from keras_vae.model import VAE
from keras_vae.plots.base import decoded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: How many examples or samples a figure shows.
PAIRS, SAMPLES, LINES, ROWS, STEPS = 20, 64, 6, 10, 9
#: How far a traversal goes from 0, in standard deviations of the prior.
REACH = 2.5


def figures(
    vae: VAE,
    x: np.ndarray,
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
        x: Examples (n, E), some hundreds or thousands; pictures show the first of them.
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
        if _finite(encoding.mean):
            made |= _of_moves(vae, x, kl)
    elif len(vae.event_shape) == 1:
        made |= _of_columns(vae, x, column_names, seed)
    return made


def _finite(*values: np.ndarray) -> bool:
    return all(bool(np.isfinite(each).all()) for each in values)


def _drawn(
    name: str, draw: Callable[..., "Figure"], *values: Any, **options: Any
) -> dict[str, Any]:
    """Returns what `draw` makes of values by its name, or nothing where one is not finite."""
    return {name: draw(*values, **options)} if _finite(*values) else {}


def _of_latents(
    encoding: Any, kl: np.ndarray | None, labels: Any, names: Sequence[str]
) -> dict[str, "Figure"]:
    labels, names = _coloured_by(labels, names)
    mean, stddev = encoding.mean, encoding.stddev
    made = {}
    if _finite(mean, stddev):
        title = "Codes of the test set"
        made["latents"] = plots.latent_scatter(mean, labels, stddev, names, title)
    if kl is not None and _finite(mean):
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


def _of_columns(vae: VAE, x: np.ndarray, names: Sequence[str], seed: Any) -> dict[str, "Figure"]:
    samples = vae.sample(max(len(x), 1000), seed=seed).x
    made = _drawn("histograms", plots.histograms, x, samples, names=names)
    if vae.event_shape[0] > 1:
        made |= _drawn("pairs", plots.pair_plot, x, samples, names=names)
    return made


def _of_images(vae: VAE, x: np.ndarray, seed: Any) -> dict[str, "Figure"]:
    """Returns the figures that need no codes."""
    pairs, title = x[:PAIRS], "Test examples and reconstructions"
    means = vae.reconstruct(pairs)
    made = _drawn("reconstructions", plots.reconstructions, pairs, means, title=title)
    means, title = vae.sample(SAMPLES, seed=seed).mean, "Samples from p(z), means"
    made |= _drawn("samples", plots.image_grid, means, title=title)
    if vae.latent.output_dim == 2:
        images = vae.decode(plots.plane_codes())
        made |= _drawn("plane", plots.latent_plane, images, title="The latent plane")
    return made


def _of_moves(vae: VAE, x: np.ndarray, kl: np.ndarray | None) -> dict[str, "Figure"]:
    """Returns the figures of what is decoded on the way from codes of examples, all finite."""
    made: dict[str, Figure] = {}
    count = min(LINES, len(x) // 2)
    kinds = {"interpolations": ("linear", "Lines"), "arcs": ("spherical", "Arcs")}
    for name, (method, word) in kinds.items() if count else ():
        between = vae.interpolate(x[:count], x[count : 2 * count], STEPS, method)
        title = f"{word} between the codes of test examples"
        made |= _drawn(name, plots.interpolations, between, title=title)
    if kl is not None and _finite(kl):
        images, values = traversals(vae, x, kl)
        title = "Each latent by itself"
        made |= _drawn("traversals", plots.traversals, images, kl, values, title=title)
    return made


def traversals(
    vae: VAE, x: np.ndarray, kl: np.ndarray, rows: int = ROWS
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what the decoder makes of the first example's code, one dimension changed at a time.

    Args:
        vae: The model.
        x: Examples (n, E), of which the first is encoded.
        kl: KL of each dimension, (D,).
        rows: At most so many dimensions, those of the highest KL.

    Returns: images (rows, steps, E), and the values (steps,) the dimensions were set to.
    """
    values = np.linspace(-REACH, REACH, STEPS, dtype=np.float32)
    codes = plots.traversal_codes(vae.encode(x[:1]).mean[0], plots.kl_order(kl, rows), values)
    images = vae.decode(codes.reshape(-1, codes.shape[-1]))
    return images.reshape(*codes.shape[:2], *vae.event_shape), values
