"""What a Vamp prior, a flow posterior and a fitted prior are worth on MNIST.

    python benchmarks/priors.py [--epochs 10] [--seeds 1] [--only vamp]

Each model (dense 300-300, 40 latents, batch 128) is trained on dynamically binarised MNIST for as
many epochs, from the same seeds, with the settings of `keras-vae train`, and scored by the negative
log-likelihood of test images with importance samples. Then a model of small beta, whose codes are
not spread as N(0, I), gets priors fitted to the codes of its training set; how codes of test images
cover each prior is measured. MNIST must be prepared in TFDS_DATA_DIR. Prints two tables.
"""

import os
import time

import keras
import numpy as np
import tensorflow as tf
import typer

import keras_vae as kv
from keras_vae import configs

WARM = {"objective": "elbo:beta=linear(steps=900)"}
SETTINGS = {
    "standard_normal, diagonal_normal": {},
    "vamp, diagonal_normal": {"prior": "vamp:components=500"},
    "standard_normal, autoregressive_flow": {"posterior": "autoregressive_flow"},
    "standard_normal, diagonal_normal, warm-up": WARM,
    "standard_normal, autoregressive_flow, warm-up": {"posterior": "autoregressive_flow", **WARM},
    "standard_normal, autoregressive_flow:steps=2,widths=128, warm-up": {
        "posterior": "autoregressive_flow:steps=2,widths=128",
        **WARM,
    },
}
BETA, CODES = 0.1, 10_000


def trained(seed: int, epochs: int, **parts: object) -> tuple[kv.VAE, kv.data.Data, float]:
    keras.utils.set_random_seed(seed)
    data = kv.data.load("mnist", 128, seed=seed)
    vae = kv.VAE(data.event_shape, 40, network="dense:widths=[300,300]", seed=seed, **parts)
    vae.adapt(data.train)
    rate = configs.learning_rate(2e-3, epochs * len(data.train))
    vae.compile(optimizer=keras.optimizers.Adam(rate))
    started = time.perf_counter()
    vae.fit(data.train, epochs=epochs, verbose=0)
    return vae, data, (time.perf_counter() - started) / epochs


def rows(dataset: tf.data.Dataset, count: int) -> np.ndarray:
    return np.stack([x.numpy() for x in dataset.unbatch().take(count)])


def likelihoods(seed: int, epochs: int, images: int, num_samples: int, only: str) -> None:
    print("| prior, posterior | seed | NLL | standard error | ELBO | KL | seconds an epoch |")
    print(f"|{' --- |' * 7}", flush=True)
    for name, parts in SETTINGS.items():
        if only not in name:
            continue
        vae, data, seconds = trained(seed, epochs, **parts)
        x = rows(data.test, images)
        nll, terms = -vae.log_likelihood(x, num_samples), vae.elbo_terms(x)
        elbo = -(terms.reconstruction_loss + terms.kl_loss).mean()
        error = nll.std() / np.sqrt(len(nll))
        print(
            f"| {name} | {seed} | {nll.mean():.2f} | {error:.2f} | {elbo:.2f} | "
            f"{terms.kl_loss.mean():.2f} | {seconds:.1f} |",
            flush=True,
        )


def fitted(seed: int, epochs: int) -> None:
    vae, data, _ = trained(seed, epochs, objective=f"elbo:beta={BETA}")
    x, train = rows(data.test, 2000), rows(data.train, CODES)
    print("| prior | seed | MMD^2 | classifier | far from codes | test codes, log p(z) |")
    print(f"|{' --- |' * 6}", flush=True)
    models = {"standard_normal": vae}
    models |= {
        prior: vae.fit_prior(train, prior)
        for prior in ("mixture", "mixture:components=50,covariance=diagonal", "flow")
    }
    for name, model in models.items():
        found = kv.evaluation.gaps(model, x, seed, permutations=99, train=train)
        codes = kv.evaluation.aggregate_posterior(model, x, seed)
        log_pz = np.mean(model.latent.log_prior(tf.constant(codes), model.graph.given()))
        print(
            f"| {name} | {seed} | {found.mmd2:.4f} | {found.classifier_accuracy:.1%} | "
            f"{found.far_share:.1%} | {log_pz:.2f} |",
            flush=True,
        )


def main(
    epochs: int = 10,
    seeds: int = 1,
    images: int = 2000,
    num_samples: int = 200,
    only: str = "",
) -> None:
    print(f"{os.cpu_count()} cores, {epochs} epochs, {images} images, {num_samples} samples")
    for seed in range(seeds):
        if only != "fitted":
            likelihoods(seed, epochs, images, num_samples, only)
        if only in ("", "fitted"):
            print(f"beta = {BETA}, priors fitted to {CODES:,} codes")
            fitted(seed, epochs)


if __name__ == "__main__":
    typer.run(main)
