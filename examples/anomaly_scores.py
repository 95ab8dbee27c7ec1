"""Anomaly scores, and the failure that one must know: strange data may look less strange.

    python examples/anomaly_scores.py                                  # a minute on 2 cores
    python examples/anomaly_scores.py --data mnist --other fashion_mnist --epochs 8
    python examples/anomaly_scores.py --quick                          # seconds, to see it run

Trains on one set of images and scores the test images of both; then the other way round; once on
binarised images under a Bernoulli likelihood, once on dequantised grey levels under a normal one
(not where one set has 256 levels and the other 17, as the built-in ones: that alone sets densities
apart).
OUTPUT/KIND.png shows how the scores -log p(x) are spread, with the threshold that promises at most
5 % false alarms, and the ROC curves. Printed are areas under them (AUROC): 1 is perfect, 0.5 is
chance, and below 0.5 the strange set scores as *more* likely than the one that was trained on. That
happens, for p(x) is high where few pixels vary, whatever they show (Nalisnick et al., Do Deep
Generative Models Know What They Don't Know?, 2019). Two remedies take off what that owes to the
image rather than to the model: "against no latents" is the likelihood ratio to the best model
without latents, independent pixels (after Ren et al., Likelihood Ratios for Out-of-Distribution
Detection, 2019); "less complexity" takes the size of the compressed image off (Serrà et al., Input
Complexity and Out-of-distribution Detection with Likelihood-based Generative Models, 2020).
"""

import math
import zlib
from pathlib import Path
from typing import Annotated, Any

import keras
import matplotlib.figure
import numpy as np
import tensorflow as tf
import typer

import keras_vae as kv
from keras_vae import evaluation

#: Kind -> how data is prepared, and the likelihood.
KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "binary": ({"binarize": "static"}, "bernoulli"),
    "grey": ({"dequantize": True, "binarize": None}, "normal:variance=learned,minimum_stddev=0.01"),
}


def first(split: tf.data.Dataset, count: int) -> np.ndarray:
    return next(split.unbatch().batch(count).as_numpy_iterator())


def train(data: kv.data.Data, likelihood: str, epochs: int, latent_dim: int) -> kv.VAE:
    keras.utils.set_random_seed(0)
    vae = kv.VAE(data.event_shape, latent_dim, network="dense", likelihood=likelihood)
    vae.adapt(data.train)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, epochs * len(data.train))
    vae.compile(keras.optimizers.Adam(rate))
    vae.fit(data.train, epochs=epochs, verbose=0)
    return vae


def without_latents(vae: kv.VAE, moments: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """Returns -log p(x) under independent pixels with the moments of the training set, (n,)."""
    params = vae.likelihood.initial_params(*map(tf.constant, moments))
    return -vae.likelihood.log_prob(params[None], tf.constant(x), vae.graph.given()).numpy()


def complexity(x: np.ndarray, levels: int | None) -> np.ndarray:
    """Returns the compressed size of each image, of so many grey levels or binary, in nats."""
    whole = np.floor(x * (levels or 1)).astype(np.uint8)
    return np.array([8 * math.log(2) * len(zlib.compress(each.tobytes(), 9)) for each in whole])


def scores_of(
    vae: kv.VAE, moments: list[np.ndarray], x: np.ndarray, levels: int | None, num_samples: int
) -> dict[str, np.ndarray]:
    """Returns the scores of x by name, higher being stranger, each (n,)."""
    nll = vae.score(x, num_samples=num_samples)
    return {
        "log-likelihood": nll,
        "ELBO": vae.score(x, by="elbo", num_samples=10),
        "against no latents": nll - without_latents(vae, moments, x),
        "less complexity": nll - complexity(x, levels),
    }


def main(
    data: Annotated[str, typer.Option(help="One set.")] = "digits",
    other: Annotated[str, typer.Option(help="The other; of the same shape.")] = "shapes:side=8",
    output: Path = Path("runs/anomaly_scores"),
    epochs: int = 40,
    latent_dim: int = 16,
    examples: Annotated[int, typer.Option(help="Test examples of each set.")] = 1000,
    num_samples: int = 500,
    rate: Annotated[float, typer.Option(help="False positives that are allowed.")] = 0.05,
    quick: bool = False,
) -> None:
    if quick:
        epochs, examples, num_samples = 1, 60, 10
    output.mkdir(parents=True, exist_ok=True)
    for kind, (prepared, likelihood) in KINDS.items():
        sets = {name: kv.data.load(name, **prepared) for name in (data, other)}
        levels = sets[data].levels
        if levels != sets[other].levels:
            print(
                f"{kind}: {data} and {other} have unlike grey levels, whose densities compare ill"
            )
            continue
        figure = matplotlib.figure.Figure(figsize=(9.6, 9.6), layout="constrained", dpi=110)
        panels = figure.subplots(2, 2, width_ratios=[5, 4])
        for row, (name, strange) in zip(panels, ((data, other), (other, data))):
            vae = train(sets[name], likelihood, epochs, latent_dim)
            seen = first(sets[name].train, 5000)
            moments = [seen.mean(axis=0), seen.std(axis=0)]
            found = {
                each: scores_of(vae, moments, first(part.test, examples), levels, num_samples)
                for each, part in sets.items()
            }
            validation = vae.score(first(sets[name].validation, 1000), num_samples=num_samples)
            limit = evaluation.threshold(validation, rate)

            print(f"{kind}, trained on {name}, {strange} as strange; {limit.sentence()}")
            pairs = {by: (found[name][by], found[strange][by]) for by in found[name]}
            for by, (usual, odd) in pairs.items():
                result = evaluation.detection(usual, odd)
                print(f"  {by}: AUROC {result.auroc:.3f} +- {result.auroc_standard_error:.3f}")
            result = evaluation.detection(*pairs["log-likelihood"], limit)
            alarms = f"{result.detection_rate:.1%} of {strange}"
            print(f"  above the threshold: {alarms}, {result.false_positive_rate:.1%} of {name}")
            histograms = {each: found[each]["log-likelihood"] for each in (name, strange)}
            title = f"trained on {name}"
            kv.plots.score_histograms(histograms, limit.value, title, axes=row[0])
            kv.plots.roc_curves(pairs, f"{strange} against {name}", axes=row[1])
        figure.savefig(output / f"{kind}.png")
        print(output / f"{kind}.png")


if __name__ == "__main__":
    typer.run(main)
