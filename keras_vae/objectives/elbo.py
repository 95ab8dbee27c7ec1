"""The evidence lower bound."""

from typing import Any

import tensorflow as tf

from keras_vae import _checks
from keras_vae._registry import register
from keras_vae._types import LatentPass, LossOutput
from keras_vae.objectives.base import Objective, reconstruction_loss
from keras_vae.schedules import Constant, Schedule


@register("objective", "elbo")
class ELBO(Objective):
    """-E_q[log p(x|z)] + beta KL(q(z|x) || p(z)): the negative evidence lower bound at beta = 1.

    The KL term presses q(z|x) towards p(z); it is taken in closed form where one exists. With a
    scheduled beta the value in force is logged as `beta`.

    Args:
        beta: Weight of the KL term; a number of at least 0, or a schedule.
        samples: Latents drawn per example.

    References: Kingma and Welling, Auto-Encoding Variational Bayes, 2014, eq. 7; Higgins et al.,
    beta-VAE, 2017, eq. 4.
    """

    needs = frozenset({"density", "path"})

    def __init__(self, beta: float | str | Schedule = 1.0, samples: int = 1) -> None:
        super().__init__()
        self.beta = self._weight("beta", beta)
        self.samples = _checks.integer("samples", samples)

    @property
    def terms(self) -> tuple[str, ...]:
        """`reconstruction_loss`, `kl_loss`, and `beta` where it changes."""
        fixed = isinstance(self.beta, Constant)
        return ("reconstruction_loss", "kl_loss") + (() if fixed else ("beta",))

    def _evaluate(self, latent_pass: LatentPass) -> LossOutput:
        reconstruction, kl = reconstruction_loss(latent_pass), latent_pass.draw.kl
        beta = self.beta(latent_pass.step)
        values: dict[str, Any] = {"reconstruction_loss": reconstruction, "kl_loss": kl}
        if "beta" in self.terms:
            values["beta"] = beta * tf.ones_like(kl)
        return LossOutput(reconstruction + beta * kl, values)
