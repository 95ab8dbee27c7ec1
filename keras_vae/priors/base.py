"""The contract of p(z)."""

from typing import Any

import tensorflow as tf

from keras_vae import distributions
from keras_vae._parts import Part
from keras_vae._types import Given, Tensor


class Prior(Part):
    """p(z): the simple distribution that latents are chosen from.

    A new prior writes `_distribution(given)`: anything with `log_prob(z)` and `sample(n, seed)`;
    elementwise, with D as its last batch axis, if it declares "factorised". `from_noise` makes
    estimates that draw from p(z) faster. It declares:

    Attributes:
        offers: "factorised" if the dimensions are independent.
    """

    offers: frozenset[str] = frozenset()
    shapes = ("latent_dim",)
    latent_dim: int

    def bind(self, given: Given) -> "BoundPrior":
        """Returns p(z) under the side inputs of one batch."""
        return BoundPrior(self._distribution(given), self.offers)

    def from_noise(self, noise: Tensor, given: Given) -> Tensor | None:
        """Hook: draws (S, B, D) made of standard normal noise; None to be drawn from by seeds."""
        return None

    def _distribution(self, given: Given) -> Any:
        """Hook: the distribution of z."""
        raise NotImplementedError


class BoundPrior:
    """p(z) under the side inputs of one batch."""

    def __init__(self, distribution: Any, offers: frozenset[str]) -> None:
        self._distribution = distribution
        self.offers = offers

    def log_prob(self, z: Tensor) -> Tensor:
        """Returns log p(z), (...), in nats, for z (..., D)."""
        elements = self._distribution.log_prob(z)
        return tf.reduce_sum(elements, -1) if "factorised" in self.offers else elements

    def sample(self, n: Tensor | int, seed: Tensor) -> Tensor:
        """Returns n draws, (n, ..., D)."""
        return self._distribution.sample(n, seed=seed)

    def marginals(self) -> Any:
        """Returns the one-dimensional marginals of a factorised prior, batch shape (..., D)."""
        return self._distribution

    def distribution(self) -> Any:
        """Returns p(z) as a distribution over vectors of D."""
        ndims = 1 if "factorised" in self.offers else 0
        return distributions.independent(self._distribution, ndims)
