"""Objectives with a network of their own."""

import keras
import tensorflow as tf

from keras_vae import _checks
from keras_vae._registry import register
from keras_vae._types import LatentPass, LossOutput, Tensor
from keras_vae.objectives.base import Objective, reconstruction_loss
from keras_vae.schedules import Schedule


@register("objective", "factor")
class Factor(Objective):
    """The evidence lower bound and weight TC(z), by a discriminator's odds: FactorVAE.

    The discriminator learns to tell codes from codes whose dimensions were shuffled over the batch,
    each by itself; the logarithm of its odds estimates the total correlation. It follows its own
    loss, the model follows the bound, and neither moves the other's weights; one optimiser takes
    both steps. On several replicas each shuffles its own part of the batch.

    Args:
        weight: Of the total correlation; a number of at least 0, or a schedule.
        widths: Of the discriminator's hidden layers.

    Reference: Kim and Mnih, Disentangling by Factorising, 2018, eqs. 2 and 3, algorithm 2 (with one
    batch for both halves).
    """

    own_terms = ("total_correlation", "discriminator_loss")
    needs = frozenset({"density", "path"})
    batch_coupled = per_replica = True

    def __init__(
        self,
        weight: float | str | Schedule = 10.0,
        widths: int | tuple[int, ...] = (256, 256, 256, 256),
    ) -> None:
        super().__init__()
        self.weight = self._weight("weight", weight)
        self.widths = _checks.integers("widths", widths, "256 or (256, 256)")

    def _setup(self, latent_dim: int) -> None:
        self.discriminator = keras.Sequential(
            [
                keras.Input((latent_dim,)),
                *(
                    keras.layers.Dense(width, "leaky_relu", dtype="float32", name=f"hidden_{place}")
                    for place, width in enumerate(self.widths)
                ),
                keras.layers.Dense(1, dtype="float32", name="log_odds"),
            ],
            name="discriminator",
        )

    def _evaluate(self, latent_pass: LatentPass) -> LossOutput:
        draw = latent_pass.draw
        reconstruction = reconstruction_loss(latent_pass)
        correlation = tf.reduce_mean(self.log_odds(draw.z), 0)
        judged = self._judged(tf.stop_gradient(draw.z), latent_pass.seed)
        loss = reconstruction + draw.kl + self.weight(latent_pass.step) * correlation
        return self._output(
            latent_pass,
            loss,
            {"objective": judged},
            total_correlation=correlation,
            discriminator_loss=judged,
        )

    def log_odds(self, z: Tensor) -> Tensor:
        """Returns the logarithm of the odds, (S, B), that codes z (S, B, D) are not shuffled."""
        flat = tf.reshape(z, [-1, self.latent_dim])
        return tf.reshape(self.discriminator(flat), tf.shape(z)[:2])

    def _judged(self, z: Tensor, seed: Tensor) -> Tensor:
        """Returns the discriminator's cross-entropy over codes and shuffled ones, (B,), in nats."""
        real, shuffled = self.log_odds(z), self.log_odds(permute_dimensions(z, seed))
        losses = tf.nn.softplus(-real) + tf.nn.softplus(shuffled)
        return 0.5 * tf.reduce_mean(losses, 0)


def permute_dimensions(z: Tensor, seed: Tensor) -> Tensor:
    """Returns codes (S, B, D), each latent dimension shuffled over the batch by itself."""
    order = tf.argsort(tf.random.stateless_uniform(tf.shape(z), seed), axis=1)
    columns, places = tf.transpose(z, [0, 2, 1]), tf.transpose(order, [0, 2, 1])
    return tf.transpose(tf.gather(columns, places, batch_dims=2), [0, 2, 1])
