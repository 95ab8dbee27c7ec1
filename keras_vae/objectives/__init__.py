"""What training minimises."""

from keras_vae.objectives.base import Objective, reconstruction_loss
from keras_vae.objectives.elbo import ELBO
from keras_vae.objectives.reconstruction import Reconstruction

__all__ = ["ELBO", "Objective", "Reconstruction", "reconstruction_loss"]
