"""Normal posteriors."""

import math
from typing import Any

import tensorflow as tf

from keras_vae import distributions
from keras_vae._registry import register
from keras_vae._types import Tensor
from keras_vae.layers import reparameterize
from keras_vae.posteriors.base import Posterior


@register("posterior", "diagonal_normal")
class DiagonalNormal(Posterior):
    """q(z|x) = prod_d Normal(z_d; mean_d(x), stddev_d(x)^2).

    The parameters are the means, then the log standard deviations.

    Reference: Kingma and Welling, Auto-Encoding Variational Bayes, 2014, eq. 9.
    """

    offers = frozenset({"density", "path", "moments", "marginals", "factorised"})

    def params_size(self, latent_dim: int) -> int:
        """Returns 2 D."""
        return 2 * latent_dim

    def _draw(self, params: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_stddev = tf.split(params, 2, axis=-1)
        # From the noise, not from z: (z - mean) / stddev loses its digits where stddev is small.
        log_qz = -0.5 * tf.square(noise) - log_stddev - 0.5 * math.log(2.0 * math.pi)
        return reparameterize(mean, log_stddev, noise), tf.reduce_sum(log_qz, -1)

    def _distribution(self, params: Tensor) -> Any:
        mean, log_stddev = tf.split(params, 2, axis=-1)
        return distributions.normal(mean, tf.exp(log_stddev))
