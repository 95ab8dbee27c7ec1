"""The contract of q(z|x): from the encoder's features to a distribution over latents."""

import math
from typing import Any

import keras
import tensorflow as tf

from keras_vae import distributions
from keras_vae._parts import Part
from keras_vae._types import Tensor


class Posterior(Part):
    """q(z|x). A posterior maps noise to z; it never draws.

    A new posterior writes `params_size(latent_dim)`, `_draw(params, noise)` and
    `_distribution(params)` (elementwise if factorised) or `_log_prob(params, z)`. Where the
    distribution does not know its moments or marginals, it overrides `_mean`, `_stddev`,
    `_covariance` or `_marginals`. It declares:

    Attributes:
        offers: Which of these it can do: "density" (q(z|x) can be evaluated), "path" (gradients
            pass through the draw), "moments" (mean and covariance), "marginals" (one-dimensional
            marginals can be evaluated), "factorised" (the dimensions are independent).
        density_passes: How many passes through a network q(z|x) takes at a z that it did not draw.
    """

    offers: frozenset[str] = frozenset()
    density_passes: int = 0
    shapes = ("features_shape", "latent_dim")
    latent_dim: int

    def _setup(self, features_shape: tuple[int, ...], latent_dim: int) -> None:
        self.projection = keras.layers.Dense(
            self.params_size(latent_dim), dtype="float32", name="projection"
        )
        self.projection.build((None, math.prod(features_shape)))

    def params_size(self, latent_dim: int) -> int:
        """Returns how many numbers describe q(z|x) of one example."""
        raise NotImplementedError

    @property
    def noise_size(self) -> int:
        """How many standard normal numbers one draw takes."""
        return self.latent_dim

    def bind(self, features: Tensor) -> "BoundPosterior":
        """Returns q(z|x) for the features (B, ...) of one batch."""
        flat = tf.reshape(features, [tf.shape(features)[0], math.prod(features.shape[1:])])
        return BoundPosterior(self, self.projection(tf.cast(flat, tf.float32)))

    def _draw(self, params: Tensor, noise: Tensor) -> tuple[Tensor, Tensor | None]:
        """Hook: z (S, B, D), and log q(z|x) (S, B) if it comes with the draw, else None."""
        raise NotImplementedError

    def _distribution(self, params: Tensor) -> Any:
        """Hook: the distribution; elementwise with batch shape (B, D) if factorised."""
        raise NotImplementedError

    def _log_prob(self, params: Tensor, z: Tensor) -> Tensor:
        """Hook: log q(z|x), (..., B), for z (..., B, D)."""
        elements = self._distribution(params).log_prob(z)
        return tf.reduce_sum(elements, -1) if "factorised" in self.offers else elements

    def _mean(self, params: Tensor) -> Tensor:
        return self._distribution(params).mean()

    def _stddev(self, params: Tensor) -> Tensor:
        return self._distribution(params).stddev()

    def _covariance(self, params: Tensor) -> Tensor:
        distribution = self._distribution(params)
        if "factorised" in self.offers:
            return tf.linalg.diag(distribution.variance())
        return distribution.covariance()

    def _marginals(self, params: Tensor) -> Any:
        return self._distribution(params)


class BoundPosterior:
    """q(z|x) of one batch. `params` (B, P) are float32."""

    def __init__(self, posterior: Posterior, params: Tensor) -> None:
        self._posterior = posterior
        self._params = params
        self.offers = posterior.offers
        self.noise_size = posterior.noise_size

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Returns z (S, B, D) and log q(z|x) (S, B) for noise (S, B, N)."""
        z, log_qz = self._posterior._draw(self._params, noise)
        return z, self.log_prob(z) if log_qz is None else log_qz

    def log_prob(self, z: Tensor) -> Tensor:
        """Returns log q(z|x), (..., B), for z (..., B, D); other leading axes broadcast."""
        return self._posterior._log_prob(self._params, z)

    def detached_log_prob(self, z: Tensor) -> Tensor:
        """Returns `log_prob(z)` whose gradient reaches z alone.

        Neither the parameters nor the posterior's own weights receive any: within the scope every
        weight reads as its detached value.
        """
        variables = self._posterior.trainable_variables
        detached = [(v, tf.stop_gradient(tf.convert_to_tensor(v))) for v in variables]
        with keras.StatelessScope(detached):
            return self._posterior._log_prob(tf.stop_gradient(self._params), z)

    def mean(self) -> Tensor:
        """Returns the mean of q(z|x), (B, D)."""
        return self._posterior._mean(self._params)

    def stddev(self) -> Tensor:
        """Returns the standard deviation of each latent dimension, (B, D)."""
        return self._posterior._stddev(self._params)

    def covariance(self) -> Tensor:
        """Returns the covariance of q(z|x), (B, D, D)."""
        return self._posterior._covariance(self._params)

    def marginals(self) -> Any:
        """Returns the one-dimensional marginals, batch shape (B, D)."""
        return self._posterior._marginals(self._params)

    def distribution(self) -> Any:
        """Returns q(z|x) as a TensorFlow Probability distribution over vectors of D."""
        distribution = self._posterior._distribution(self._params)
        elementwise = distribution.event_shape.rank == 0
        return distributions.independent(distribution, 1 if elementwise else 0)

    def rows(self, index: Tensor) -> "BoundPosterior":
        """Returns q(z|x) of the examples at `index`."""
        return BoundPosterior(self._posterior, tf.gather(self._params, index))
