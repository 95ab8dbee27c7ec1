"""How well are missing entries of tables filled? scikit-learn's built-in sets, entries removed.

    python benchmarks/imputation.py [--steps 4000] [--seeds 2]

Removes 20 and 50 % of the entries of standardised tables at random, fits each imputer to what is
left, and prints the root mean squared error of the filled entries: column means, scikit-learn's
KNNImputer and IterativeImputer, and `impute` of a model trained with missing=True by the
importance-weighted bound of 20 samples (4 latents, dense 128-128, a normal of learned variance). A
tenth of the rows tells when to stop. Also prints how often the 90 % intervals of 200 draws hold the
removed value.
"""

import os
import time

import keras
import numpy as np
import sklearn.datasets
import typer
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

import keras_vae as kv

SETS = ("iris", "wine", "breast_cancer", "diabetes", "digits")


def table(name: str) -> np.ndarray:
    """Returns a set standardised, without columns that never vary."""
    x = getattr(sklearn.datasets, f"load_{name}")().data.astype("float64")
    x = x[:, x.std(0) > 0]
    return ((x - x.mean(0)) / x.std(0)).astype("float32")


def ours(x: np.ndarray, steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns x filled, and the ends of 90 % intervals, (2, n, columns)."""
    keras.utils.set_random_seed(seed)
    vae = kv.VAE(
        x.shape[1:],
        4,
        network="dense:widths=[128,128]",
        likelihood="normal:variance=learned,minimum_stddev=0.05",
        objective="iwae:samples=20",
        missing=True,
        seed=seed,
    )
    vae.adapt(x)
    held = np.random.default_rng(seed).permutation(len(x)) < len(x) // 10
    vae.compile(keras.optimizers.Adam(1e-3))
    epochs = steps // -(-np.sum(~held) // 64)
    stop = keras.callbacks.EarlyStopping(
        "val_loss", patience=max(epochs // 10, 20), restore_best_weights=True
    )
    vae.fit(
        x[~held],
        validation_data=x[held],
        epochs=int(epochs),
        batch_size=64,
        verbose=0,
        callbacks=[stop],
    )
    found = vae.impute(x, 2000, 200, seed=seed)
    return found.x, np.quantile(found.draws, [0.05, 0.95], axis=0)


def main(steps: int = 4000, seeds: int = 2) -> None:
    print(f"{os.cpu_count()} cores, at most {steps} steps, {seeds} seed(s)")
    for name in SETS:
        truth = table(name)
        for share in (0.2, 0.5):
            errors: dict[str, list[float]] = {}
            covered, started = [], time.perf_counter()
            for seed in range(seeds):
                lost = np.random.default_rng(seed).random(truth.shape) < share
                x = np.where(lost, np.float32(np.nan), truth)
                filled, (low, high) = ours(x, steps, seed)
                others = {
                    "mean": SimpleImputer(),
                    "KNN": KNNImputer(),
                    "iterative": IterativeImputer(random_state=seed),
                }
                made = {key: each.fit_transform(x) for key, each in others.items()}
                for key, values in {**made, "keras_vae": filled}.items():
                    error = np.sqrt(np.mean(np.square(values - truth)[lost]))
                    errors.setdefault(key, []).append(float(error))
                covered.append(np.mean(((low <= truth) & (truth <= high))[lost]))
            shown = ", ".join(f"{key} {np.mean(values):.3f}" for key, values in errors.items())
            seconds = time.perf_counter() - started
            print(
                f"{name} {truth.shape}, {share:.0%} missing: {shown}; 90 % intervals hold "
                f"{np.mean(covered):.1%} ({seconds:.0f} s)",
                flush=True,
            )


if __name__ == "__main__":
    typer.run(main)
