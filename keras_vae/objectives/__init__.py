"""What training minimises."""

from keras_vae._types import LossOutput
from keras_vae.objectives.adversarial import Factor, permute_dimensions
from keras_vae.objectives.base import Objective, reconstruction_loss
from keras_vae.objectives.disentangling import DIP, MMD, TotalCorrelation
from keras_vae.objectives.elbo import ELBO
from keras_vae.objectives.importance import CIWAE, IWAE, MIWAE, PIWAE
from keras_vae.objectives.reconstruction import Reconstruction

__all__ = [
    "CIWAE",
    "DIP",
    "ELBO",
    "IWAE",
    "LossOutput",
    "MIWAE",
    "MMD",
    "PIWAE",
    "Factor",
    "Objective",
    "Reconstruction",
    "TotalCorrelation",
    "permute_dimensions",
    "reconstruction_loss",
]
