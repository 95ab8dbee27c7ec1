"""p(z): where latents come from when nothing is observed."""

from keras_vae.priors.base import BoundPrior, Prior
from keras_vae.priors.flow import Flow
from keras_vae.priors.mixture import Mixture
from keras_vae.priors.normal import ConditionalNormal, StandardNormal
from keras_vae.priors.vamp import Vamp

__all__ = ["BoundPrior", "ConditionalNormal", "Flow", "Mixture", "Prior", "StandardNormal", "Vamp"]
