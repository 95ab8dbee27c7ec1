"""What the defaults of `keras-vae train` are worth, setting by setting, on validation images.

    python benchmarks/defaults.py [--only 4] [--epochs 10]

Each setting is trained on MNIST, binarised dynamically, 50 latents, seed 0, and scored by the
negative log-likelihood of the first 2,000 validation images with 200 importance samples: the test
set has no part in choosing. MNIST must be prepared in TFDS_DATA_DIR. Prints a table for
docs/defaults.md.
"""

import os
from dataclasses import dataclass

import keras
import typer

import keras_vae as kv
from keras_vae import configs


@dataclass(frozen=True)
class Setting:
    """One row of the table."""

    network: str
    rate: float
    batch: int = 128
    warm_up: bool = True
    adapt: bool = True
    clip: float | None = None


SETTINGS = [
    Setting("dense", 2e-3),  # what `keras-vae train --network dense` does
    Setting("dense", 2e-3, batch=100),
    Setting("dense", 2e-3, adapt=False),
    Setting("dense", 2e-3, warm_up=False),
    Setting("dense", 1e-3),
    Setting("dense", 6e-3),
    Setting("dense", 6e-3, warm_up=False),
    Setting("dense:widths=[256,256]", 2e-3),
    Setting("dense:widths=[1024,1024]", 2e-3),
    Setting("dense:activation=relu", 2e-3),
    Setting("dense:normalization=batch", 2e-3),
    Setting("dense", 2e-3, clip=1.0),
    Setting("conv", 2e-3),
    Setting("conv:normalization=batch", 2e-3),
    Setting("resnet", 2e-3),
]


def score(setting: Setting, epochs: int) -> str:
    keras.utils.set_random_seed(0)
    data = kv.data.load("mnist", setting.batch)
    vae = kv.VAE(data.event_shape, 50, network=setting.network)
    if setting.adapt:
        vae.adapt(data.train)
    steps = epochs * len(data.train)
    rate = configs.learning_rate(setting.rate, steps, warm_up=setting.warm_up)
    vae.compile(optimizer=keras.optimizers.Adam(rate, global_clipnorm=setting.clip))
    vae.fit(data.train, epochs=epochs, verbose=0)
    held_out = data.validation.unbatch().take(2000).batch(100)
    metrics = kv.evaluation.evaluate(vae, held_out, 200)
    cells = (
        setting.network,
        setting.batch,
        f"{setting.rate:g}",
        "yes" if setting.warm_up else "no",
        "yes" if setting.adapt else "no",
        setting.clip or "no",
        f"{metrics['nll']:.2f}",
        f"{metrics['elbo']:.2f}",
        metrics["active_units"],
    )
    return f"| {' | '.join(map(str, cells))} |"


def main(only: int | None = None, epochs: int = 10) -> None:
    print(f"{os.cpu_count()} cores, {epochs} epochs")
    names = ("network", "batch", "rate", "warm-up", "at the mean", "clip", "nll", "ELBO", "active")
    print(f"| {' | '.join(names)} |")
    print(f"|{' --- |' * len(names)}")
    for number, setting in enumerate(SETTINGS):
        if only in (None, number):
            print(score(setting, epochs), flush=True)


if __name__ == "__main__":
    typer.run(main)
