"""Run folders: train into one, evaluate one, read one.

A run folder holds `config.json`, `model.keras`, `saved_model/`, `history.csv`, `metrics.json`,
`figures/*.png` and `tensorboard/`.
"""

import contextlib
import csv
import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import rich.console
import rich.markup
import rich.progress
import rich.table

from keras_vae import _checks, callbacks, configs, distribute, evaluation, export, plots
from keras_vae import data as datasets
from keras_vae.configs import Config
from keras_vae.data import Data
from keras_vae.model import VAE, load

CONFIG, MODEL, SAVED_MODEL = "config.json", "model.keras", "saved_model"
HISTORY, METRICS, FIGURES, TENSORBOARD = "history.csv", "metrics.json", "figures", "tensorboard"


def train(
    config: Config, output: str | os.PathLike[str], console: Any = None, download: bool = False
) -> Path:
    """Trains a model and fills a new run folder with everything but `metrics.json`.

    Args:
        config: What to train.
        output: The folder; it must be new or empty.
        console: A rich console for the progress bar; None shows nothing.
        download: Fetch a set of TensorFlow Datasets that is absent.

    Returns: the folder.

    Raises:
        ValueError, TypeError: for a config that cannot work; nothing is left behind.
        FileExistsError: if the folder holds anything.
    """
    folder = Path(output)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"{folder} is not empty; expected a new folder. Choose another --output."
        )
    _checks.integer("epochs", config.epochs)
    _checks.number("learning_rate", config.learning_rate, 0.0, above=True)
    keras.utils.set_random_seed(_checks.integer("seed", config.seed, 0, 2**32 - 1))
    if config.data not in datasets.BUILT_IN and Path(config.data).exists():
        # so that the run can be evaluated from elsewhere
        config = dataclasses.replace(config, data=str(Path(config.data).resolve()))
    data = configs.load_data(config, download)
    chosen, reasons = configs.resolve(config, data)
    with distribute.strategy(config.strategy).scope():
        vae = configs.compiled(chosen, data)
    if console is not None:
        console.print(table(configs.choices(chosen, data, vae, reasons)))
    with _new_folder(folder):
        history = _fit(vae, chosen, data, folder, console)
    _write_json(folder / CONFIG, dataclasses.asdict(chosen))
    _fill(folder, vae, data, history)
    return folder


@contextlib.contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Makes a folder for what is done within, and takes it away again where that fails."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except Exception:
        for place in list(folder.iterdir()):
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        for place in made:  # innermost first; another run may have come to share the outer ones
            with contextlib.suppress(OSError):
                place.rmdir()
        raise


def evaluate(
    run: str | os.PathLike[str],
    num_samples: int = 500,
    console: Any = None,
    data: str | None = None,
) -> dict[str, Any]:
    """Scores a run's model on a test set and returns the figures of merit.

    Args:
        run: The run folder.
        num_samples: Importance samples per example.
        console: A rich console for the progress bar; None shows nothing.
        data: Another data set than the run's. The run's own figures are also written to
            `metrics.json`, those of another set are not.

    Raises:
        ValueError, TypeError: if the folder holds no run, or the data does not fit the model.
    """
    _checks.integer("num_samples", num_samples)
    folder, config, vae = read(run)
    loaded = test_set(config, vae, data)
    started = time.perf_counter()
    with rich.progress.Progress(console=console, disable=console is None) as bar:
        task = bar.add_task("evaluating", total=loaded.counts["test"])
        metrics: dict[str, Any] = evaluation.evaluate(
            vae,
            loaded.test,
            num_samples,
            config.seed,
            lambda count: bar.advance(task, count),
            loaded.levels,
        )
    metrics["evaluation_seconds"] = round(time.perf_counter() - started, 3)
    metrics["training_seconds"] = training_seconds(folder)
    if data is None:
        _write_json(folder / METRICS, metrics)
    return metrics


def test_set(config: Config, vae: VAE, data: str | None = None) -> Data:
    """Returns the data set of a run, or another that is prepared like it, for the run's model.

    Raises:
        ValueError: if its events have another shape than the model's.
    """
    loaded = configs.load_data(config if data is None else dataclasses.replace(config, data=data))
    if loaded.event_shape != vae.event_shape:
        raise ValueError(
            f"The examples of {loaded.name} have shape {loaded.event_shape}; the model was trained "
            f"on {vae.event_shape}. Give data of that shape, or train a model for this one."
        )
    return loaded


def read(run: str | os.PathLike[str]) -> tuple[Path, Config, VAE]:
    """Returns the folder, config and model of a run.

    Raises:
        ValueError: if the folder holds no run.
    """
    folder = Path(run)
    if not (folder / CONFIG).is_file() or not (folder / MODEL).is_file():
        raise ValueError(
            f"{folder} holds no run; expected a folder with {CONFIG} and {MODEL}, as "
            "`keras-vae train --output` writes it."
        )
    return folder, Config.read(folder / CONFIG), load(folder / MODEL)


def figures(run: str | os.PathLike[str]) -> list[Path]:
    """Returns the paths of a run's pictures."""
    return sorted((Path(run) / FIGURES).glob("*.png"))


def training_seconds(run: str | os.PathLike[str]) -> float | None:
    """Returns how long a run's training took, or None where its history does not say."""
    path = Path(run) / HISTORY
    if not path.is_file():
        return None
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return float(rows[-1]["seconds"]) if rows and "seconds" in rows[-1] else None


def table(rows: Mapping[str, str]) -> rich.table.Table:
    """Returns names and values as a table to print."""
    table = rich.table.Table(show_header=False, box=None, padding=(0, 2))
    for name, value in rows.items():
        table.add_row(name, rich.markup.escape(value))
    return table


class _Clock(keras.callbacks.Callback):
    """Adds the seconds since the start to every epoch's logs."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs["seconds"] = round(time.perf_counter() - self._start, 3)


def _fit(
    vae: VAE, config: Config, data: Data, folder: Path, console: Any
) -> dict[str, list[float]]:
    watchers = [
        callbacks.TensorBoard(folder / TENSORBOARD, image_freq=max(1, config.epochs // 10)),
        _Clock(),
        keras.callbacks.CSVLogger(str(folder / HISTORY)),
    ]
    bar = callbacks.Progress(console) if console is not None else None
    try:
        fitted = vae.fit(
            data.train,
            validation_data=data.validation,
            epochs=config.epochs,
            callbacks=[*watchers, bar] if bar else watchers,
            verbose=0,
        )
    finally:
        if bar is not None:
            bar.on_train_end()  # gives the terminal back whatever happened
    return fitted.history


def _fill(folder: Path, vae: VAE, data: Data, history: dict[str, list[float]]) -> None:
    with _beside(folder / MODEL) as beside:
        vae.save(beside)
    export.saved_model(vae, folder / SAVED_MODEL)
    (folder / FIGURES).mkdir()
    pictures = {"history": plots.history(history)}
    if plots.is_image(data.event_shape):
        x = np.asarray(next(iter(data.test.unbatch().batch(12))))
        title = "Test examples and reconstructions"
        pictures["reconstructions"] = plots.reconstructions(x, vae.reconstruct(x), title)
        means = vae.sample(64, seed=0).mean
        pictures["samples"] = plots.image_grid(means, title="Samples from p(z), means")
    for name, figure in pictures.items():
        figure.savefig(folder / FIGURES / f"{name}.png")


def write(path: str | os.PathLike[str], writer: Callable[[Any], Any]) -> None:
    """Writes a file beside its place and renames it, so that a failure leaves what was there.

    Args:
        path: The file.
        writer: Called with the open binary file.
    """
    with _beside(Path(path)) as beside, beside.open("wb") as file:
        writer(file)


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Gives a path to write to, of the same suffix, and renames it to the target at the end."""
    beside = target.with_name(f".part-{target.name}")
    try:
        yield beside
        beside.replace(target)
    except OSError as error:
        raise OSError(f"{target} could not be written: {error.strerror or error}.") from error
    finally:
        beside.unlink(missing_ok=True)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    write(path, lambda file: file.write((json.dumps(values, indent=2) + "\n").encode()))
