"""Tighter bounds by importance weights, and mixtures of them with the evidence lower bound."""

import tensorflow as tf

from keras_vae import _checks
from keras_vae._registry import register
from keras_vae._types import LatentPass, LossOutput, Tensor
from keras_vae.estimators import importance_weighted_bound, log_mean_exp
from keras_vae.objectives.base import (
    DOUBLY,
    STANDARD,
    STICKING,
    Objective,
    log_weights,
    reconstruction_loss,
)
from keras_vae.schedules import Schedule


class _ImportanceWeighted(Objective):
    """What the bounds by importance weights have in common: their draws, terms and gradient."""

    needs = frozenset({"density", "path"})

    def _set(self, samples: int, gradient: str = STANDARD) -> None:
        self.samples = samples
        self.gradient = _checks.one_of("gradient", gradient, (STANDARD, STICKING, DOUBLY))
        if gradient == STICKING and samples > 1:
            raise ValueError(
                f"gradient is {STICKING!r} with {samples} samples, where it is biased (Tucker et "
                f"al., 2018); expected one sample. Choose gradient={DOUBLY!r}."
            )
        self.path = gradient != STANDARD

    def _bound(self, latent_pass: LatentPass) -> Tensor:
        """Returns the importance-weighted bound of all draws, (B,)."""
        draw = latent_pass.draw
        return importance_weighted_bound(latent_pass.log_px, draw.log_pz, draw.log_qz)


@register("objective", "iwae")
class IWAE(_ImportanceWeighted):
    """-log (1/K) sum_k p(x, z_k) / q(z_k|x): the negative importance-weighted bound.

    It is nearer to log p(x) the more samples there are, and with one it is the sampled evidence
    lower bound. The decoder learns better from it; the standard gradient of the encoder drowns in
    noise as the samples grow, the doubly reparameterised one does not.

    Args:
        samples: K, latents drawn per example.
        gradient: "standard", "dreg" (doubly reparameterised: no gradient through log q(z|x), and
            that of the draws weighted by the squares of the normalised weights), or
            "sticking_the_landing", for one sample only.

    Raises:
        ValueError: for "sticking_the_landing" with several samples, where it is biased.

    References: Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, 2016, eq. 8;
    Tucker, Lawson, Gu and Maddison, Doubly Reparameterized Gradient Estimators, 2018, eq. 8.
    """

    def __init__(self, samples: int = 5, gradient: str = STANDARD) -> None:
        super().__init__()
        self._set(_checks.integer("samples", samples, maximum=_checks.WIDEST), gradient)

    def _evaluate(self, latent_pass: LatentPass) -> LossOutput:
        gate = latent_pass.draw.path
        if self.gradient == DOUBLY and gate is not None:
            gate.weights = tf.nn.softmax(log_weights(latent_pass), axis=0)
        return self._output(latent_pass, -self._bound(latent_pass))


@register("objective", "miwae")
class MIWAE(_ImportanceWeighted):
    """-(1/M) sum_m log (1/K) sum_k w_mk: the mean of M importance-weighted bounds of K samples.

    M lowers the variance of the encoder's gradient, K tightens the bound. M = 1 is IWAE, K = 1 the
    sampled evidence lower bound. (Not the bound for missing data of the same abbreviation.)

    Args:
        bounds: M.
        samples_per_bound: K.

    Reference: Rainforth et al., Tighter Variational Bounds are Not Necessarily Better, 2018,
    section 6.1.
    """

    def __init__(self, bounds: int = 4, samples_per_bound: int = 4) -> None:
        super().__init__()
        self.bounds = _checks.integer("bounds", bounds, maximum=_checks.WIDEST)
        self.samples_per_bound = _checks.integer(
            "samples_per_bound", samples_per_bound, maximum=_checks.WIDEST
        )
        self._set(self.bounds * self.samples_per_bound)

    def _evaluate(self, latent_pass: LatentPass) -> LossOutput:
        return self._output(latent_pass, self._loss(latent_pass))

    def _loss(self, latent_pass: LatentPass) -> Tensor:
        """Returns the mean over M of the bounds by K, (B,), negative."""
        weights = log_weights(latent_pass)  # (M K, B)
        grouped = tf.reshape(weights, [self.bounds, self.samples_per_bound, -1])
        return -tf.reduce_mean(log_mean_exp(grouped, 1), 0)


@register("objective", "piwae")
class PIWAE(MIWAE):
    """The decoder follows IWAE with M K samples, and the encoder MIWAE with M bounds of K.

    What is reported is the importance-weighted bound of all M K samples.

    Args:
        bounds: M.
        samples_per_bound: K.

    Reference: Rainforth et al., Tighter Variational Bounds are Not Necessarily Better, 2018,
    section 6.3.
    """

    def _evaluate(self, latent_pass: LatentPass) -> LossOutput:
        groups = {"inference": self._loss(latent_pass)}
        return self._output(latent_pass, -self._bound(latent_pass), groups)


@register("objective", "ciwae")
class CIWAE(_ImportanceWeighted):
    """A weighted mean of the evidence lower bound and the importance-weighted one.

    Args:
        elbo_weight: Weight of the evidence lower bound, a number in [0, 1] or a schedule; the other
            has the rest.
        samples: K, latents drawn per example.

    Reference: Rainforth et al., Tighter Variational Bounds are Not Necessarily Better, 2018,
    section 6.2.
    """

    def __init__(self, elbo_weight: float | str | Schedule = 0.5, samples: int = 5) -> None:
        super().__init__()
        self.elbo_weight = self._weight("elbo_weight", elbo_weight, maximum=1.0)
        self._set(_checks.integer("samples", samples, maximum=_checks.WIDEST))

    def _evaluate(self, latent_pass: LatentPass) -> LossOutput:
        share = self.elbo_weight(latent_pass.step)
        elbo = -reconstruction_loss(latent_pass) - latent_pass.draw.kl
        tighter = self._bound(latent_pass)
        return self._output(latent_pass, -(share * elbo + (1.0 - share) * tighter))
