"""Priors made of a normal by invertible maps."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae import _checks, flows
from keras_vae._registry import register
from keras_vae._types import Given, Tensor
from keras_vae.priors.base import Prior


@register("prior", "flow")
class Flow(Prior):
    """p(z): a standard normal behind affine couplings, and a shift and scale of each dimension.

    It starts as Normal(0, I). A draw and a density take one pass each.

    Args:
        steps: Couplings, each of which moves every second dimension; the next moves the others.
        widths: Units of the hidden layers of each coupling's network.
        bound: Of the log-scales, by a hyperbolic tangent.

    References: Dinh, Sohl-Dickstein and Bengio, Density Estimation Using Real NVP, 2017; Chen et
    al., Variational Lossy Autoencoder, 2017, section 3.2 (a flow as prior).
    """

    def __init__(
        self, steps: int = 6, widths: int | Sequence[int] = (64, 64), bound: float = 2.0
    ) -> None:
        super().__init__()
        self.steps = _checks.integer("steps", steps, maximum=_checks.DEEPEST)
        self.widths = _checks.integers("widths", widths)
        self.bound = _checks.number("bound", bound, 0.0, above=True)

    def _setup(self, latent_dim: int) -> None:
        # The reversal between steps swaps odd and even places where D is even, and only there.
        self.chain = [
            flows.AffineCoupling(
                latent_dim, number * latent_dim % 2, self.widths, self.bound, f"step_{number}"
            )
            for number in range(self.steps)
        ]
        self.shift = self.add_weight(name="shift", shape=(latent_dim,), initializer="zeros")
        self.log_scale = self.add_weight(name="log_scale", shape=(latent_dim,), initializer="zeros")

    def from_noise(self, noise: Tensor, given: Given) -> Tensor:
        """Returns draws (S, B, D) of p(z) for noise of that shape."""
        scale = tf.exp(tf.convert_to_tensor(self.log_scale))
        return flows.forward(self.chain, noise)[0] * scale + self.shift

    def _log_prob(self, z: Tensor) -> Tensor:
        log_scale = tf.convert_to_tensor(self.log_scale)
        noise, log_determinant = flows.inverse(self.chain, (z - self.shift) * tf.exp(-log_scale))
        squares = tf.reduce_sum(tf.square(noise) + math.log(2.0 * math.pi), -1)
        return -0.5 * squares - log_determinant - tf.reduce_sum(log_scale)

    def _distribution(self, given: Given) -> Any:
        return _Pushed(self, given)

    def _start_at(self, codes: np.ndarray) -> None:
        self.shift.assign(codes.mean(0))
        self.log_scale.assign(np.log(np.maximum(codes.std(0), 1e-6)))


class _Pushed:
    """The distribution of a flow prior."""

    def __init__(self, prior: Flow, given: Given) -> None:
        self._prior = prior
        self._given = given

    def log_prob(self, z: Tensor) -> Tensor:
        """Returns log p(z), (...), for z (..., D)."""
        return self._prior._log_prob(z)

    def sample(self, n: Tensor | int, seed: Tensor) -> Tensor:
        """Returns n draws, (n, D)."""
        noise = tf.random.stateless_normal([n, self._prior.latent_dim], seed)
        return self._prior.from_noise(noise, self._given)
