"""p(z): where latents come from when nothing is observed."""

from keras_vae.priors.base import BoundPrior, Prior
from keras_vae.priors.normal import StandardNormal

__all__ = ["BoundPrior", "Prior", "StandardNormal"]
