"""Posteriors made of a normal by invertible maps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae import _checks, distributions, flows
from keras_vae._registry import register
from keras_vae._types import Tensor
from keras_vae.layers import reparameterize
from keras_vae.posteriors.base import Posterior

#: So many draws, and their mirror images, estimate the moments.
_PAIRS = 32


@register("posterior", "autoregressive_flow")
class AutoregressiveFlow(Posterior):
    """q(z|x) is a diagonal normal behind a chain of inverse autoregressive steps.

    Each step maps z to g z + (1 - g) m, where the gate g and m of a dimension are functions of
    those before it and of a context from the encoder, and the order is reversed between steps. A
    draw comes with its density at one pass per step. The density at any other z takes D passes per
    step, which a Vamp prior needs for each of its components and annealed sampling from the
    posterior for each of its leapfrog steps.

    Mean, standard deviation and covariance are estimates from fixed draws, 64 or, if that is more,
    2 D, and exact where the steps are affine; so `encode` and `reconstruct` repeat themselves
    everywhere.

    Args:
        steps: How many.
        widths: Units of the hidden layers of each step's masked network; at least D.
        context: How many numbers from the encoder each step sees.
        gate_bias: Where the gates start, before the sigmoid; the larger, the nearer to the
            identity.
        activation: Of the hidden layers.

    Reference: Kingma et al., Improved Variational Inference with Inverse Autoregressive Flow, 2016,
    eq. 14 and algorithm 1.
    """

    offers = frozenset({"density", "path"})

    def __init__(
        self,
        steps: int = 4,
        widths: int | Sequence[int] = (128, 128),
        context: int = 64,
        gate_bias: float = 2.0,
        activation: str = "elu",
    ) -> None:
        super().__init__()
        self.steps = _checks.integer("steps", steps, maximum=_checks.DEEPEST)
        self.widths = _checks.integers("widths", widths)
        self.context = _checks.integer("context", context, maximum=_checks.WIDEST)
        self.gate_bias = _checks.number("gate_bias", gate_bias)
        self.activation = activation

    def _setup(self, features_shape: tuple[int, ...], latent_dim: int) -> None:
        super()._setup(features_shape, latent_dim)
        self.density_passes = self.steps * latent_dim
        self.chain = [
            flows.GatedAutoregressive(
                latent_dim,
                self.context,
                self.widths,
                self.activation,
                self.gate_bias,
                f"step_{number}",
            )
            for number in range(self.steps)
        ]

    def params_size(self, latent_dim: int) -> int:
        """Returns 2 D + context."""
        return 2 * latent_dim + self.context

    def _split(self, params: Tensor) -> list[Tensor]:
        """Returns mean and log standard deviation of the normal, each (B, D), and the context."""
        return tf.split(params, [self.latent_dim, self.latent_dim, self.context], -1)

    def _draw(self, params: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_stddev, context = self._split(params)
        base = distributions.normal(tf.zeros_like(mean), 1.0).log_prob(noise) - log_stddev
        start = reparameterize(mean, log_stddev, noise)
        z, log_determinant = flows.forward(self.chain, start, context)
        return z, tf.reduce_sum(base, -1) - log_determinant

    def _log_prob(self, params: Tensor, z: Tensor) -> Tensor:
        mean, log_stddev, context = self._split(params)
        start, log_determinant = flows.inverse(self.chain, z + tf.zeros_like(mean), context)
        base = distributions.normal(mean, tf.exp(log_stddev)).log_prob(start)
        return tf.reduce_sum(base, -1) - log_determinant

    def _distribution(self, params: Tensor) -> Any:
        mean, log_stddev, context = self._split(params)
        normal = distributions.normal(mean, tf.exp(log_stddev))
        return distributions.transformed(
            distributions.independent(normal, 1),
            lambda x: flows.forward(self.chain, x, context),
            lambda y: flows.inverse(self.chain, y, context),
        )

    def _fixed_draws(self, params: Tensor) -> Tensor:
        """Returns draws (2 P, B, D) for noise of mean 0 and identity covariance, ever the same."""
        pairs = max(_PAIRS, self.noise_size)
        basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(pairs, self.noise_size)))
        half = np.sqrt(pairs) * basis
        noise = tf.constant(np.concatenate([half, -half])[:, None], tf.float32)
        shape = [2 * pairs, tf.shape(params)[0], self.noise_size]
        return self._draw(params, tf.broadcast_to(noise, shape))[0]

    def _mean(self, params: Tensor) -> Tensor:
        return tf.reduce_mean(self._fixed_draws(params), 0)

    def _stddev(self, params: Tensor) -> Tensor:
        return tf.math.reduce_std(self._fixed_draws(params), 0)

    def _covariance(self, params: Tensor) -> Tensor:
        draws = self._fixed_draws(params)
        centred = draws - tf.reduce_mean(draws, 0)
        count = tf.cast(tf.shape(draws)[0], tf.float32)
        return tf.einsum("sbi,sbj->bij", centred, centred) / count
