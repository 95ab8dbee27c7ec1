"""How cost grows, beside how the arithmetic does: nothing is to grow faster than its products.

    python benchmarks/growth.py [--quick] [--rounds 5] [--part examples ...]

Measures, in turns over the values of one quantity:

- examples: an epoch against the number of examples (dense);
- pixels: a step against the pixels of an image, dense and convolutional networks;
- latents: a step against the latent dimensions (dense);
- samples: `importance_sample` against the number of samples (dense, 20 images);
- replicas: an epoch against the replicas, logical CPU devices of one machine that share a global
  batch, so that the arithmetic stays the same; one is trained without a strategy.

Prints for each value the median seconds and their range, the multiplications, and the exponents
from the value before: log of the ratio of the times, or multiplications, by that of the values.
Below stand the exponents fitted over all values, and over the larger half of them, where what is
paid once weighs less. `--quick` takes two values and one round of each.
"""

import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from turns import training

DENSE, CONV = "dense:widths=[200,200],activation=relu", "conv:filters=[16,32],width=64"
STEPS, SIDE, LATENT_DIM = 30, 28, 16
BATCH = {"dense": 100, "conv": 32}
#: Examples of an epoch that replicas share, and of a global batch.
SHARED, GLOBAL_BATCH = 6400, 128
#: An exponent that is greater than that of the arithmetic by so much is marked.
TOLERANCE = 0.1


class Case(NamedTuple):
    """One value of a quantity.

    Attributes:
        value: Of what the cost may grow with.
        products: Multiplications of a turn.
        turn: Takes a turn; returns its seconds.
    """

    value: int
    products: float
    turn: Callable[[], float]


# Arithmetic


def products(layers: Any) -> float:
    """Returns the multiplications of a pass of one example through layers with kernels."""
    import keras

    total = 0.0
    for layer in layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is None:
            continue
        sides: tuple[int, ...] = ()
        if len(kernel.shape) > 2:
            transposed = isinstance(layer, keras.layers.Conv2DTranspose)
            sides = (layer.input if transposed else layer.output).shape[1:-1]
        total += math.prod(kernel.shape) * math.prod(sides)
    return total


def of_step(vae: Any, batch: int) -> float:
    """Returns the multiplications of a training step: forwards, and twice as many backwards."""
    return 3.0 * batch * products(vae._flatten_layers())


def of_samples(vae: Any, images: int, samples: int) -> float:
    """Returns the multiplications of importance sampling: one encoding, a decoding per sample."""
    decoding = products(vae.decoder._flatten_layers())
    encoding = products(vae._flatten_layers()) - decoding
    return images * (encoding + samples * decoding)


# What is measured


def binary(count: int, side: int) -> np.ndarray:
    shape = (count, side, side, 1)
    return (np.random.default_rng(0).random(shape) < 0.2).astype("float32")


def model(network: str, side: int = SIDE, latent_dim: int = LATENT_DIM) -> Any:
    import keras

    import keras_vae as kv

    keras.utils.set_random_seed(0)
    vae = kv.VAE((side, side, 1), latent_dim, network=network)
    vae.compile("adam")
    return vae


def stepping(network: str, side: int, latent_dim: int, value: int) -> Case:
    """Returns the case of a few steps on one and the same batch; its seconds are of one."""
    import tensorflow as tf

    vae, size = model(network, side, latent_dim), BATCH[network.split(":")[0]]
    turn = training(vae, tf.data.Dataset.from_tensors(binary(size, side)).repeat(STEPS))
    return Case(value, of_step(vae, size), lambda: turn() / STEPS)


def examples(count: int) -> Case:
    vae, size = model(DENSE), BATCH["dense"]
    turn = training(vae, binary(count, SIDE), batch_size=size)
    return Case(count, of_step(vae, count), turn)


def importance(samples: int, images: int = 20) -> Case:
    vae, x = model(DENSE), binary(images, SIDE)

    def turn() -> float:
        started = time.perf_counter()
        vae.importance_sample(x, samples)
        return time.perf_counter() - started

    return Case(samples, of_samples(vae, images, samples), turn)


def replicas(count: int) -> Case:
    """Returns the case of a training in a process of its own, which has as many devices."""
    command, pipe = [sys.executable, __file__, "--replicas", str(count)], subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def turn() -> float:
        print("epoch", file=process.stdin, flush=True)
        return float(process.stdout.readline())

    return Case(count, float(process.stdout.readline()), turn)


def replica_process(count: int) -> None:
    """Prints the multiplications of an epoch; then for each line read, the seconds of one."""
    import tensorflow as tf

    import keras_vae as kv

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * count
    )
    with kv.distribute.strategy("mirrored" if count > 1 else "one").scope():
        vae = model(DENSE)
    x = binary(SHARED, SIDE)
    data = kv.data.load({"train": x, "validation": x[:1], "test": x[:1]}, GLOBAL_BATCH)
    turn = training(vae, data.train)
    print(of_step(vae, SHARED), flush=True)
    for _ in sys.stdin:
        print(turn(), flush=True)


# Quantities: what makes a case of a value, and the values, the least one first

QUANTITIES: dict[str, tuple[Callable[[int], Case], tuple[int, ...]]] = {
    "examples, epoch": (examples, (2000, 4000, 8000, 16000, 32000)),
    "pixels, step, dense": (
        lambda side: stepping(DENSE, side, LATENT_DIM, side * side),
        (14, 28, 56, 112),
    ),
    "pixels, step, conv": (
        lambda side: stepping(CONV, side, LATENT_DIM, side * side),
        (14, 28, 56, 112),
    ),
    "latents, step": (lambda size: stepping(DENSE, SIDE, size, size), (2, 8, 32, 128, 512, 2048)),
    "samples, importance_sample": (importance, (50, 200, 800, 3200, 12800)),
    "replicas, epoch": (replicas, (1, 2, 4)),
}


def exponent(values: list[float], costs: list[float]) -> float:
    """Returns k of the least squares fit cost = c value^k, in logarithms."""
    return float(np.polyfit(np.log(values), np.log(costs), 1)[0])


def report(name: str, cases: list[Case], seconds: list[list[float]]) -> None:
    """Prints the table of a quantity, and its exponents."""
    medians = [statistics.median(each) for each in seconds]
    values, counts = [case.value for case in cases], [case.products for case in cases]
    print(f"\n{name}")
    for place, (value, taken) in enumerate(zip(values, seconds)):
        line = f"  {value:>7,} {1000.0 * medians[place]:10.2f} ms ({1000.0 * min(taken):.2f} to "
        line += f"{1000.0 * max(taken):.2f}), {counts[place]:.3g} multiplications"
        if place:
            pair = slice(place - 1, place + 1)
            line += f", exponents {exponent(values[pair], medians[pair]):.2f} and "
            line += f"{exponent(values[pair], counts[pair]):.2f}"
        print(line)
    for words, first in (("all", 0), ("the larger half", (len(values) - 1) // 2)):
        time_grows = exponent(values[first:], medians[first:])
        arithmetic = exponent(values[first:], counts[first:])
        faster = ": FASTER" if time_grows > arithmetic + TOLERANCE else ""
        print(f"  over {words}: time {time_grows:.2f}, arithmetic {arithmetic:.2f}{faster}")
    sys.stdout.flush()


def measure(part: list[str] | None, rounds: int, quick: bool) -> None:
    """Measures and reports each quantity."""
    print(f"{os.cpu_count()} cores, seed 0, {rounds} rounds; exponents of time and arithmetic")
    for name, (make, values) in QUANTITIES.items():
        if part and name.split(",")[0] not in part:
            continue
        cases = [make(value) for value in (values[:2] if quick else values)]
        for case in cases:
            case.turn()  # traces
        seconds = [[] for _ in cases]
        for _ in range(rounds):
            for case, taken in zip(cases, seconds):
                taken.append(case.turn())
        report(name, cases, seconds)


def main(
    part: Annotated[list[str] | None, typer.Option(help="examples, pixels, ...")] = None,
    rounds: int = 5,
    quick: bool = False,
    replicas: Annotated[int, typer.Option(hidden=True)] = 0,
) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if replicas:
        replica_process(replicas)
    else:
        measure(part, 1 if quick else rounds, quick)


if __name__ == "__main__":
    typer.run(main)
