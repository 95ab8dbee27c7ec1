"""q(z|x): what the encoder's features say of the latents."""

from keras_vae.posteriors.base import BoundPosterior, Posterior
from keras_vae.posteriors.flow import AutoregressiveFlow
from keras_vae.posteriors.normal import DiagonalNormal, FullNormal, LowRankNormal
from keras_vae.posteriors.point import Point

__all__ = [
    "AutoregressiveFlow",
    "BoundPosterior",
    "DiagonalNormal",
    "FullNormal",
    "LowRankNormal",
    "Point",
    "Posterior",
]
