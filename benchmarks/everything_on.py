"""What a training costs with validation, TensorBoard and the guards on, beside one without.

    python benchmarks/everything_on.py [--epochs 20] [--rounds 3] [--batch 100] [--workload dense]
        [--examples 60000] [--larger 1000]

Fits one model again and again, by turns: alone; with validation on a sixth as many examples; with
validation, `TensorBoard`, `Divergence` and `Checkpoint`, all at their defaults; and the same with
larger batches for the validation. Prints seconds of an epoch (the whole `fit` divided by its
epochs) and the ratios of each to those above it.
"""

import itertools
import os
import statistics
import tempfile
import time
from pathlib import Path

import contenders
import keras
import numpy as np
import typer

import keras_vae as kv


def callbacks(folder: Path) -> list[keras.callbacks.Callback]:
    return [
        kv.callbacks.TensorBoard(folder / "logs"),
        kv.callbacks.Divergence(),
        kv.callbacks.Checkpoint(folder / "checkpoints"),
    ]


def main(
    epochs: int = 20,
    rounds: int = 3,
    batch: int = 100,
    workload: str = "dense",
    examples: int = 60_000,
    larger: int = 1000,
) -> None:
    keras.utils.set_random_seed(0)
    x = (np.random.default_rng(0).random((examples * 7 // 6, 28, 28, 1)) < 0.2).astype("float32")
    x, held_out = x[:examples], x[examples:]
    vae = contenders.vae_model(workload)

    def seconds(count: int, validated: int, watched: bool) -> float:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            vae.fit(
                x,
                batch_size=batch,
                epochs=count,
                verbose=0,
                validation_data=held_out if validated else None,
                validation_batch_size=validated or None,
                callbacks=callbacks(Path(folder)) if watched else [],
            )
            return (time.perf_counter() - started) / count

    cases = {
        "training alone": (0, False),
        "with validation": (batch, False),
        "with everything": (batch, True),
        f"with everything, validation in batches of {larger}": (larger, True),
    }
    for case in cases.values():
        seconds(1, *case)
    print(f"{os.cpu_count()} cores, {workload}, batch {batch}, {examples:,} examples, seed 0")
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            taken[name].append(seconds(epochs, *case))
    for name, each in taken.items():
        print(f"{name}: {statistics.median(each):.3f} s ({min(each):.3f} to {max(each):.3f})")
    for less, name in itertools.combinations(cases, 2):
        ratios = [more / one for more, one in zip(taken[name], taken[less])]
        print(f"{name}, to {less}: {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    typer.run(main)
