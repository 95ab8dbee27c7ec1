"""The figures that show what a model has learned."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vae import plots
from keras_vae.evaluation.base import active_dimensions, kl_per_dimension, named
from keras_vae.model import VAE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: How many examples or samples a figure shows.
PAIRS, SAMPLES, LINES, ROWS, STEPS = 20, 64, 6, 10, 9
#: How far a traversal goes from 0, in standard deviations of the prior.
REACH = 2.5


def figures(
    vae: VAE,
    x: np.ndarray,
    labels: np.ndarray | None = None,
    label_names: Sequence[str] = (),
    column_names: Sequence[str] = (),
    seed: Any = 0,
) -> dict[str, "Figure"]:
    """Returns the figures of a model by name.

    Of every model: `latents` (codes by label, with q(z|x) of a few examples) and
    `kl_per_dimension`. Of images: `reconstructions`, `samples`, `interpolations` (straight lines),
    `arcs` (spherical ones), `traversals`, and with two latents `plane`. Of vectors: `histograms`
    and `pairs` of data against samples. Events that are neither, such as images of two channels,
    get the first two.

    Args:
        vae: The model.
        x: Examples (n, E), some hundreds or thousands; pictures show the first of them.
        labels: (n,), or (n, K), of which the first column colours the codes; None for none.
        label_names: What the labels 0, 1, ... or the columns of them are called.
        column_names: What the elements of a vector are called.
        seed: Of the samples.
    """
    made = _of_latents(vae, x, labels, label_names)
    if plots.is_image(vae.event_shape):
        made |= _of_images(vae, x, seed)
    elif len(vae.event_shape) == 1:
        drawn = vae.sample(max(len(x), 1000), seed=seed).x
        made["histograms"] = plots.histograms(x, drawn, column_names)
        if vae.event_shape[0] > 1:
            made["pairs"] = plots.pair_plot(x, drawn, column_names)
    return made


def _of_latents(vae: VAE, x: np.ndarray, labels: Any, names: Sequence[str]) -> dict[str, "Figure"]:
    encoding = vae.encode(x)
    if labels is not None and np.ndim(labels) > 1:  # factors: the names are those of the columns
        labels = labels[:, 0]
        names = () if np.array_equal(labels, np.round(labels)) else names[:1]
    elif labels is not None:
        labels, names = named(labels, names), ()
    made = {
        "latents": plots.latent_scatter(
            encoding.mean, labels, encoding.stddev, names, "Codes of the test set"
        )
    }
    kl = kl_per_dimension(vae, x)
    if kl is not None:
        made["kl_per_dimension"] = plots.kl_per_dimension(kl, active_dimensions(encoding.mean))
    return made


def _of_images(vae: VAE, x: np.ndarray, seed: Any) -> dict[str, "Figure"]:
    pairs, count = x[:PAIRS], min(LINES, len(x) // 2)
    made = {
        "reconstructions": plots.reconstructions(
            pairs, vae.reconstruct(pairs), "Test examples and reconstructions"
        ),
        "samples": plots.image_grid(
            vae.sample(SAMPLES, seed=seed).mean, title="Samples from p(z), means"
        ),
    }
    kinds = {"interpolations": ("linear", "Lines"), "arcs": ("spherical", "Arcs")}
    for name, (method, word) in kinds.items() if count else ():
        between = vae.interpolate(x[:count], x[count : 2 * count], STEPS, method)
        made[name] = plots.interpolations(between, f"{word} between the codes of test examples")
    kl = kl_per_dimension(vae, x)
    if kl is not None:
        images, values = traversals(vae, x, kl)
        made["traversals"] = plots.traversals(images, kl, values, title="Each latent by itself")
    if vae.latent.output_dim == 2:
        images = vae.decode(plots.plane_codes())
        made["plane"] = plots.latent_plane(images, title="The latent plane")
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
