"""When the exchange of gradients becomes the limit: measured speeds, and the arithmetic of links.

    python benchmarks/scaling.py [--batch-size 128] [--steps 30] [--repeats 3]

For each shipped network on 28x28x1 images with 16 latents it trains on one device and prints the
examples per second (the median of the repeats, seed 0), the bytes of a step's gradients, and for
common links the smallest batch per replica at which computing takes as long as a ring all-reduce
between many replicas, which sends and receives 2 (N - 1) / N times those bytes. On a faster device
the batch grows in proportion: `--speed 20` gives the numbers of one that is 20 times as fast.
"""

import os
import statistics
import time

import keras
import numpy as np
import tensorflow as tf
import typer

import keras_vae as kv

#: Gigabits per second, in each direction.
LINKS = {"1 Gb/s": 1, "10 Gb/s": 10, "25 Gb/s": 25, "100 Gb/s": 100, "NVLink 3.6 Tb/s": 3600}


def examples_per_second(
    network: str, batch_size: int, steps: int, repeats: int
) -> tuple[float, int]:
    """Returns the speed of training, and how many bytes the gradients of a step are."""
    keras.utils.set_random_seed(0)
    vae = kv.VAE((28, 28, 1), 16, network=network)
    vae.compile("adam", jit_compile=False)
    x = (np.random.default_rng(0).random((batch_size, 28, 28, 1)) < 0.13).astype("float32")
    data = tf.data.Dataset.from_tensors(x).repeat(steps)
    vae.fit(data.take(2), verbose=0)  # traces
    speeds = []
    for _ in range(repeats):
        started = time.perf_counter()
        vae.fit(data, verbose=0)
        speeds.append(batch_size * steps / (time.perf_counter() - started))
    size = sum(int(np.prod(v.shape)) * 4 for v in vae.trainable_variables)
    return statistics.median(speeds), size


def main(batch_size: int = 128, steps: int = 30, repeats: int = 3, speed: float = 1.0) -> None:
    print(f"{os.cpu_count()} cores, seed 0, batch {batch_size}, times {speed:g}")
    print("network | examples/s | gradient bytes | " + " | ".join(LINKS))
    for network in ("dense", "conv", "resnet"):
        rate, size = examples_per_second(network, batch_size, steps, repeats)
        rate *= speed
        least = [rate * 2 * size * 8 / (gigabits * 1e9) for gigabits in LINKS.values()]
        cells = [f"{value:.2g}" if value < 10 else f"{value:,.0f}" for value in least]
        print(f"{network} | {rate:,.0f} | {size:,} | " + " | ".join(cells), flush=True)


if __name__ == "__main__":
    typer.run(main)
