"""Estimates of log p(x) that say how far they are to be trusted."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_vae import _checks, _sides
from keras_vae.evaluation.base import (
    DEFAULT,
    Annealing,
    Estimate,
    batches,
    copies,
    row_keys,
    samples_of,
    score,
)
from keras_vae.model import VAE


def log_likelihood(
    vae: VAE,
    data: Any,
    method: str = "importance",
    num_samples: int | None = None,
    seed: Any = 0,
    progress: Callable[[int], None] | None = None,
    annealing: Annealing = DEFAULT,
) -> Estimate:
    """Returns log p(x) of each example with its errors, in nats, by one of three estimators.

    Args:
        vae: The model.
        data: Batches of x (B, E), or one array (n, E).
        method: "importance" weighs draws of q(z|x); "annealed" weighs chains from p(z) to the
            posterior, for where q(z|x) is poor or missing; "prior" averages p(x|z) over draws of
            p(z), which shows why one would not.
        num_samples: Draws per example, or chains: 5000, or 16 of "annealed", for None.
        seed: Of all draws; they do not depend on how the data is batched.
        progress: Called with the number of examples after each batch.
        annealing: How the chains of "annealed" go.

    Raises:
        ValueError: if the data is empty, of another shape or outside the support, for an unknown
            method, or for "importance" where q(z|x) has no density.

    Example:
    >>> import keras_vae as kv, numpy as np
    >>> vae, x = kv.VAE((6,), 2), np.eye(6, dtype="float32")
    >>> found = kv.evaluation.log_likelihood(vae, x, num_samples=100)
    >>> found.log_likelihood.shape, found.warning
    ((6,), None)
    """
    num_samples = samples_of(method, num_samples)
    parts = []
    for x in batches(vae, data):
        parts.append((*score(vae, x, method, num_samples, seed, annealing)[:4], row_keys(x)))
        if progress is not None:
            progress(_sides.count(x))
    if not parts:
        raise ValueError("The data holds no example; expected at least one batch.")
    *columns, keys = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Estimate(method, num_samples, *columns, copies=copies(keys))


@dataclass(frozen=True)
class Bounds:
    """log p(x) of data that the model simulated, from below and from above, in nats.

    Attributes:
        x: The data, (n, E).
        lower: Lower bounds in expectation, (n,).
        upper: Upper bounds in expectation, (n,).
        acceptance: The share of accepted proposals, (n,).
    """

    x: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    acceptance: np.ndarray

    @property
    def gap(self) -> float:
        """How much the mean bounds differ: at most so far is annealing off on such data."""
        return float((self.upper - self.lower).mean(dtype=np.float64))

    @property
    def gap_standard_error(self) -> float:
        """The standard error of `gap` over the examples."""
        spread = (self.upper - self.lower).std(ddof=1, dtype=np.float64)
        return float(spread / math.sqrt(len(self.lower)))


def bidirectional(
    vae: VAE,
    num_examples: int = 100,
    num_chains: int = 16,
    seed: Any = 0,
    annealing: Annealing = DEFAULT,
    condition: Any = None,
) -> Bounds:
    """Returns both bounds on log p(x) of examples drawn from the model itself.

    Of a simulated x the z behind it is an exact draw of the posterior, from which annealing can run
    backwards. If the bounds are near, as many chains and temperatures do for real data that is like
    the model's.

    Args:
        vae: The model.
        num_examples: How many to simulate, at least 2.
        num_chains: Chains per example, each way.
        seed: Of the examples and the chains.
        annealing: How the chains go.
        condition: For a model that has one: one for each example, or one for all.

    Reference: Grosse, Ghahramani and Adams, Sandwiching the Marginal Likelihood Using Bidirectional
    Monte Carlo, 2015; Wu et al., On the Quantitative Analysis of Decoder-Based Generative Models,
    2017.
    """
    count = _checks.integer("num_examples", num_examples, 2)
    simulated = vae.sample(count, seed=seed, condition=condition)
    arguments: dict[str, Any] = {"num_chains": num_chains, "seed": seed, "condition": condition}
    arguments |= annealing._asdict()
    below = vae.annealed_sample(simulated.x, **arguments)
    above = vae.annealed_sample(simulated.x, origin=simulated.z, **arguments)
    return Bounds(simulated.x, below.log_likelihood, above.log_likelihood, below.acceptance)
