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
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import rich.console
import rich.markup
import rich.progress
import rich.table
import tensorflow as tf

from keras_vae import _checks, callbacks, configs, distribute, evaluation, export, plots
from keras_vae import data as datasets
from keras_vae.configs import Config
from keras_vae.data import Data
from keras_vae.model import VAE, load

CONFIG, MODEL, SAVED_MODEL = "config.json", "model.keras", "saved_model"
#: How many test examples figures and gaps are made of, and how many are too few for gaps.
DRAWN, LEAST = 2000, 50
#: Samples of shapes that are held against the truth.
SHAPES = 2000
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
        OSError: if it cannot be made, which shows before any data is read.
    """
    folder = Path(output)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"{folder} is not empty; expected a new folder. Choose another --output."
        )
    check_room(folder / CONFIG)
    _checks.integer("epochs", config.epochs)
    _checks.number("learning_rate", config.learning_rate, 0.0, above=True)
    keras.utils.set_random_seed(_checks.integer("seed", config.seed, 0, 2**32 - 1))
    config = dataclasses.replace(config, data=_from_anywhere(config.data))
    data = configs.load_data(config, download, labels=None)
    chosen, reasons = configs.resolve(config, data)
    with distribute.strategy(config.strategy).scope():
        vae = configs.compiled(chosen, data)
    if console is not None:
        console.print(table(configs.choices(chosen, data, vae, reasons)))
    with _new_folder(folder):
        history = _fit(vae, chosen, data, folder, console)
        _write_json(folder / CONFIG, dataclasses.asdict(chosen))
        with _beside(folder / MODEL) as beside:
            vae.save(beside)
    export.saved_model(vae, folder / SAVED_MODEL)
    _save_figures(folder, {"history": plots.history(history)})
    _draw(folder, vae, data, _first(data, data.test))
    return folder


def _from_anywhere(data: str) -> str:
    """Returns a name as it is and a path whole, so that the run can be evaluated from elsewhere."""
    return str(Path(data).resolve()) if datasets.is_path(data) else data


@contextlib.contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Makes a folder for what is done within, and takes it away again where that fails."""
    made = _absent(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:  # Ctrl-C too
        for place in list(folder.glob("*")):
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        _remove(made)
        raise


def _absent(folder: Path) -> list[Path]:
    return [place for place in (folder, *folder.parents) if not place.exists()]


def _remove(made: list[Path]) -> None:
    """Removes folders, the innermost first; another run may have come to share the outer ones."""
    for place in made:
        with contextlib.suppress(OSError):
            place.rmdir()


def check_room(path: str | os.PathLike[str]) -> None:
    """Raises an OSError where nothing can be written at a path; leaves nothing there.

    What takes long calls it first, so that no result is lost for want of a place.
    """
    target = Path(path)
    made = _absent(target.parent)
    try:
        for place in reversed(made):
            place.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise OSError(
            f"{target} cannot be written ({error.strerror}); expected a place where files can be "
            "made. Choose another."
        ) from error
    finally:
        _remove(made)


def evaluate(
    run: str | os.PathLike[str],
    num_samples: int | None = None,
    console: Any = None,
    data: str | None = None,
    method: str = "importance",
    annealing: evaluation.Annealing = evaluation.base.DEFAULT,
) -> dict[str, Any]:
    """Scores a run's model on a test set and returns the figures of merit.

    They are those of `evaluation.evaluate`, and of the run's own data those of `evaluation.gaps`
    (`gap_...`, None of fewer than 50 examples) and of the built-in shapes those of
    `evaluation.shape_scores` (`shapes_...`).

    Args:
        run: The run folder.
        num_samples: Samples, or chains, per example; None takes the method's default.
        console: A rich console for the progress bar; None shows nothing.
        data: Another data set than the run's; see `test_set`. The run's own figures are also
            written to `metrics.json`, and drawn anew; those of another set are not.
        method: How log p(x) is estimated: "importance", "annealed" or "prior".
        annealing: How the chains of "annealed" go.

    Raises:
        ValueError, TypeError: if the folder holds no run, or the data does not fit the model.
        OSError: if the figures cannot be written, which shows before anything is scored.
    """
    evaluation.base.samples_of(method, num_samples)
    folder, config, vae = read(run)
    if data is None:
        check_room(folder / METRICS)
    loaded = test_set(config, vae, data, labels=None if data is None else False)
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
            method,
            annealing,
        )
    metrics["evaluation_seconds"] = round(time.perf_counter() - started, 3)
    metrics["training_seconds"] = training_seconds(folder)
    if data is None:
        test = _first(loaded, loaded.test)
        metrics |= _gaps(folder, vae, config, loaded, test) | _shapes(vae, config, loaded, test)
        _write_json(folder / METRICS, metrics)
        _draw(folder, vae, loaded, test)
    return metrics


def _gaps(
    folder: Path, vae: VAE, config: Config, data: Data, test: tuple[Any, Any]
) -> dict[str, Any]:
    """Returns how the codes of the test set cover the prior, and draws it."""
    names = ("mmd2", "mmd2_p_value", "classifier_accuracy", "classifier_p_value", "far_share")
    (x, _), (train, _) = test, _first(data, data.train)
    if len(x) < LEAST or len(train) < LEAST:
        return dict.fromkeys([f"gap_{name}" for name in (*names, "verdict")])
    found = evaluation.gaps(vae, x, config.seed, train=train)
    title = "Codes over the prior"
    picture = evaluation.gaps_figure(vae, x, config.seed, title, train)
    _save_figures(folder, {"gaps": picture})
    return {f"gap_{name}": getattr(found, name) for name in names} | {
        "gap_verdict": found.sentence()
    }


def _shapes(vae: VAE, config: Config, data: Data, test: tuple[Any, Any]) -> dict[str, Any]:
    """Returns what samples of a model of the built-in shapes are worth, of others nothing."""
    if config.data.split(":")[0].split("(")[0] != "shapes":
        return {}
    x, values = test
    train: Any = datasets.find(config.data).train
    renders = np.concatenate(list(train.part(0, data.counts["train"]).chunks())) / 255.0
    means = vae.sample(SHAPES, seed=config.seed).mean
    found = evaluation.shape_scores(means, renders, vae.reconstruct(x), values, data.label_names)
    kept = {f"shapes_{name}": value for name, value in found._asdict().items()}
    return kept | {"shapes_verdict": found.sentence()}


def _first(data: Data, split: Any) -> tuple[Any, Any]:
    """Returns the first examples of a split, at most as many as are drawn, and their labels."""
    found = next(split.unbatch().batch(DRAWN).as_numpy_iterator())
    return found if data.labelled else (found, None)


def test_set(
    config: Config, vae: VAE, data: str | None = None, labels: bool | None = False
) -> Data:
    """Returns the data set of a run, or another that is prepared like it, for the run's model.

    Of another set, `test` is the test split it has of its own, or else its validation split, or
    else all of its examples. Of the run's own it is always what was not trained on, with labels as
    in `configs.load_data`.

    Raises:
        ValueError: if its events have another shape than the model's.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "batch_size is")  # of training examples, of no use here
        if data is None or _from_anywhere(data) == config.data:
            loaded = configs.load_data(config, labels=labels)
        else:
            loaded = configs.load_other(config, data)
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


def metrics(run: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the figures of merit that `evaluate` wrote into a run, or none.

    Raises:
        ValueError: if they cannot be read.
    """
    path = Path(run) / METRICS
    return configs.read_json(path, '{"nll": 90.5}') if path.is_file() else {}


def training_seconds(run: str | os.PathLike[str]) -> float | None:
    """Returns how long a run's training took, or None where its history does not say."""
    try:
        text = (Path(run) / HISTORY).read_text()
        last = list(csv.DictReader(text.splitlines()))[-1]
        return float(last["seconds"]) if text.endswith("\n") else None  # else it was cut
    except (OSError, csv.Error, LookupError, TypeError, ValueError):
        return None


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
        callbacks.TensorBoard(
            folder / TENSORBOARD,
            label_names=data.label_names,
            hparams=dataclasses.asdict(config),
        ),
        callbacks.CollapseWarning(),
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
    except tf.errors.OpError as error:
        if str(folder / TENSORBOARD) not in error.message:
            raise
        reason = error.message.splitlines()[0].rpartition("; ")[2]
        raise OSError(f"{folder / TENSORBOARD} could not be written: {reason}.") from error
    finally:
        if bar is not None:
            bar.on_train_end()  # gives the terminal back whatever happened
    return fitted.history


def _draw(folder: Path, vae: VAE, data: Data, test: tuple[Any, Any]) -> None:
    """Draws what the model makes of test examples, with their labels, into a run."""
    x, labels = test
    pictures = evaluation.figures(vae, x, labels, data.label_names, data.column_names)
    _save_figures(folder, pictures)


def _save_figures(folder: Path, pictures: Mapping[str, Any]) -> None:
    (folder / FIGURES).mkdir(exist_ok=True)
    for name, figure in pictures.items():
        path = folder / FIGURES / f"{name}.png"
        write(path, lambda file, figure=figure: figure.savefig(file, format="png"))


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
