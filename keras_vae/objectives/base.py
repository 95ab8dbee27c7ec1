"""The contract of an objective: from one forward pass to the loss that training follows."""

import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from keras_vae import distribute, schedules
from keras_vae._parts import Part
from keras_vae._types import LatentPass, LossOutput, Tensor
from keras_vae.schedules import Schedule

#: How the encoder's gradient is estimated: through everything; through the draw alone; through the
#: draw alone with squared weights.
STANDARD, STICKING, DOUBLY = "standard", "sticking_the_landing", "dreg"


class Objective(Part):
    """What training minimises. It sees the records of a pass, never the parts that made them.

    A new objective writes `_evaluate(latent_pass)`, and `_setup(latent_dim)` if it owns a network.
    It declares:

    Attributes:
        terms: Every name it logs, in order; each gets a (B,) vector in `LossOutput.terms`. By
            default `reconstruction_loss`, `kl_loss`, those of `own_terms`, and the weights that are
            schedules.
        own_terms: What it logs besides.
        samples: S, how many latents are drawn per example.
        needs: What it asks of the posterior; see `Posterior.offers`.
        path: Whether gradients to the posterior go through the draw alone.
        batch_coupled: Whether examples of a batch influence one another's loss.
        trains_prior: Whether the loss depends on p(z); else a prior with weights is refused.
        per_replica: Whether they do so within each replica's part of the batch only.
    """

    shapes = ("latent_dim",)
    own_terms: tuple[str, ...] = ()
    samples: int = 1
    needs: frozenset[str] = frozenset()
    path: bool = False
    batch_coupled: bool = False
    trains_prior: bool = True
    per_replica: bool = False

    @property
    def terms(self) -> tuple[str, ...]:
        """Every name the objective logs, in order."""
        return ("reconstruction_loss", "kl_loss", *self.own_terms, *self.scheduled)

    def evaluate(self, latent_pass: LatentPass) -> LossOutput:
        """Returns the loss and its terms, each (B,), in nats.

        Raises:
            ValueError: if the terms are not those that the objective declares.
        """
        output = self._evaluate(latent_pass)
        if set(output.terms) != set(self.terms):
            raise ValueError(
                f"The objective {self.short_name!r} returned the terms {sorted(output.terms)}; "
                f"expected those it declares, {sorted(self.terms)}."
            )
        return output

    def _evaluate(self, latent_pass: LatentPass) -> LossOutput:
        """Hook: the loss and the terms."""
        raise NotImplementedError

    def begin(self, num_examples: int | None) -> None:
        """Hook: called by `fit` with how many examples the training data has, None if unknown."""

    @property
    def scheduled(self) -> tuple[str, ...]:
        """The names of the weights that change in training, which are logged."""
        weights = {name: value for name, value in vars(self).items() if isinstance(value, Schedule)}
        return tuple(n for n, value in weights.items() if not isinstance(value, schedules.Constant))

    def _output(
        self,
        latent_pass: LatentPass,
        loss: Tensor,
        groups: Mapping[str, Tensor] | None = None,
        **own: Tensor,
    ) -> LossOutput:
        """Returns the loss (B,) with its `terms`; of the two common ones, those it declares.

        Args:
            latent_pass: The forward pass.
            loss: What is reported.
            groups: The losses of groups of weights that follow another.
            **own: Terms of the objective's own, each (B,), and what is to stand in place of others.
        """
        draw = latent_pass.draw
        common = {"reconstruction_loss": reconstruction_loss(latent_pass), "kl_loss": draw.kl}
        terms = {name: value for name, value in common.items() if name in self.terms} | own
        ones = tf.ones_like(draw.kl)
        terms |= {name: getattr(self, name)(latent_pass.step) * ones for name in self.scheduled}
        return LossOutput(loss, terms, groups or {})

    def _weight(self, name: str, value: Any, maximum: float = math.inf) -> Schedule:
        """Returns a term's weight as a schedule, whose ends are checked to be in [0, maximum].

        Raises:
            ValueError, TypeError: for another number, or what is neither number nor schedule.
        """
        schedule = schedules.get(value)
        for end in ("value", "start", "end"):
            number = getattr(schedule, end, 0.0)
            if not 0.0 <= number <= maximum:
                least = "of at least 0" if maximum == math.inf else f"between 0 and {maximum:g}"
                reached = f"is {number:g}" if end == "value" else f"has the {end} {number:g}"
                raise ValueError(
                    f"{name} {reached}; expected a number {least}, or a schedule of such."
                )
        return schedule

    def weights_at(self, step: int) -> dict[str, float]:
        """Returns the terms' weights that are in force at a step of the optimiser, by name."""
        weights = {name: value for name, value in vars(self).items() if isinstance(value, Schedule)}
        return {name: float(schedule(step)) for name, schedule in weights.items()}

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(getattr(self, "__dict__", {}).get(name), Schedule):
            raise AttributeError(
                f"{type(self).__name__}.{name} cannot be changed, as compiled steps hold the old "
                "value; give a schedule at construction for a value that changes in training."
            )
        super().__setattr__(name, value)


def log_weights(latent_pass: LatentPass) -> Tensor:
    """Returns log p(x, z) - log q(z|x) of every draw, (S, B)."""
    draw = latent_pass.draw
    return latent_pass.log_px + draw.log_pz - draw.log_qz


def batch_mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Returns the mean of values (B, ...) over the global batch, by the sample weights, (...)."""
    if weights is None:
        weights = tf.ones(tf.shape(values)[:1])
    total = tf.tensordot(weights, values, 1)
    total, count = distribute.global_sum((total, tf.reduce_sum(weights)))
    return tf.math.divide_no_nan(total, count)


def reconstruction_loss(latent_pass: LatentPass) -> Tensor:
    """Returns -E_q[log p(x|z)] by the mean over the draws, (B,)."""
    return -tf.reduce_mean(latent_pass.log_px, 0)
