"""What `callbacks.TensorBoard` costs, as a share of the time of training on MNIST.

    python benchmarks/tensorboard_cost.py [--epochs 10] [--pairs 3] [--network dense]

Trains one model again and again, by turns without and with the callback at its default interval,
which for ten epochs is pictures in every second one. MNIST must be prepared in
TFDS_DATA_DIR. A new model is traced and warmed up first, with the callback too.
"""

import os
import statistics
import tempfile
import time
from typing import Any

import keras
import typer

import keras_vae as kv


def main(epochs: int = 10, pairs: int = 3, network: str = "dense", latent_dim: int = 16) -> None:
    keras.utils.set_random_seed(0)
    data = kv.data.load("mnist", 128)
    vae = kv.VAE(data.event_shape, latent_dim, network=network)
    vae.compile("adam")

    def seconds(count: int, *callbacks: Any) -> float:
        started = time.perf_counter()
        vae.fit(
            data.train,
            validation_data=data.validation,
            epochs=count,
            callbacks=callbacks,
            verbose=0,
        )
        return time.perf_counter() - started

    def board() -> Any:
        return kv.callbacks.TensorBoard(tempfile.mkdtemp())

    print(f"{os.cpu_count()} cores, {network}, {latent_dim} latents, {epochs} epochs, seed 0")
    print(f"the first epoch, with all tracing: {seconds(1, board()):.1f} s")
    ratios = []
    for _ in range(pairs):
        plain, watched = seconds(epochs), seconds(epochs, board())
        ratios.append(watched / plain)
        print(f"plain {plain:.1f} s, with TensorBoard {watched:.1f} s, ratio {ratios[-1]:.3f}")
    print(f"median ratio {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    typer.run(main)
