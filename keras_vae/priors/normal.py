"""Normal priors."""

from typing import Any

import tensorflow as tf

from keras_vae import distributions
from keras_vae._registry import register
from keras_vae._types import Given, Tensor
from keras_vae.priors.base import Prior


@register("prior", "standard_normal")
class StandardNormal(Prior):
    """p(z) = Normal(0, I)."""

    offers = frozenset({"factorised"})

    def _distribution(self, given: Given) -> Any:
        zeros = tf.zeros([self.latent_dim])
        return distributions.normal(zeros, tf.ones_like(zeros))

    def from_noise(self, noise: Tensor, given: Given) -> Tensor:
        """Returns the noise (S, B, D) itself."""
        return noise
