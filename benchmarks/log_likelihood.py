"""What 5,000 importance samples of binarised MNIST cost, as a multiple of a plain matrix product.

    python benchmarks/log_likelihood.py [--images 200] [--num-samples 5000] [--repeats 3]

Scores random binary images, as many pixels of which are on as in MNIST, by an untrained dense
200-200 model with 50 latents: the time does not depend on the weights. Prints the seconds for
10,000 images in proportion, the resident memory at its highest, and the ratio to the time that a
large matrix product of the same floating-point operations takes in the same process, which says
what the loop adds whatever else the machine is doing.
"""

import os
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import typer

import keras_vae as kv

PIXELS, WIDTHS, LATENT_DIM, IMAGES = 784, [200, 200], 50, 10_000


def operations(samples: int) -> float:
    """Returns the floating-point operations of the decoder's products."""
    sizes = [LATENT_DIM, *WIDTHS, PIXELS]
    return 2.0 * samples * sum(a * b for a, b in zip(sizes[:-1], sizes[1:], strict=True))


def seconds(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def speed_of_products(size: int = 4096) -> float:
    """Returns the operations per second of one large matrix product."""
    matrix = tf.random.stateless_normal([size, size], [0, 0])
    return 2.0 * size**3 / seconds(lambda: tf.matmul(matrix, matrix).numpy())


def main(images: int = 200, num_samples: int = 5000, repeats: int = 3) -> None:
    keras.utils.set_random_seed(0)
    x = (np.random.default_rng(0).random((images, PIXELS)) < 0.13).astype("float32")
    vae = kv.VAE((PIXELS,), LATENT_DIM, network=f"dense:widths={WIDTHS}")
    vae.importance_sample(x, 1)  # traces
    speed_of_products()
    print(f"{os.cpu_count()} cores, seed 0, {images} images, {num_samples} samples each")
    ratios, scale = [], IMAGES / images
    for _ in range(repeats):
        before = speed_of_products()
        taken = seconds(lambda: vae.importance_sample(x, num_samples))
        speed = statistics.mean([before, speed_of_products()])
        ratios.append(taken / (operations(images * num_samples) / speed))
        print(
            f"{taken * scale:.0f} s for {IMAGES:,} images, product {speed / 1e9:.0f} GFLOP/s, "
            f"ratio {ratios[-1]:.2f}"
        )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"median ratio {statistics.median(ratios):.2f}, resident {memory:.2f} GiB at the highest")


if __name__ == "__main__":
    typer.run(main)
