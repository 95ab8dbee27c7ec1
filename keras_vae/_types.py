"""The records that parts hand to one another, and the letters their shapes are written in.

S: latent samples per example. B: examples in the batch. D: latent dimensions. E: the axes of one
event. F: features that feed the decoder. G: groups that the KL term splits into. N: noise numbers
per latent draw.

All log-probabilities and KL terms are float32 and in nats.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import tensorflow as tf

Tensor: TypeAlias = tf.Tensor


class Given(NamedTuple):
    """Everything a part may look at besides its own input.

    A new side input is a new field here, never a new argument of a part.

    Attributes:
        condition: What the model is conditioned on, as the networks see it, (B, C), or None.
        offset: A per-example side input of the likelihood, such as a size factor, or None.
        posterior_of: Maps a batch of what the encoder sees to the bound posterior of that batch,
            with the encoder in inference mode.
        observed: What `Likelihood.observe` returned for this batch; None outside training.
    """

    condition: Any = None
    offset: Any = None
    posterior_of: Callable[[Tensor], Any] | None = None
    observed: Any = None


class Inputs(NamedTuple):
    """One batch as the model sees it, however Keras delivered it.

    Attributes:
        x: (B, E) float32; NaN where an entry is missing, for a model that takes these.
        weights: None, or (B,) float32 sample weights.
        given: the side inputs.
    """

    x: Tensor
    weights: Tensor | None
    given: Given


class NetworkInput(NamedTuple):
    """What the encoder sees of an event.

    Attributes:
        shape: Without the batch axis.
        least: The least value it may hold, or -inf.
        greatest: The greatest, or inf.
        condition_size: How many numbers of a condition come beside it, C; 0 for none.
    """

    shape: tuple[int, ...]
    least: float
    greatest: float
    condition_size: int = 0


class PathGate:
    """An identity on z whose gradient an objective may scale after the draw.

    Estimators of the gradient with respect to the *path* through z (sticking the landing, doubly
    reparameterised) multiply it by `weights` (S, B), which are known only once log p(x, z) is.
    """

    def __init__(self) -> None:
        self.weights: Tensor | None = None

    def __call__(self, z: Tensor) -> Tensor:
        """Returns z (S, B, D) unchanged."""

        @tf.custom_gradient
        def gate(value: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
            def gradient(upstream: Tensor) -> Tensor:
                if self.weights is None:
                    return upstream
                return upstream * tf.stop_gradient(self.weights)[..., None]

            return tf.identity(value), gradient

        return gate(z)


@dataclass
class LatentDraw:
    """What a latent model knows of one draw z ~ q(z|x).

    Attributes:
        z: The latents; a tensor (S, B, D) or a nest only the latent model understands.
        decoder_input: (S, B, F).
        log_qz: log q(z|x), (S, B).
        log_pz: log p(z), (S, B).
        kl: KL(q(z|x) || p(z)), (B,); closed form where there is one, else the mean over S of
            log_qz - log_pz.
        kl_parts: (B, G), the KL by latent dimension or by stochastic layer; sums to `kl`.
        q: The bound posterior.
        prior: The bound prior.
        path: The gate z went through, where the objective asked for one.
    """

    z: Any
    decoder_input: Tensor
    log_qz: Tensor
    log_pz: Tensor
    kl: Tensor
    kl_parts: Tensor
    q: Any
    prior: Any
    path: PathGate | None = None


@dataclass
class LatentPass:
    """One forward pass: all that an objective may look at.

    Attributes:
        x: (B, E); NaN where an entry is missing.
        log_px: log p(x|z), (S, B).
        draw: The `LatentDraw`.
        step: Scalar int64, the optimiser's step; what schedules are functions of.
        seed: int32[2], for draws of the objective's own.
        weights: None, or (B,) sample weights, which means over the batch heed.
    """

    x: Tensor
    log_px: Tensor
    draw: LatentDraw
    step: Tensor
    seed: Tensor
    weights: Tensor | None = None


@dataclass
class LossOutput:
    """What an objective returns.

    Attributes:
        loss: (B,), what is minimised and reported; always the (negative) bound itself.
        terms: Name -> (B,) for every name in the objective's `terms`.
        group_losses: Group -> (B,) where a group of weights follows another loss: "inference"
            (encoder and the latent model's inference layers), "generative" (decoder, likelihood,
            prior) or "objective" (the objective's own network).
    """

    loss: Tensor
    terms: Mapping[str, Tensor]
    group_losses: Mapping[str, Tensor] = field(default_factory=dict)
