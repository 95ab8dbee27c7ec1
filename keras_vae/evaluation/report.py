"""One flat report of how well a model describes a data set."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae import _checks
from keras_vae.evaluation.base import active_dimensions
from keras_vae.model import VAE


def evaluate(
    vae: VAE,
    data: Any,
    num_samples: int = 500,
    seed: Any = 0,
    progress: Callable[[int], None] | None = None,
    levels: int | None = None,
) -> dict[str, float | int | None]:
    """Returns figures of merit over a data set, in nats per example unless the name says otherwise.

    Args:
        vae: The model.
        data: Batches of x (B, E), or one array (n, E).
        num_samples: Importance samples per example.
        seed: Of all draws; they do not depend on how the data is batched.
        progress: Called with the number of examples after each batch.
        levels: How many grey levels one unit was divided into, where the data was dequantised.

    Returns: `elbo`; `nll`, the negative log-likelihood by importance sampling;
    `nll_standard_error`, its standard deviation over examples / sqrt(n);
    `nll_monte_carlo_error`, what the finite number of samples adds; `reconstruction_loss`;
    `kl_loss`; `bits_per_dim`, None for densities (but those of dequantised levels, where it is a
    bound) and for values that are no whole numbers; `normalised`, False where `nll` is no
    log-likelihood of the values and compares with nothing, as with grey values under "bernoulli";
    `active_units`; `num_samples`; `num_examples`. What needs a density of q(z|x) is None where the
    posterior has none.

    Raises:
        ValueError: if the data is empty, of another shape or outside the support.
    """
    num_samples = _checks.integer("num_samples", num_samples)
    parts: list[dict[str, np.ndarray]] = []
    for x in _batches(data):
        parts.append(_score(vae, x, num_samples, seed))
        if progress is not None:
            progress(len(x))
    if not parts:
        raise ValueError("The data holds no example; expected at least one batch.")
    scores = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return _summary(vae, scores, num_samples, levels)


def _batches(data: Any) -> Iterable[np.ndarray]:
    if isinstance(data, tf.data.Dataset):
        for element in data:
            yield np.asarray(element[0] if isinstance(element, tuple) else element)
    else:
        array = np.asarray(data)
        if array.ndim == 0:
            raise ValueError("data has shape (); expected batches of x, or one array (n, ...).")
        for start in range(0, len(array), 100):
            yield array[start : start + 100]


def _score(vae: VAE, x: np.ndarray, num_samples: int, seed: Any) -> dict[str, np.ndarray]:
    """Returns per-example figures of one batch, each (B,) or (B, D)."""
    scores = {"mean": vae.encode(x).mean, "whole": np.asarray(x == np.round(x)).reshape(len(x), -1)}
    scores["whole"] = scores["whole"].all(axis=1)
    if "density" in vae.latent.offers:
        estimate = vae.importance_sample(x, num_samples, seed)
        terms = vae.elbo_terms(x, seed=seed)
        scores["log_likelihood"] = estimate.log_likelihood
        scores["monte_carlo_error"] = estimate.monte_carlo_error
        scores["kl_loss"] = terms.kl_loss
        scores["reconstruction_loss"] = terms.reconstruction_loss
    else:
        log_px = vae.observation(scores["mean"]).log_prob(tf.cast(x, tf.float32))
        scores["reconstruction_loss"] = -log_px.numpy()
    return scores


def _summary(
    vae: VAE, scores: dict[str, np.ndarray], num_samples: int, levels: int | None
) -> dict[str, float | int | None]:
    count = len(scores["mean"])
    exact = {name: values.astype(np.float64) for name, values in scores.items()}
    summary: dict[str, float | int | None] = dict.fromkeys(
        ("elbo", "nll", "nll_standard_error", "nll_monte_carlo_error")
    )
    whole = bool(exact["whole"].all())
    reconstruction = float(exact["reconstruction_loss"].mean())
    summary["reconstruction_loss"] = reconstruction
    summary["kl_loss"] = summary["bits_per_dim"] = None
    if "log_likelihood" in exact:
        nll = -exact["log_likelihood"]
        kl = float(exact["kl_loss"].mean())
        summary["kl_loss"] = kl
        summary["elbo"] = -(reconstruction + kl)
        summary["nll"] = float(nll.mean())
        if count > 1:
            summary["nll_standard_error"] = float(nll.std(ddof=1) / math.sqrt(count))
        if num_samples > 1:
            squares = np.square(exact["monte_carlo_error"]).sum()
            summary["nll_monte_carlo_error"] = float(math.sqrt(squares) / count)
        per_element = nll.mean() / vae.likelihood.event_size
        if vae.likelihood.discrete and whole:
            summary["bits_per_dim"] = float(per_element / math.log(2.0))
        elif not vae.likelihood.discrete and levels is not None:
            summary["bits_per_dim"] = float((per_element + math.log(levels)) / math.log(2.0))
    summary["normalised"] = whole or not vae.likelihood.discrete
    summary["active_units"] = int(active_dimensions(exact["mean"]).sum())
    summary["num_samples"] = num_samples
    summary["num_examples"] = count
    return summary
