"""The contract of p(z), and how a prior is fitted to codes."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_vae import distributions
from keras_vae._parts import Part
from keras_vae._types import Given, NetworkInput, Tensor

#: How a prior is fitted to codes: batches of this size, Adam's rate, at most so many epochs, and
#: so many without a better fit to held-out codes end it.
_BATCH, _RATE, _EPOCHS, _PATIENCE = 256, 1e-3, 300, 15


class Prior(Part):
    """p(z): the simple distribution that latents are chosen from.

    A new prior writes `_distribution(given)`: anything with `log_prob(z)` and `sample(n, seed)`;
    elementwise, with D as its last batch axis, if it declares "factorised". `from_noise` makes
    estimates that draw from p(z) faster. It declares:

    Attributes:
        offers: "factorised" if the dimensions are independent.
        needs: What it asks of the posterior; see `Posterior.offers`.
        posterior_densities: How many densities q(z|u) it evaluates at each z.
        conditional: Whether p(z) depends on the condition; then `_distribution(given)` has a row
            for each one, and `from_noise` is to be written.
        examples: How many examples it would start from, where `adapt` has any for it.
        network_input: Set before the weights are made: what the encoder sees.
    """

    offers: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    posterior_densities: int = 0
    conditional: bool = False
    examples: int = 0
    network_input: NetworkInput | None = None
    shapes = ("latent_dim",)
    latent_dim: int

    def bind(self, given: Given) -> "BoundPrior":
        """Returns p(z) under the side inputs of one batch."""
        return BoundPrior(self._distribution(given), self.offers, self.conditional)

    def from_noise(self, noise: Tensor, given: Given) -> Tensor | None:
        """Hook: draws (S, B, D) made of standard normal noise; None to be drawn from by seeds."""
        return None

    def _distribution(self, given: Given) -> Any:
        """Hook: the distribution of z."""
        raise NotImplementedError

    def adapt(self, inputs: Tensor, conditions: Tensor | None = None) -> None:
        """Hook: starts from network inputs of the data, at most `examples` of them, (n, ...)."""

    def fit_codes(self, codes: np.ndarray, held_out: np.ndarray, given: Given, seed: int) -> None:
        """Fits the weights to codes, draws of q(z); by maximum likelihood unless overridden.

        Training stops when the held-out codes are no longer fitted better, and goes back to the
        weights that fitted them best.

        Args:
            codes: (n, D) float32.
            held_out: Codes of other examples, (m, D).
            given: The side inputs.
            seed: Of the order.

        Raises:
            ValueError: if the prior has no weights to train.
        """
        if not self.trainable_variables:
            raise ValueError(
                f"The prior {self.short_name!r} has no weights that codes could be fitted by; "
                "expected another, such as 'mixture' or 'flow'."
            )
        self._start_at(codes)
        _maximise_likelihood(self, codes, held_out, given, seed)

    def _start_at(self, codes: np.ndarray) -> None:
        """Hook: where maximum likelihood starts, given codes (n, D)."""


def _maximise_likelihood(
    prior: Prior, codes: np.ndarray, held_out: np.ndarray, given: Given, seed: int
) -> None:
    variables = prior.trainable_variables
    optimizer = keras.optimizers.Adam(_RATE)
    optimizer.build(variables)

    def loss(z: Tensor) -> Tensor:
        return -tf.reduce_mean(prior.bind(given).log_prob(z))

    @tf.function(reduce_retracing=True)
    def step(z: Tensor) -> None:
        with tf.GradientTape() as tape:
            value = loss(z)
        optimizer.apply(tape.gradient(value, variables), variables)

    score = tf.function(loss)
    rng = np.random.default_rng(seed)
    best, kept, waited = float(score(held_out)), [v.numpy() for v in variables], 0
    for _ in range(_EPOCHS):
        order = rng.permutation(len(codes))
        for first in range(0, len(codes), _BATCH):
            step(tf.constant(codes[order[first : first + _BATCH]]))
        value = float(score(held_out))
        if value < best:
            best, kept, waited = value, [v.numpy() for v in variables], 0
        else:
            waited += 1
            if waited == _PATIENCE:
                break
    for variable, value in zip(variables, kept):
        variable.assign(value)


class BoundPrior:
    """p(z) under the side inputs of one batch."""

    def __init__(
        self, distribution: Any, offers: frozenset[str], conditional: bool = False
    ) -> None:
        self._distribution = distribution
        self.offers = offers
        self._conditional = conditional

    def log_prob(self, z: Tensor) -> Tensor:
        """Returns log p(z), (...), in nats, for z (..., D)."""
        elements = self._distribution.log_prob(z)
        return tf.reduce_sum(elements, -1) if "factorised" in self.offers else elements

    def sample(self, n: Tensor | int, seed: Tensor) -> Tensor:
        """Returns n draws, (n, D); where they depend on a condition, one for each of its n rows."""
        if not self._conditional:
            return self._distribution.sample(n, seed=seed)
        drawn = self._distribution.sample(seed=seed)
        return tf.broadcast_to(drawn, [n, drawn.shape[-1]])

    def marginals(self) -> Any:
        """Returns the one-dimensional marginals of a factorised prior, batch shape (..., D)."""
        return self._distribution

    def distribution(self) -> Any:
        """Returns p(z) as a distribution over vectors of D."""
        ndims = 1 if "factorised" in self.offers else 0
        return distributions.independent(self._distribution, ndims)
