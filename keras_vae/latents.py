"""Latent models: posterior and prior joined into one object that draws.

Only a latent model knows the structure of z. The ordinary one, `Single`, joins one posterior and
one prior; a model of several stochastic layers is another.
"""

import warnings
from typing import Any

import keras
import tensorflow as tf

from keras_vae import _checks, _registry, distributions
from keras_vae._parts import Part
from keras_vae._registry import register
from keras_vae._types import Given, LatentDraw, NetworkInput, PathGate, Tensor
from keras_vae.posteriors import Posterior
from keras_vae.priors import Prior

#: A density of p(z) that takes more passes through a network than this is warned of.
_MOST_PASSES = 1000


class LatentModel(Part):
    """What the VAE asks of its latents.

    A new one writes `_setup(features_shape)` and the four methods below, and sets:

    Attributes:
        latent_dim: D, the length of z as users see it.
        noise_size: N, how many standard normal numbers one draw takes.
        output_dim: F, the length of what the decoder is fed.
        offers: What its posterior offers; see `Posterior`.
        inference_layers: The layers that belong to q(z|x); the rest belongs to the generative side.
        network_input: Set before the weights are made: what the encoder sees.
        examples: How many examples `adapt` would start from.
        density_size: How many numbers log p(z) of one draw is found from at once.
    """

    shapes = ("features_shape",)
    latent_dim: int
    noise_size: int
    output_dim: int
    offers: frozenset[str] = frozenset()
    inference_layers: list[keras.layers.Layer]
    network_input: NetworkInput | None = None
    examples: int = 0
    density_size: int = 0

    def infer(self, features: Tensor, given: Given, noise: Tensor, path: bool) -> LatentDraw:
        """Returns S draws of q(z|x) for noise (S, B, N), with their densities and the KL."""
        raise NotImplementedError

    def generate(self, n: Tensor | int, given: Given, seed: Tensor) -> tuple[Tensor, Tensor]:
        """Returns n draws z (n, D) of p(z), and what the decoder is fed for them, (n, F)."""
        raise NotImplementedError

    def bind(self, features: Tensor) -> Any:
        """Returns the bound posterior q(z|x) of one batch."""
        raise NotImplementedError

    def log_prior(self, z: Tensor, given: Given) -> Tensor:
        """Returns log p(z), (...), for z (..., D)."""
        raise NotImplementedError

    def prior_draws(self, noise: Tensor, given: Given) -> Tensor | None:
        """Hook: draws of p(z) made of standard normal noise (S, B, D); None to draw by seeds."""
        return None

    def adapt(self, inputs: Tensor, conditions: Tensor | None = None) -> None:
        """Hook: starts from network inputs of the data, at most `examples` of them, (n, ...).

        Args:
            inputs: What the encoder sees of examples, (n, ...).
            conditions: What it sees of their conditions, (n, C), or None.
        """

    def to_decoder(self, z: Tensor, given: Given) -> Tensor:
        """Hook: what the decoder is fed, (..., F), for z (..., D); z itself by default."""
        return z


@register("latent", "single")
class Single(LatentModel):
    """One vector of latents with a posterior q(z|x) and a prior p(z).

    Args:
        latent_dim: D.
        posterior: Name, instance or config.
        prior: Name, instance or config.

    Raises:
        ValueError: for a prior that needs of q(z|x) what the posterior does not offer.
    """

    def __init__(
        self,
        latent_dim: int,
        posterior: str | Posterior = "diagonal_normal",
        prior: str | Prior = "standard_normal",
    ) -> None:
        super().__init__()
        self.latent_dim = _checks.integer("latent_dim", latent_dim, maximum=_checks.WIDEST)
        self.posterior = _registry.get("posterior", posterior)
        self.prior = _registry.get("prior", prior)
        self.offers = self.posterior.offers
        self.output_dim = self.latent_dim
        self.inference_layers = [self.posterior]
        self.examples = self.prior.examples
        self.density_size = self.prior.posterior_densities * self.latent_dim
        lacking = self.prior.needs - self.offers
        if lacking:
            raise ValueError(
                f"The prior {self.prior.short_name!r} needs a posterior that offers "
                f"{', '.join(sorted(lacking))}, which {self.posterior.short_name!r} does not. "
                "Choose another posterior, such as 'diagonal_normal', or another prior, such as "
                "'standard_normal'."
            )

    def _setup(self, features_shape: tuple[int, ...]) -> None:
        self.posterior.setup(features_shape, self.latent_dim)
        self.prior.network_input = self.network_input
        self.prior.setup(self.latent_dim)
        self.noise_size = self.posterior.noise_size
        passes = self.prior.posterior_densities * self.posterior.density_passes
        if passes > _MOST_PASSES:
            warnings.warn(
                f"Each density of the prior {self.prior.short_name!r} takes {passes:,} passes "
                f"through the networks of the posterior {self.posterior.short_name!r}, so steps "
                "will be slow; fewer components, steps or latent dimensions make them faster.",
                stacklevel=2,
            )

    def infer(self, features: Tensor, given: Given, noise: Tensor, path: bool) -> LatentDraw:
        """Returns S draws of q(z|x) for noise (S, B, N), with their densities and the KL."""
        q, prior = self.posterior.bind(features), self.prior.bind(given)
        z, log_qz = q.draw(noise)
        gate = None
        if path:
            gate = PathGate()
            z = gate(z)
            log_qz = q.detached_log_prob(z)
        log_pz = prior.log_prob(z)
        kl_parts = self._kl_parts(q, prior, log_qz, log_pz)
        kl = tf.reduce_sum(kl_parts, -1)
        return LatentDraw(z, z, log_qz, log_pz, kl, kl_parts, q, prior, gate)

    def _kl_parts(self, q: Any, prior: Any, log_qz: Tensor, log_pz: Tensor) -> Tensor:
        if "factorised" in q.offers & prior.offers:
            parts = distributions.kl_divergence(q.marginals(), prior.marginals())
            if parts is not None:
                return parts
        whole = None
        if "density" in q.offers:
            whole = distributions.kl_divergence(q.distribution(), prior.distribution())
        if whole is None:
            whole = tf.reduce_mean(log_qz - log_pz, 0)
        return whole[:, None]

    def generate(self, n: Tensor | int, given: Given, seed: Tensor) -> tuple[Tensor, Tensor]:
        """Returns n draws z (n, D) of p(z), twice: the decoder is fed z itself."""
        z = self.prior.bind(given).sample(n, seed)
        return z, z

    def bind(self, features: Tensor) -> Any:
        """Returns the bound posterior q(z|x) of one batch."""
        return self.posterior.bind(features)

    def log_prior(self, z: Tensor, given: Given) -> Tensor:
        """Returns log p(z), (...), for z (..., D)."""
        return self.prior.bind(given).log_prob(z)

    def adapt(self, inputs: Tensor, conditions: Tensor | None = None) -> None:
        """Starts the prior from network inputs of the data, (n, ...)."""
        self.prior.adapt(inputs, conditions)

    def prior_draws(self, noise: Tensor, given: Given) -> Tensor | None:
        """Returns draws of p(z) made of noise (S, B, D), or None where the prior needs seeds."""
        return self.prior.from_noise(noise, given)
