"""How fast the data comes: the examples per second of input pipelines alone, without a model.

    python benchmarks/pipeline.py [--batch 100 --batch 512] [--rounds 5] [--part arrays ...]

Goes through one training epoch of each pipeline when it is its turn, batch by batch as `fit` does:

- arrays: a float32 array by Keras's own adapter, and as `fit` takes it;
- memory: `keras_vae.data` of an array of grey levels (uint8), as it is and dynamically binarised,
  and of a float32 array;
- tfds: MNIST of TensorFlow Datasets, dynamically binarised (prepared in TFDS_DATA_DIR);
- folder: a folder of PNG images, 28 x 28, made for it.

All are shuffled. Prints medians and ranges, and the milliseconds from the start of an epoch to its
first batch for a set of 200 examples, which is what every epoch pays.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tensorflow as tf
import typer
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

import keras_vae as kv
from keras_vae.data.pipeline import of_arrays

TINY = 200
#: From grey levels (n, 28, 28, 1) and a batch size to an epoch's batches.
Pipeline = Callable[[np.ndarray, int], tf.data.Dataset]


def levels(count: int) -> np.ndarray:
    """Returns images (count, 28, 28, 1) of random grey levels, uint8."""
    return np.random.default_rng(0).integers(0, 256, (count, 28, 28, 1), np.uint8)


def train(source: Any, batch: int, binarize: str | None) -> tf.data.Dataset:
    """Returns the training batches of data that is not to be split."""
    splits = {"train": source, "validation": source[:1], "test": source[:1]}
    return kv.data.load(splits, batch, binarize=binarize).train


def unit(greys: np.ndarray) -> np.ndarray:
    return (greys / 255.0).astype("float32")


def by_keras(greys: np.ndarray, batch: int) -> tf.data.Dataset:
    """Returns what Keras makes of an array."""
    return ArrayDataAdapter(unit(greys), batch_size=batch, shuffle=True).get_tf_dataset()


def folder(greys: np.ndarray, batch: int) -> tf.data.Dataset:
    """Returns the training batches of images as files; what is not trained on is one of each."""
    from PIL import Image

    root = Path(tempfile.mkdtemp())
    for split, images in {"train": greys, "validation": greys[:1], "test": greys[:1]}.items():
        (root / split).mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image[..., 0]).save(root / split / f"{number}.png")
    return kv.data.load(root, batch, binarize=None).train


PARTS: dict[str, dict[str, Pipeline]] = {
    "arrays": {
        "array, Keras's adapter": by_keras,
        "array, as fit takes it": lambda greys, batch: of_arrays(
            (unit(greys),), batch, True, (0, 0)
        ),
    },
    "memory": {
        "uint8": lambda greys, batch: train(greys, batch, None),
        "uint8, dynamically binarised": lambda greys, batch: train(greys, batch, "dynamic"),
        "float32": lambda greys, batch: train(unit(greys), batch, None),
    },
    "tfds": {"MNIST, dynamically binarised": lambda _, batch: kv.data.load("mnist", batch).train},
    "folder": {"PNG images": folder},
}


def epoch(batches: tf.data.Dataset) -> tuple[int, float]:
    """Returns how many examples an epoch has, and its seconds."""
    count, started = 0, time.perf_counter()
    for batch in batches:
        count += len(tf.nest.flatten(batch)[0])
    return count, time.perf_counter() - started


def first_batch(batches: tf.data.Dataset) -> float:
    """Returns the milliseconds until an epoch's first batch is there."""
    started = time.perf_counter()
    next(iter(batches))
    return 1000.0 * (time.perf_counter() - started)


def in_turns(measure: Callable[[Any], Any], sets: dict[str, Any], rounds: int) -> dict[str, list]:
    """Returns what is measured of each set in each round but the first, which warms up."""
    found: dict[str, list] = {name: [] for name in sets}
    for turn in range(rounds + 1):
        for name, batches in sets.items():
            value = measure(batches)
            if turn:
                found[name].append(value)
    return found


def spread(values: list[float], digits: int = 0) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def main(
    batch: Annotated[list[int], typer.Option(help="Examples of a batch")] = [100, 512],  # noqa: B006
    part: Annotated[list[str] | None, typer.Option(help=f"Some of {', '.join(PARTS)}")] = None,
    rounds: int = 5,
    examples: int = 20000,
    images: Annotated[int, typer.Option(help="Files in the folder")] = 2000,
) -> None:
    print(f"{os.cpu_count()} cores, {examples} examples of 28 x 28, {images} files, {rounds} turns")
    chosen = {name: each for key in part or PARTS for name, each in PARTS[key].items()}
    if "mnist" not in kv.data.tfds.prepared():
        for name in chosen.keys() & PARTS["tfds"].keys():
            chosen.pop(name)
            print(f"{name}: left out, since MNIST is not prepared in {kv.data.tfds.data_dir()}")
    greys = levels(examples)
    for size in batch:
        sets = {
            name: make(greys[:images] if name in PARTS["folder"] else greys, size)
            for name, make in chosen.items()
        }
        print(f"\nbatch {size}: examples per second")
        for name, passes in in_turns(epoch, sets, rounds).items():
            rates = [count / seconds for count, seconds in passes]
            print(f"  {name:<30} {spread(rates)}", flush=True)
    tiny = {name: make(greys[:TINY], 100) for name, make in chosen.items()}
    print(f"\nfirst batch of 100, of {TINY} examples (of MNIST all): milliseconds")
    for name, milliseconds in in_turns(first_batch, tiny, 4 * rounds).items():
        print(f"  {name:<30} {spread(milliseconds, 1)}")


if __name__ == "__main__":
    typer.run(main)
