"""A posterior without spread, which makes a plain autoencoder."""

from typing import Any

import tensorflow as tf

from keras_vae import distributions
from keras_vae._registry import register
from keras_vae._types import Tensor
from keras_vae.posteriors.base import Posterior


@register("posterior", "point")
class Point(Posterior):
    """q(z|x) is a point mass at the code of x: the deterministic encoder of an autoencoder.

    It has no density, so there is no KL term, no bound and no likelihood to estimate; use it with
    the objective "reconstruction", or "mmd" for a Wasserstein autoencoder.
    """

    offers = frozenset({"path"})

    def params_size(self, latent_dim: int) -> int:
        """Returns D."""
        return latent_dim

    def _draw(self, params: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        z = params + tf.zeros_like(noise)
        return z, tf.zeros(tf.shape(noise)[:2])

    def _distribution(self, params: Tensor) -> Any:
        return distributions.point(params)
