"""Reusable Keras layers."""

from keras_vae.layers.convolution import Conv2D
from keras_vae.layers.masked import MaskedDense
from keras_vae.layers.normalization import GroupNormalization
from keras_vae.layers.sampling import Sampling, reparameterize

__all__ = ["Conv2D", "GroupNormalization", "MaskedDense", "Sampling", "reparameterize"]
