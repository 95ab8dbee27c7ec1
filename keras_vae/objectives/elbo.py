"""The evidence lower bound."""

import math

import tensorflow as tf

from keras_vae import _checks
from keras_vae._registry import register
from keras_vae._types import LatentPass, LossOutput, Tensor
from keras_vae.objectives.base import (
    STANDARD,
    STICKING,
    Objective,
    batch_mean,
    reconstruction_loss,
)
from keras_vae.schedules import Constant, Schedule


@register("objective", "elbo")
class ELBO(Objective):
    """-E_q[log p(x|z)] + beta KL(q(z|x) || p(z)): the negative evidence lower bound at beta = 1.

    The KL term presses q(z|x) towards p(z); it is taken in closed form where one exists. With a
    schedule the value in force is logged under the argument's name.

    With `capacity` C training follows the reconstruction + beta |KL - C|, and with `free_bits` F
    the KL of each group below F nats counts as F, so that nothing presses it further. What is
    reported is the bound all the same, without either.

    Args:
        beta: Weight of the KL term; a number of at least 0, or a schedule.
        samples: Latents drawn per example.
        capacity: Nats that the KL term is held at, or a schedule; None for no such hold.
        free_bits: Nats of KL in each group (latent dimension, where they are independent, else the
            whole) that are free; a number or a schedule. None for none.
        per_example: Whether `capacity` and `free_bits` go by the KL of each example and not by its
            mean over the global batch.
        gradient: "standard", or "sticking_the_landing": the KL is sampled, and its gradient goes
            through the draw alone, which has no variance left where q(z|x) is the posterior.

    Raises:
        ValueError: for "sticking_the_landing" with `capacity` or `free_bits`, which it would bias.

    References: Kingma and Welling, Auto-Encoding Variational Bayes, 2014, eq. 7; Higgins et al.,
    beta-VAE, 2017, eq. 4; Burgess et al., Understanding disentangling in beta-VAE, 2018, eq. 8;
    Kingma et al., Improved Variational Inference with Inverse Autoregressive Flow, 2016, eq. 15;
    Roeder, Wu and Duvenaud, Sticking the Landing, 2017.
    """

    needs = frozenset({"density", "path"})

    def __init__(
        self,
        beta: float | str | Schedule = 1.0,
        samples: int = 1,
        capacity: float | str | Schedule | None = None,
        free_bits: float | str | Schedule | None = None,
        per_example: bool = False,
        gradient: str = STANDARD,
    ) -> None:
        super().__init__()
        self.beta = self._weight("beta", beta)
        self.samples = _checks.integer("samples", samples, maximum=_checks.WIDEST)
        self.capacity = None if capacity is None else self._weight("capacity", capacity)
        self.free_bits = None if free_bits is None else self._weight("free_bits", free_bits)
        self.per_example = _checks.one_of("per_example", per_example, (True, False))
        self.gradient = _checks.one_of("gradient", gradient, (STANDARD, STICKING))
        self.path = gradient == STICKING
        if self.path and self._holds:
            raise ValueError(
                f"gradient is {STICKING!r} beside capacity or free_bits; expected one or the other:"
                " its gradient is that of the bound alone. Leave one out."
            )

    @property
    def _holds(self) -> bool:
        """Whether training follows another loss than the bound."""
        return self.capacity is not None or self.free_bits is not None

    @property
    def trains_prior(self) -> bool:  # type: ignore[override]
        """Whether a learned prior follows the codes: where the KL term counts."""
        return self.beta != Constant(0.0)

    def _evaluate(self, latent_pass: LatentPass) -> LossOutput:
        reconstruction, kl = reconstruction_loss(latent_pass), latent_pass.draw.kl
        if self.path:
            kl = tf.reduce_mean(latent_pass.draw.log_qz - latent_pass.draw.log_pz, 0)
        beta = self.beta(latent_pass.step)
        groups = {}
        if self._holds:
            followed = reconstruction + beta * self._held(latent_pass)
            groups = dict.fromkeys(("inference", "generative"), followed)
        return self._output(latent_pass, reconstruction + beta * kl, groups, kl_loss=kl)

    def _held(self, latent_pass: LatentPass) -> Tensor:
        """Returns (B,) whose mean has the gradient of the KL under `free_bits` and `capacity`.

        Of a function of the batch's mean it is the derivative, held constant, times the mean.
        """
        parts = latent_pass.draw.kl_parts
        mean = parts if self.per_example else batch_mean(parts, latent_pass.weights)
        floor = -math.inf
        if self.free_bits is not None:
            free = self.free_bits(latent_pass.step)
            # Estimates of the KL may be below 0, which is no floor where nothing is free any more.
            floor = tf.where(free > 0.0, free, floor)
        slope = tf.cast(mean > floor, tf.float32)
        if self.capacity is not None:
            held = tf.reduce_sum(tf.maximum(mean, floor), -1, keepdims=True)
            slope *= tf.sign(held - self.capacity(latent_pass.step))
        return tf.reduce_sum(tf.stop_gradient(slope) * parts, -1)
