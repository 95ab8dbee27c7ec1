"""One flat report of how well a model describes a data set."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from keras_vae import _checks, _sides
from keras_vae.evaluation.base import (
    DEFAULT,
    Annealing,
    Estimate,
    active_dimensions,
    batches,
    collapse,
    copies,
    row_keys,
    samples_of,
    score,
)
from keras_vae.model import VAE

#: Examples that the verdict on the use of the latents is made of.
JUDGED = 1000
ALONE = "One example does not tell whether the latents are in use."
Figures: TypeAlias = dict[str, float | int | str | list[float] | None]


def evaluate(
    vae: VAE,
    data: Any,
    num_samples: int | None = None,
    seed: Any = 0,
    progress: Callable[[int], None] | None = None,
    levels: int | None = None,
    method: str = "importance",
    annealing: Annealing = DEFAULT,
) -> Figures:
    """Returns figures of merit over a data set, in nats per example unless the name says otherwise.

    Args:
        vae: The model.
        data: Batches of x (B, E), or one array (n, E).
        num_samples: Samples per example, or chains; None takes the method's default.
        seed: Of all draws; they do not depend on how the data is batched.
        progress: Called with the number of examples after each batch.
        levels: How many grey levels one unit was divided into, where the data was dequantised.
        method: How log p(x) is estimated: "importance", "annealed" or "prior"; see
            `log_likelihood`.
        annealing: How the chains of "annealed" go.

    Returns: `elbo`; `nll`, the negative log-likelihood; `nll_standard_error`, its standard
    deviation over examples / sqrt(n); `nll_monte_carlo_error`, what the finite number of samples
    adds; `effective_sample_size`, the mean over examples; `pareto_k`, the median over examples, and
    `pareto_k_high_share`, the share of them above 0.7, whose estimates are not to be trusted (None
    of fewer than 21 samples), with `pareto_k_warning` in a sentence where there are any;
    `reconstruction_loss`; `kl_loss`; `kl_per_dimension`, a list, None where it does not split;
    `bits_per_dim`, None for densities (but those of dequantised levels, where it is a bound) and
    for values that are no whole numbers; `normalised`, False where `nll` is no log-likelihood of
    the values and compares with nothing, as with grey values under "bernoulli"; `active_units`;
    `collapsed`, judged by the first 1,000 examples, and `verdict`, in a sentence (`active_units`
    and `collapsed` are None of one example); `estimator`; `num_samples`; `num_examples`. What needs
    a density of q(z|x) is None where the posterior has none.

    Raises:
        ValueError: if the data is empty, of another shape or outside the support, or for an unknown
            method.
    """
    num_samples = samples_of(method, num_samples)
    parts: list[dict[str, np.ndarray]] = []
    judged: list[Any] = []
    for x in batches(vae, data):
        parts.append(_score(vae, x, method, num_samples, seed, annealing))
        if sum(map(_sides.count, judged)) < JUDGED:
            judged.append(x)
        if progress is not None:
            progress(_sides.count(x))
    if not parts:
        raise ValueError("The data holds no example; expected at least one batch.")
    scores = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    figures = _likelihood(vae, scores, method, num_samples, levels) | _terms(scores)
    figures |= _latents(vae, scores, _sides.rows(_sides.stacked(judged), slice(JUDGED)), seed)
    return figures | {
        "estimator": method if "log_likelihood" in scores else None,
        "num_samples": num_samples,
        "num_examples": len(scores["mean"]),
    }


def _score(
    vae: VAE, x: Any, method: str, num_samples: int, seed: Any, annealing: Annealing
) -> dict[str, np.ndarray]:
    """Returns per-example figures of one batch, each (B,) or (B, D)."""
    scores = {"mean": vae.encode(x).mean}  # first: it says in words what is wrong with x
    values = _sides.event_of(x)
    whole = (values == np.round(values)) | _checks.support(vae.likelihood.support).whole
    whole = whole | np.isnan(values)
    scores["whole"] = whole.reshape(len(values), -1).all(axis=1)
    density = "density" in vae.latent.offers
    if density or method != "importance":
        estimate = score(vae, x, method, num_samples, seed, annealing)
        scores |= {name: getattr(estimate, name) for name in LIKELIHOOD} | {"keys": row_keys(x)}
    if density:
        terms = vae.elbo_terms(x, seed=seed)
        scores["kl_loss"] = terms.kl_loss
        scores["kl_parts"] = vae.kl_parts(x, seed)
        scores["reconstruction_loss"] = terms.reconstruction_loss
    else:
        scores["reconstruction_loss"] = vae.reconstruction_loss(x)
    return scores


#: What is said of the tail of the weights.
TAIL = ("pareto_k", "pareto_k_high_share", "pareto_k_warning")
#: The columns of `Estimate`.
LIKELIHOOD = ("log_likelihood", "monte_carlo_error", "effective_sample_size", "pareto_k")


def _likelihood(
    vae: VAE, scores: dict[str, np.ndarray], method: str, num_samples: int, levels: int | None
) -> Figures:
    """Returns the figures that are made of log p(x)."""
    whole = bool(scores["whole"].all())
    discrete = vae.likelihood.discrete
    names = ("nll", "nll_standard_error", "nll_monte_carlo_error", "effective_sample_size")
    figures: Figures = dict.fromkeys((*names, *TAIL, "bits_per_dim"))
    figures["normalised"] = whole or not discrete
    if "log_likelihood" not in scores:
        return figures
    columns = [scores[name] for name in LIKELIHOOD]
    estimate = Estimate(method, num_samples, *columns, copies=copies(scores["keys"]))
    figures["nll"] = -estimate.mean
    figures["nll_standard_error"] = estimate.standard_error
    figures["nll_monte_carlo_error"] = estimate.monte_carlo_error_of_mean
    effective = estimate.effective_sample_size.mean(dtype=np.float64)
    figures["effective_sample_size"] = float(effective)
    figures["pareto_k"] = estimate.median_pareto_k
    figures["pareto_k_high_share"] = estimate.high_pareto_k_share
    figures["pareto_k_warning"] = estimate.warning
    per_element = -estimate.mean / vae.likelihood.event_size
    if discrete and whole:
        figures["bits_per_dim"] = per_element / math.log(2.0)
    elif not discrete and levels is not None:
        figures["bits_per_dim"] = (per_element + math.log(levels)) / math.log(2.0)
    return figures


def _terms(scores: dict[str, np.ndarray]) -> Figures:
    """Returns the bound and its terms."""
    reconstruction = float(scores["reconstruction_loss"].mean(dtype=np.float64))
    if "kl_loss" not in scores:
        return {"elbo": None, "reconstruction_loss": reconstruction, "kl_loss": None}
    kl = float(scores["kl_loss"].mean(dtype=np.float64))
    return {"elbo": -(reconstruction + kl), "reconstruction_loss": reconstruction, "kl_loss": kl}


def _latents(vae: VAE, scores: dict[str, np.ndarray], x: Any, seed: Any) -> Figures:
    """Returns what is known of the use of the latents."""
    kl = scores.get("kl_parts")
    found = collapse(vae, x, seed)
    per_dimension = None
    if kl is not None and kl.shape[1] == vae.latent.output_dim:
        per_dimension = kl.mean(0, dtype=np.float64).tolist()
    several = _sides.count(x) > 1
    return {
        "active_units": int(active_dimensions(scores["mean"]).sum()) if several else None,
        "collapsed": found.collapsed if several else None,
        "verdict": found.sentence() if several else ALONE,
        "kl_per_dimension": per_dimension,
    }
