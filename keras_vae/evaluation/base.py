"""What figures of merit and figures to look at have in common."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_vae import _checks, _sides
from keras_vae.model import VAE
from keras_vae.plots.base import decoded

#: A latent dimension is active when the variance of its posterior mean over the data is above this
#: (Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, 2016, section 5).
ACTIVE_VARIANCE = 0.01
#: Nats by which a bound must beat the score without latents for them to be worth something, and
#: how few examples cannot tell that score.
WORTH, FEWEST = 0.1, 50
REMEDIES = (
    "Try a warm-up of the KL term (--beta 'linear(steps=5000)'), a lower learning rate, a smaller "
    "beta, or a decoder of less capacity."
)
#: Above this shape of the tail of the weights neither an estimate nor its error is to be trusted
#: (Vehtari et al., Pareto Smoothed Importance Sampling, 2024, section 3.2.4).
HIGH_K = 0.7
#: The estimators of log p(x), and how many samples (or chains) they take by default.
METHODS = {"importance": 5000, "prior": 5000, "annealed": 16}
#: Examples at a time, of arrays.
BATCH = 100


def active_dimensions(means: np.ndarray) -> np.ndarray:
    """Returns which latent dimensions carry something of the data, (D,) of truth values.

    Args:
        means: Means of q(z|x) over the data, (n, D).
    """
    return np.asarray(means, np.float64).var(axis=0) > ACTIVE_VARIANCE


def kl_per_dimension(vae: VAE, x: np.ndarray) -> np.ndarray | None:
    """Returns the mean KL of each latent dimension in nats, (D,), or None where it does not split.

    Args:
        vae: The model.
        x: Examples (n, E) that the mean is over.
    """
    if "density" not in vae.latent.offers:
        return None
    kl = vae.kl_parts(x).mean(axis=0)
    return kl if len(kl) == vae.latent.output_dim else None


def named(labels: Any, names: Sequence[str]) -> np.ndarray:
    """Returns labels (n,) by their names, where they are whole numbers that each have one.

    Args:
        labels: (n,) of numbers or words; bytes, as tf.data has words, become words.
        names: What 0, 1, ... are called.
    """
    labels = decoded(labels)
    whole = labels.size > 0 and labels.dtype.kind in "iu"
    fits = whole and labels.min() >= 0 and labels.max() < len(names)
    return decoded(names)[labels] if fits else labels


def score_without_latents(vae: VAE, x: np.ndarray) -> float | None:
    """Returns -log p(x) in nats per example under the best model without latents.

    There every element has one distribution whatever z is: the likelihood at the moments of the
    data, with what those moments owe to these very examples taken off (half a nat per parameter and
    example). A collapsed model scores no better.

    Args:
        vae: The model, whose likelihood is asked; a variance of its own is left as it is.
        x: Examples (n, E).

    Returns: the mean over the examples, or None where the likelihood or fewer than 50 examples
        cannot tell.
    """
    values = np.asarray(_sides.event_of(x), np.float32)
    seen = ~np.isnan(values) if vae.missing else np.ones(values.shape, bool)
    if len(values) < FEWEST or not seen.any(0).all():
        return None
    moments = [moment(values, axis=0, where=seen) for moment in (np.mean, np.std)]
    params = vae.likelihood.initial_params(*map(tf.constant, moments))
    if params is None:
        return None
    mask = tf.constant(seen, tf.float32) if vae.missing else None
    given = vae.graph.generating()
    log_px = vae.likelihood.log_prob(params[None], tf.constant(values), given, mask)
    return float(-tf.reduce_mean(log_px)) + int(tf.size(params)) / (2.0 * len(values))


class Collapse(NamedTuple):
    """What is known of the use of the latents.

    Attributes:
        active: Which latent dimensions are active, (D,).
        elbo: The evidence lower bound at beta = 1 in nats per example, or None.
        without_latents: -log p(x) of the best model without latents, or None.
    """

    active: np.ndarray
    elbo: float | None = None
    without_latents: float | None = None

    @property
    def diverged(self) -> bool:
        """Whether the bound is no number."""
        return self.elbo is not None and not math.isfinite(self.elbo)

    @property
    def collapsed(self) -> bool:
        """Whether no dimension is active, or the bound is that of a model without latents."""
        if self.diverged:
            return False
        if self.elbo is None or self.without_latents is None:
            return not self.active.any()
        return self.elbo < WORTH - self.without_latents or not self.active.any()

    def sentence(self) -> str:
        """Returns the verdict in words, with what to try where the latents are out of use."""
        used = f"{self.active.sum()} of {len(self.active)} latent dimensions are active"
        if self.diverged:
            return (
                f"The bound is {self.elbo}: the training has diverged. Try a lower learning rate."
            )
        if not self.collapsed:
            return f"{used}."
        verdict = (
            "The latents bring nothing" if self.active.any() else "The posterior has collapsed"
        )
        bound = ""
        if self.elbo is not None and self.without_latents is not None:
            bound = (
                f", and the bound of {self.elbo:.1f} nats compares with {-self.without_latents:.1f}"
                " for a model without latents"
            )
        return f"{verdict}: {used}{bound}. {REMEDIES}"


def collapse(vae: VAE, x: np.ndarray, seed: Any = 0) -> Collapse:
    """Returns whether the posterior has collapsed, judged by some examples.

    Args:
        vae: The model.
        x: Examples (n, E), some hundreds.
        seed: Of the draws that the bound takes.
    """
    active = active_dimensions(vae.encode(x).mean)
    if "density" not in vae.latent.offers:
        return Collapse(active)
    return Collapse(active, float(vae.elbo(x, seed=seed).mean()), score_without_latents(vae, x))


def batches(vae: VAE, data: Any) -> Iterable[Any]:
    """Yields the batches of a `tf.data.Dataset`, or of one array (n, E), as the model takes them.

    That is x (B, E), or a mapping of it and what belongs to it; y is the condition of a model that
    has one.
    """
    if isinstance(data, tf.data.Dataset):
        for element in data:
            x, y = element[:2] if isinstance(element, tuple) else (element, None)
            x = tf.nest.map_structure(np.asarray, x)
            conditional = vae.condition is not None and y is not None
            yield _sides.joined(x, condition=np.asarray(y)) if conditional else x
    else:
        if np.ndim(_sides.event_of(data)) == 0:
            raise ValueError("data has shape (); expected batches of x, or one array (n, ...).")
        for start in range(0, len(_sides.event_of(data)), BATCH):
            yield _sides.rows(data, slice(start, start + BATCH))


def finite(*arrays: np.ndarray) -> bool:
    """Returns whether all values of some arrays are finite."""
    return all(bool(np.isfinite(each).all()) for each in arrays)


class Annealing(NamedTuple):
    """How chains are annealed; see `VAE.annealed_sample`.

    Attributes:
        temperatures: Steps from the start to the posterior.
        leapfrog_steps: Of each Hamiltonian transition.
        schedule: "sigmoid" or "linear".
        start: "prior" or "posterior".
    """

    temperatures: int = 500
    leapfrog_steps: int = 10
    schedule: str = "sigmoid"
    start: str = "prior"


#: With 16 chains about 160,000 gradients of the decoder per example, the pilot included.
DEFAULT = Annealing()


def samples_of(method: str, num_samples: int | None) -> int:
    """Returns how many samples an estimator takes: `num_samples`, or its default for None.

    Raises:
        ValueError, TypeError: for an unknown method, or no whole number of at least 1.
    """
    default = METHODS[_checks.one_of("method", method, tuple(METHODS))]
    if num_samples is None:
        return default
    return _checks.integer("num_samples", num_samples, maximum=2**31 - 1)


def score(
    vae: VAE, x: np.ndarray, method: str, num_samples: int, seed: Any, annealing: Annealing
) -> Any:
    """Returns the `LogLikelihood` of one batch x (B, E) by one of `METHODS`, each part (B,)."""
    if method == "importance":
        return vae.importance_sample(x, num_samples, seed, BATCH)
    if method == "prior":
        return vae.prior_sample(x, num_samples, seed, BATCH)
    return vae.annealed_sample(x, num_samples, seed=seed, batch_size=BATCH, **annealing._asdict())


def row_keys(x: Any) -> np.ndarray:
    """Returns a number for each example of x (B, E), (B,) int64, the same of equal examples."""
    events = np.asarray(_sides.event_of(x), np.float32)
    return np.array([hash(row.tobytes()) for row in events], np.int64)


def copies(keys: np.ndarray) -> np.ndarray:
    """Returns how many examples are equal to each, itself included, (n,), by `row_keys` (n,)."""
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return counts[inverse]


def lost_warning(lost: int, count: int) -> str | None:
    """Returns what to say when the estimates of `lost` of `count` examples are no numbers."""
    if not lost:
        return None
    return (
        f"The estimates of {lost} of {count} examples are infinite or NaN, and so is their mean: "
        "what the decoder says of these examples is beyond float32. Look for outliers among the "
        "data, or train with a lower learning rate."
    )


def tail_warning(method: str, high: int, count: int) -> str | None:
    """Returns what to say when the weights of `high` of `count` examples have a heavy tail."""
    if not high:
        return None
    remedy = {
        "annealed": "Take more temperatures.",
        "prior": "Plain Monte Carlo does not do here: use method='importance' or 'annealed'.",
        "importance": "Take more samples, or method='annealed'.",
    }[method]
    return (
        f"The estimates of {high} of {count} examples are not to be trusted: the Pareto k of their "
        f"weights is above {HIGH_K}, so a few of the weights decide, and log p(x) is likely too "
        f"low. {remedy}"
    )


@dataclass(frozen=True)
class Estimate:
    """log p(x) of a data set, with what is known of its errors. Everything is in nats.

    Attributes:
        method: One of `METHODS`.
        num_samples: Samples, or chains, per example.
        log_likelihood: (n,).
        monte_carlo_error: Standard error from the finite number of samples, (n,).
        effective_sample_size: (n,), between 1 and `num_samples`.
        pareto_k: Shape of the tail of the weights, (n,); NaN for fewer than 21 samples.
        copies: How many examples are equal to each, itself included, (n,). Equal examples have
            equal draws, so that their errors do not cancel. None where all differ.
    """

    method: str
    num_samples: int
    log_likelihood: np.ndarray
    monte_carlo_error: np.ndarray
    effective_sample_size: np.ndarray
    pareto_k: np.ndarray
    copies: np.ndarray | None = None

    @property
    def mean(self) -> float:
        """The mean over the examples."""
        return float(self.log_likelihood.mean(dtype=np.float64))

    @property
    def standard_error(self) -> float | None:
        """What another data set of this size would change; None of one example."""
        count = len(self.log_likelihood)
        if count < 2:
            return None
        return float(self.log_likelihood.std(ddof=1, dtype=np.float64) / math.sqrt(count))

    @property
    def monte_carlo_error_of_mean(self) -> float | None:
        """What other samples would change of the mean; None of one sample."""
        if self.num_samples < 2:
            return None
        squares = np.square(self.monte_carlo_error, dtype=np.float64)
        total = (squares if self.copies is None else squares * self.copies).sum()
        return float(math.sqrt(total) / len(squares))

    @property
    def median_pareto_k(self) -> float | None:
        """The median of `pareto_k`; None where there are too few samples to tell."""
        known = self.pareto_k[~np.isnan(self.pareto_k)]
        return float(np.median(known)) if len(known) else None

    @property
    def high_pareto_k_share(self) -> float | None:
        """The share of examples whose `pareto_k` is above 0.7; None where nothing is known."""
        if self.median_pareto_k is None:
            return None
        return float(np.mean(self.pareto_k > HIGH_K))

    @property
    def warning(self) -> str | None:
        """What is not to be trusted, in words, such as weights of too heavy a tail; else None."""
        count, high = len(self.pareto_k), int(np.sum(self.pareto_k > HIGH_K))
        lost = lost_warning(int(np.sum(~np.isfinite(self.log_likelihood))), count)
        found = [each for each in (lost, tail_warning(self.method, high, count)) if each]
        return " ".join(found) or None
