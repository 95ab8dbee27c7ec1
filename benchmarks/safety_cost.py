"""What guards and checkpoints cost: trainings with and without them, in turns.

    python benchmarks/safety_cost.py [--rounds 5] [--epochs 10]

Trains a dense 784-200-200-50 model on 20,000 binary images in batches of 100, and a small
convolutional one on 4,000, for some epochs in turns: as it is; without the look at the gradients
(the guard's verdict replaced by a constant); with `Checkpoint` at its default share; with
`Divergence`. Prints the seconds of an epoch, medians over the rounds, and ratios to the first; and
ratios of the processors' time, which other programs on the machine disturb less.
"""

import os
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf
import typer

import keras_vae as kv
from keras_vae.guarding import Guard

NETWORKS = {"dense:widths=[200,200]": (50, 20000), "conv:filters=[32,64],width=64": (2, 4000)}


class Unguarded(Guard):
    """Takes every step, without a look."""

    def judge(self, loss, gradients, optimizer):
        """Returns that a step is to be taken."""
        return tf.constant(True), gradients


def model(network: str, latent_dim: int, guarded: bool) -> kv.VAE:
    keras.utils.set_random_seed(0)
    vae = kv.VAE((28, 28, 1), latent_dim, network=network)
    vae.compile("adam")
    if not guarded:
        vae.__dict__["_guard"] = Unguarded()
    return vae


def main(rounds: int = 5, epochs: int = 10) -> None:
    print(f"{os.cpu_count()} cores, medians of {rounds} rounds of {epochs} epochs in turns")
    for network, (latent_dim, count) in NETWORKS.items():
        x = (np.random.default_rng(0).random((count, 28, 28, 1)) < 0.3).astype("float32")
        data = kv.data.load({"train": x, "validation": x[:1], "test": x[:1]}, 100).train
        folder = tempfile.mkdtemp()
        kinds = {
            "as it is": (model(network, latent_dim, True), []),
            "without the guard": (model(network, latent_dim, False), []),
            "with Checkpoint": (
                model(network, latent_dim, True),
                [kv.callbacks.Checkpoint(folder)],
            ),
            "with Divergence": (model(network, latent_dim, True), [kv.callbacks.Divergence()]),
        }
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
        busy: dict[str, list[float]] = {kind: [] for kind in kinds}
        for turn in range(rounds + 1):
            for kind, (vae, callbacks) in kinds.items():
                started, worked = time.perf_counter(), time.process_time()
                told = {"initial_epoch": turn * epochs, "epochs": (turn + 1) * epochs}
                vae.fit(data, **told, verbose=0, callbacks=callbacks)
                seconds[kind].append((time.perf_counter() - started) / epochs)
                busy[kind].append((time.process_time() - worked) / epochs)
        medians = {kind: float(np.median(values[1:])) for kind, values in seconds.items()}
        work = {kind: float(np.median(values[1:])) for kind, values in busy.items()}
        first = medians["as it is"]
        for kind, median in medians.items():
            values = seconds[kind][1:]
            share = work[kind] / work["as it is"]
            print(
                f"{network}, {kind}: {median:.2f} s ({min(values):.2f} to {max(values):.2f}), "
                f"{median / first:.3f} of the first, {share:.3f} in processors' time, "
                f"{count / median:,.0f} examples per second"
            )


if __name__ == "__main__":
    typer.run(main)
