"""Normal priors."""

from typing import Any

import keras
import tensorflow as tf

from keras_vae import distributions
from keras_vae._registry import register
from keras_vae._types import Given, Tensor
from keras_vae.layers import reparameterize
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


@register("prior", "conditional_normal")
class ConditionalNormal(Prior):
    """p(z|y) = Normal(mu(y), diag(sigma(y)^2)), each linear in the condition y, sigma in its log.

    Of classes, each has a normal of its own. It starts as the standard normal. Only a model made
    with `condition=` can have it.

    Reference: Sohn, Lee and Yan, Learning Structured Output Representation using Deep Conditional
    Generative Models, 2015, section 4.1.
    """

    offers = frozenset({"factorised"})
    conditional = True

    def _setup(self, latent_dim: int) -> None:
        size = self.network_input.condition_size if self.network_input else 0
        if not size:
            raise ValueError(
                "The prior 'conditional_normal' needs a model with a condition; expected "
                "condition=... beside it, or another prior, such as 'standard_normal'."
            )
        self.projection = keras.layers.Dense(
            2 * latent_dim, kernel_initializer="zeros", dtype="float32", name="projection"
        )
        self.projection.build((None, size))

    def _moments(self, given: Given) -> tuple[Tensor, Tensor]:
        """Returns the mean and the logarithm of the standard deviation, each (B, D)."""
        mean, log_stddev = tf.split(self.projection(given.condition), 2, -1)
        return mean, log_stddev

    def _distribution(self, given: Given) -> Any:
        mean, log_stddev = self._moments(given)
        return distributions.normal(mean, tf.exp(log_stddev))

    def from_noise(self, noise: Tensor, given: Given) -> Tensor:
        """Returns draws (S, B, D) made of noise (S, B, D)."""
        return reparameterize(*self._moments(given), noise)
