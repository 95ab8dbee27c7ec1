"""Whether the latents are in use, and whether the model would score as well without them."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_vae.evaluation.base import active_dimensions
from keras_vae.model import VAE

#: How near to the score without latents, as a share of it, a bound counts as no better.
NO_BETTER = 0.01
REMEDIES = (
    "Try a warm-up of the KL term (--beta 'linear(steps=5000)'), a lower learning rate, a smaller "
    "beta, or a decoder of less capacity."
)


def score_without_latents(vae: VAE, x: np.ndarray) -> float | None:
    """Returns -log p(x) in nats per example under the best model without latents.

    There every element has one distribution whatever z is: the likelihood at the moments of the
    data. A collapsed model scores no better.

    Args:
        vae: The model, whose likelihood is asked.
        x: Examples (n, E).

    Returns: the mean over the examples, or None where the likelihood cannot tell.
    """
    values = np.asarray(x, np.float32)
    moments = [tf.constant(moment(values, axis=0)) for moment in (np.mean, np.std)]
    params = vae.likelihood.initial_params(*moments)
    if params is None:
        return None
    log_px = vae.likelihood.log_prob(params[None], tf.constant(values), vae.graph.given())
    return -float(tf.reduce_mean(log_px))


class Collapse(NamedTuple):
    """What is known of the use of the latents.

    Attributes:
        active: Which latent dimensions are active, (D,).
        elbo: The evidence lower bound at beta = 1 in nats per example, or None.
        without_latents: -log p(x) of the best model without latents, or None.
        collapsed: Whether no dimension is active, or the bound is that of a model without latents.
    """

    active: np.ndarray
    elbo: float | None
    without_latents: float | None
    collapsed: bool

    def sentence(self) -> str:
        """Returns the verdict in words, with what to try where the posterior has collapsed."""
        used = f"{self.active.sum()} of {len(self.active)} latent dimensions are active"
        if not self.collapsed:
            return f"{used}."
        bound = ""
        if self.elbo is not None and self.without_latents is not None:
            bound = (
                f", and the bound of {self.elbo:.1f} nats compares with {-self.without_latents:.1f}"
                " for a model without latents"
            )
        return f"The posterior has collapsed: {used}{bound}. {REMEDIES}"


def collapse(vae: VAE, x: np.ndarray, seed: Any = 0) -> Collapse:
    """Returns whether the posterior has collapsed, judged by some examples.

    Args:
        vae: The model.
        x: Examples (n, E), some hundreds.
        seed: Of the draws that the bound takes.
    """
    active = active_dimensions(vae.encode(x).mean)
    if "density" not in vae.latent.offers:
        return Collapse(active, None, None, not active.any())
    elbo, without = float(vae.elbo(x, seed=seed).mean()), score_without_latents(vae, x)
    no_better = without is not None and -elbo >= without - NO_BETTER * abs(without)
    return Collapse(active, elbo, without, no_better or not active.any())
