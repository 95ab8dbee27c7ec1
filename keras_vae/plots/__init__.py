"""Arrays in, matplotlib figures out. Nothing global is touched; matplotlib loads on use.

Every function draws into the `axes` or the `figure` it is given, or into a new figure, and returns
the Figure that was drawn in. Latent dimensions are counted from 0, as in `z[:, 0]`.
"""

from keras_vae.plots.base import BLUE, GREEN, ORANGE, kl_order
from keras_vae.plots.codes import linear, plane_codes, spherical, traversal_codes
from keras_vae.plots.curves import history
from keras_vae.plots.gaps import latent_gaps
from keras_vae.plots.images import (
    image_grid,
    interpolations,
    is_image,
    latent_plane,
    mosaic,
    pixels,
    reconstructions,
    traversals,
)
from keras_vae.plots.latents import kl_per_dimension, latent_scatter
from keras_vae.plots.scores import roc_curves, score_histograms
from keras_vae.plots.tables import histograms, pair_plot

__all__ = [
    "BLUE",
    "GREEN",
    "ORANGE",
    "histograms",
    "history",
    "image_grid",
    "interpolations",
    "is_image",
    "kl_order",
    "kl_per_dimension",
    "latent_gaps",
    "latent_plane",
    "latent_scatter",
    "linear",
    "mosaic",
    "pair_plot",
    "pixels",
    "plane_codes",
    "reconstructions",
    "roc_curves",
    "score_histograms",
    "spherical",
    "traversal_codes",
    "traversals",
]
