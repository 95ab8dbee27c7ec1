"""The whole job on the built-in digits: train, evaluate, export, and sample from the export.

Run it with `make demo`, or `python examples/demo.py [--output runs/demo] [--epochs 60]`. About 40
seconds on 2 cores.
"""

import time
from itertools import count
from pathlib import Path
from typing import Annotated

import numpy as np
import rich.console
import rich.table
import tensorflow as tf
import typer

import keras_vae as kv


def new_folder(wanted: Path) -> Path:
    """Returns the folder itself, or the first of folder-2, folder-3, ... that is free."""
    free = (wanted if n == 1 else wanted.with_name(f"{wanted.name}-{n}") for n in count(1))
    return next(folder for folder in free if not folder.exists())


def main(
    output: Annotated[Path, typer.Option(help="Run folder; numbered if taken.")] = Path(
        "runs/demo"
    ),
    epochs: int = 60,
    num_samples: int = 500,
) -> None:
    console = rich.console.Console()
    started = time.perf_counter()
    config = kv.runs.Config(data="digits", latent_dim=8, epochs=epochs)
    run = kv.runs.train(config, new_folder(output), console)
    metrics = kv.runs.evaluate(run, num_samples, console)

    # From here on nothing of the package is needed: the SavedModel samples by itself.
    exported = tf.saved_model.load(str(run / "saved_model"))
    seed = tf.constant([0, 1], tf.int32)
    sample = exported.signatures["sample"](n=tf.constant(64), seed=seed)
    means = np.asarray(sample["mean"])
    title = "Samples from the SavedModel, means"
    kv.plots.image_grid(means, title=title).savefig(run / "figures" / "saved_model_samples.png")

    table = rich.table.Table("test set of digits", "value")
    table.add_row("ELBO", f"{metrics['elbo']:.2f} nats")
    table.add_row("negative log-likelihood", f"{metrics['nll']:.2f} nats")
    table.add_row("  its standard error over examples", f"{metrics['nll_standard_error']:.2f} nats")
    table.add_row("  its Monte Carlo error", f"{metrics['nll_monte_carlo_error']:.3f} nats")
    table.add_row("active units", f"{metrics['active_units']} of {config.latent_dim}")
    table.add_row("seconds, all in all", f"{time.perf_counter() - started:.0f}")
    console.print(table)
    for path in kv.runs.figures(run):
        console.print(str(path), soft_wrap=True)
    console.print(f"TensorBoard: .venv/bin/tensorboard --logdir {run / 'tensorboard'}")


if __name__ == "__main__":
    typer.run(main)
