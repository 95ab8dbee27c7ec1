"""Training on an array that does not fit into memory: how much of it is held, and how fast it is.

    python benchmarks/large_data.py [--gigabytes 20] [--steps 50] [--rounds 5] [--full] [--binary]
        [--folder .]

Writes images (n, 28, 28, 1), uint8, to an .npy file, which `keras_vae.data` reads by index above 1
GiB. Most of the file are holes, which take no room on the disk and read as zeros without its work,
but pass through memory like what is written; `--full` writes random grey levels all over it, and
needs the room. Grey levels are known for such from the first of them; with `--binary` the values
are 0 and 1, so that the file must be looked through to its end. A small residual network with 16
latents is trained a number of steps on images from all over the file, and as many on its first
20,000 in memory, by turns in one process; both are binarised dynamically.

Prints examples per second with their ratio (to be at least 0.9), the seconds until the data is
ready, and resident memory at its highest (to stay below 2 GB): RssAnon, what the process allocated,
RssFile, pages of files that it has mapped (the libraries' code), and their sum.
"""

import os
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated

import keras
import numpy as np
import tensorflow as tf
import typer
from turns import training

import keras_vae as kv

NETWORK, LATENT_DIM = "resnet:filters=[32,64],width=128,activation=relu", 16
EVENT, SIZE = (28, 28, 1), 784
#: Images that are held in memory, and that a file with holes holds.
HELD, WRITTEN = 20000, 4096
KINDS = ("RssAnon", "RssFile", "RssShmem")


def resident() -> dict[str, float]:
    """Returns the process's resident memory by kind, in gigabytes of 1e9 bytes, and their sum."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = dict(line.split(":") for line in lines if line.startswith(KINDS))
    kinds = {kind: 1024.0 * int(found[kind].split()[0]) / 1e9 for kind in KINDS}
    return {"resident": sum(kinds.values()), **kinds}


class Memory:
    """Looks at resident memory every few milliseconds, and keeps the highest of each kind."""

    def __init__(self) -> None:
        self.highest = resident()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(0.02)
            self.highest = {kind: max(n, self.highest[kind]) for kind, n in resident().items()}

    def tell(self, when: str) -> None:
        """Prints the highest values since they were last told."""
        print(f"{when}: " + ", ".join(f"{kind} {n:.2f}" for kind, n in self.highest.items()), "GB")
        self.highest = resident()


def write(path: Path, count: int, full: bool, levels: int) -> None:
    """Writes a file of `count` images; past NumPy's maps, which would be resident."""
    random = np.random.default_rng(0)
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *EVENT)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        file.truncate(start + count * SIZE)
        places = range(0, count, WRITTEN) if full else np.linspace(0, count - 1, WRITTEN)
        for place in map(int, places):
            file.seek(start + place * SIZE)
            images = min(WRITTEN, count - place) if full else 1
            file.write(random.integers(0, levels, images * SIZE, np.uint8).tobytes())


def in_memory(path: Path, count: int, batch_size: int) -> tf.data.Dataset:
    """Returns the training batches of the first images of the file, held in memory."""
    start = path.stat().st_size - count * SIZE
    values = np.fromfile(path, np.uint8, min(HELD, count) * SIZE, offset=start)
    x = values.reshape(-1, *EVENT)
    splits = {"train": x, "validation": x[:1], "test": x[:1]}
    return kv.data.load(splits, batch_size, binarize="dynamic").train


def measure(path: Path, count: int, batch_size: int, steps: int, rounds: int) -> None:
    """Trains by turns, and prints speeds and memory."""
    memory = Memory()
    memory.tell("at the start")
    started = time.perf_counter()
    data = kv.data.load(path, batch_size, binarize="dynamic").train
    print(f"the file was looked through in {time.perf_counter() - started:.1f} s")
    memory.tell("until then")
    keras.utils.set_random_seed(0)
    vae = kv.VAE(EVENT, LATENT_DIM, network=NETWORK)
    vae.compile("adam")
    sources = {"memory": in_memory(path, count, batch_size), "file": data}
    turns = {name: training(vae, each, steps_per_epoch=steps) for name, each in sources.items()}
    rates: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(rounds + 1):
        for name, turn in turns.items():
            rate = steps * batch_size / turn()
            rates[name] += [rate] if number else []  # the first one traces
    memory.tell("in training")
    for name, each in rates.items():
        low, high = min(each), max(each)
        print(f"from {name}: {statistics.median(each):,.0f} examples/s ({low:,.0f} to {high:,.0f})")
    ratios = [file / held for file, held in zip(rates["file"], rates["memory"])]
    print(f"the file's to the memory's, turn by turn: {statistics.median(ratios):.3f}")


def main(
    gigabytes: Annotated[float, typer.Option(min=1.08, help="Size of the file")] = 20.0,
    steps: int = 50,
    rounds: int = 5,
    batch_size: int = 100,
    full: Annotated[bool, typer.Option(help="Write all of the file")] = False,
    binary: Annotated[bool, typer.Option(help="Write no values but 0 and 1")] = False,
    folder: Annotated[Path | None, typer.Option(help="Where it is written for the while")] = None,
) -> None:
    count, place = int(gigabytes * 1e9) // SIZE, Path(tempfile.mkdtemp(dir=folder))
    print(f"{os.cpu_count()} cores, seed 0, {count:,} images, {steps} steps of {batch_size} a turn")
    try:
        started = time.perf_counter()
        write(place / "images.npy", count, full, 2 if binary else 256)
        used = 512 * (place / "images.npy").stat().st_blocks / 1e9
        words = f"{gigabytes:g} GB, of which {used:.2f} are on the disk"
        print(f"a file of {words}, written in {time.perf_counter() - started:.1f} s")
        measure(place / "images.npy", count, batch_size, steps, rounds)
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    typer.run(main)
