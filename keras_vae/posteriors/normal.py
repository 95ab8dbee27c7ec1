"""Normal posteriors."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae import _checks, distributions
from keras_vae._registry import register
from keras_vae._types import Tensor
from keras_vae.layers import reparameterize
from keras_vae.posteriors.base import Posterior

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


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
        log_qz = -0.5 * tf.square(noise) - log_stddev - _HALF_LOG_TWO_PI
        return reparameterize(mean, log_stddev, noise), tf.reduce_sum(log_qz, -1)

    def _distribution(self, params: Tensor) -> Any:
        mean, log_stddev = tf.split(params, 2, axis=-1)
        return distributions.normal(mean, tf.exp(log_stddev))


@register("posterior", "full_normal")
class FullNormal(Posterior):
    """q(z|x) = Normal(z; mean(x), L(x) L(x)^T), with every covariance between dimensions.

    L = diag(s) (I + N), N strictly lower triangular, so that correlations keep their meaning when
    scales shrink. The parameters are the means, log s, and the rows of N: D (D + 3) / 2 numbers.

    Reference: Kingma and Welling, An Introduction to Variational Autoencoders, 2019, section 2.5.1.
    """

    offers = frozenset({"density", "path", "moments", "marginals"})

    def params_size(self, latent_dim: int) -> int:
        """Returns D (D + 3) / 2."""
        return latent_dim * (latent_dim + 3) // 2

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns mean (..., D), log s (..., D) and I + N (..., D, D)."""
        size = self.latent_dim
        mean, log_scale, below = tf.split(params, [size, size, size * (size - 1) // 2], -1)
        # Every place of the matrix looks up its number: those below the diagonal, a 0 or a 1.
        places = np.full([size, size], size * (size - 1) // 2)
        places[np.tril_indices(size, -1)] = np.arange(size * (size - 1) // 2)
        np.fill_diagonal(places, places.max() + 1)
        ones = tf.ones_like(mean[..., :1])
        numbers = tf.concat([below, tf.zeros_like(ones), ones], -1)
        return mean, log_scale, tf.gather(numbers, places, axis=-1)

    def _draw(self, params: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_scale, lower = self._split(params)
        log_qz = -0.5 * tf.square(noise) - log_scale - _HALF_LOG_TWO_PI
        z = reparameterize(mean, log_scale, tf.linalg.matvec(lower, noise))
        return z, tf.reduce_sum(log_qz, -1)

    def _distribution(self, params: Tensor) -> Any:
        mean, log_scale, lower = self._split(params)
        return distributions.full_normal(mean, tf.exp(log_scale)[..., None] * lower)

    def _marginals(self, params: Tensor) -> Any:
        whole = self._distribution(params)
        return distributions.normal(whole.mean(), whole.stddev())


@register("posterior", "low_rank_normal")
class LowRankNormal(Posterior):
    """q(z|x) = Normal(z; mean(x), S (I + V V^T) S), S = diag(s(x)), V(x) of few columns.

    The parameters are the means, log s, and the rows of V: D (2 + rank) numbers, and the density
    costs D rank^2 in place of D^3.

    Args:
        rank: Columns of V.

    Reference: Rezende, Mohamed and Wierstra, Stochastic Backpropagation, 2014, section 4.3 (rank
    one, of the precision).
    """

    offers = frozenset({"density", "path", "moments", "marginals"})

    def __init__(self, rank: int = 4) -> None:
        super().__init__()
        self.rank = _checks.integer("rank", rank, maximum=_checks.WIDEST)

    def params_size(self, latent_dim: int) -> int:
        """Returns D (2 + rank)."""
        return latent_dim * (2 + self.rank)

    @property
    def noise_size(self) -> int:
        """D + rank."""
        return self.latent_dim + self.rank

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns mean (..., D), log s (..., D) and V (..., D, rank)."""
        size = self.latent_dim
        mean, log_scale, flat = tf.split(params, [size, size, size * self.rank], -1)
        return mean, log_scale, tf.reshape(flat, [-1, size, self.rank])

    def _draw(self, params: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_scale, factor = self._split(params)
        own, common = tf.split(noise, [self.latent_dim, self.rank], -1)
        scaled = own + tf.linalg.matvec(factor, common)
        z = reparameterize(mean, log_scale, scaled)
        return z, self._scaled_log_prob(log_scale, factor, scaled)

    def _log_prob(self, params: Tensor, z: Tensor) -> Tensor:
        mean, log_scale, factor = self._split(params)
        return self._scaled_log_prob(log_scale, factor, (z - mean) * tf.exp(-log_scale))

    def _scaled_log_prob(self, log_scale: Tensor, factor: Tensor, scaled: Tensor) -> Tensor:
        """Returns log q(z|x), (..., B), for scaled = S^-1 (z - mean), (..., B, D).

        w^T (I + V V^T)^-1 w is the least |w - V e|^2 + |e|^2 over e: squares alone, where
        Woodbury's identity subtracts large numbers.
        """
        lower = distributions.low_rank_root(factor)
        common = tf.linalg.matvec(factor, scaled, transpose_a=True)[..., None]
        half = tf.linalg.triangular_solve(lower, common)
        common = tf.linalg.triangular_solve(lower, half, adjoint=True)[..., 0]
        own = scaled - tf.linalg.matvec(factor, common)
        squares = tf.reduce_sum(tf.square(own), -1) + tf.reduce_sum(tf.square(common), -1)
        log_volume = tf.reduce_sum(log_scale + _HALF_LOG_TWO_PI, -1)
        log_volume += tf.reduce_sum(tf.math.log(tf.linalg.diag_part(lower)), -1)
        return -0.5 * squares - log_volume

    def _distribution(self, params: Tensor) -> Any:
        mean, log_scale, factor = self._split(params)
        scale = tf.exp(log_scale)
        return distributions.low_rank_normal(mean, scale**2, scale[..., None] * factor)

    def _marginals(self, params: Tensor) -> Any:
        whole = self._distribution(params)
        return distributions.normal(whole.mean(), whole.stddev())
