"""Run folders: train into one, evaluate one, read one.

A run folder holds `config.json`, `model.keras`, `saved_model/`, `history.csv`, `metrics.json`,
`figures/*.png` and `tensorboard/`, while it is trained `checkpoint/`, and where steps were left out
because they were not finite `skipped/`.
"""

import contextlib
import csv
import dataclasses
import json
import math
import os
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import rich.console
import rich.markup
import rich.progress
import rich.table
import tensorflow as tf

from keras_vae import (
    _checks,
    _files,
    _sides,
    callbacks,
    configs,
    distribute,
    evaluation,
    export,
    plots,
)
from keras_vae import data as datasets
from keras_vae.configs import Config
from keras_vae.data import Data
from keras_vae.loading import load
from keras_vae.model import VAE

CONFIG, MODEL, SAVED_MODEL = "config.json", "model.keras", "saved_model"
#: How many test examples figures and gaps are made of, and how many are too few for gaps.
DRAWN, LEAST = 2000, 50
#: Samples of shapes that are held against the truth.
SHAPES = 2000
HISTORY, METRICS, FIGURES, TENSORBOARD = "history.csv", "metrics.json", "figures", "tensorboard"
CHECKPOINTS, SKIPPED, GONE = "checkpoint", "skipped", ".part-checkpoint"
#: The dtype policies that a model may be trained with.
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


def train(
    config: Config,
    output: str | os.PathLike[str],
    console: Any = None,
    download: bool = False,
    resume: bool = False,
) -> Path | None:
    """Trains a model and fills a new run folder with everything but `metrics.json`.

    While it trains, the folder holds `config.json`, `history.csv`, `tensorboard/` and
    `checkpoint/`, from which a training that was cut off goes on; that is gone at the end. Of
    several workers the chief alone writes, and all must see the folder.

    Args:
        config: What to train.
        output: The folder; it must be new or empty, or to be gone on with.
        console: A rich console for the progress bar; None shows nothing.
        download: Fetch a set of TensorFlow Datasets that is absent.
        resume: Go on with what the folder holds: from its last checkpoint, or from the start where
            it has none. A run that is whole is left as it is.

    Returns: the folder; None on a worker that is not the chief.

    Raises:
        ValueError, TypeError: for a config that cannot work, or is not that of the run to be gone
            on with; nothing is left behind.
        FileExistsError: if the folder holds anything, but for a run where `resume` is given.
        OSError: if it cannot be made, which shows before any data is read.
        ConnectionError: if another worker is lost.
        TimeoutError: if one does not come.
    """
    folder = Path(output)
    stored = _stored(folder) if resume else None
    if stored is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"{folder} is not empty; expected a new folder. Choose another --output."
        )
    _checks.integer("epochs", config.epochs, maximum=_checks.LONGEST_SCHEDULE)
    _checks.number("learning_rate", config.learning_rate, 0.0, above=True)
    _checks.integer("seed", config.seed, 0, 2**32 - 1)
    strategy = distribute.strategy(config.strategy)  # before TensorFlow does anything
    chief = distribute.is_chief(strategy)
    if chief:
        _files.check_room(folder / CONFIG)
    keras.utils.set_random_seed(config.seed)
    config = dataclasses.replace(config, data=_from_anywhere(config.data))
    data = configs.load_data(config, download, labels=None)
    chosen, reasons = configs.resolve(config, data)
    if stored is not None:
        _check_same(folder, stored, dataclasses.asdict(chosen))
    if stored is not None and is_whole(folder):
        shutil.rmtree(folder / GONE, ignore_errors=True)
        return folder if chief else None
    with _precision(config.precision), strategy.scope():
        vae = configs.compiled(chosen, data)
    if not chief:
        _fit(vae, chosen, data, folder, None)
        return None
    if console is not None:
        console.print(table(configs.choices(chosen, data, vae, reasons)))
    with _run_folder(folder, resume):
        _write_json(folder / CONFIG, dataclasses.asdict(chosen))
        try:
            history = _fit(vae, chosen, data, folder, console)
        except FloatingPointError:  # diverged, and put back to where it was good
            with _files.beside(folder / MODEL) as beside:
                vae.save(beside)
            raise
        _fill(folder, vae, data, history)
    return folder


def _fill(folder: Path, vae: VAE, data: Data, history: Mapping[str, list[float]]) -> None:
    """Writes what is made of a trained model into its run; at the end the checkpoints may go."""
    with _files.beside(folder / MODEL) as beside:
        vae.save(beside)
    shutil.rmtree(folder / SAVED_MODEL, ignore_errors=True)  # of a run that was cut off here
    export.saved_model(vae, folder / SAVED_MODEL)
    _save_figures(folder, {"history": plots.history(history)})
    _draw(folder, vae, data, _first(vae, data, data.test))
    _remove_checkpoints(folder)


def _remove_checkpoints(folder: Path) -> None:
    """Removes the checkpoints of a run that is whole: at once for whoever looks, even if killed."""
    gone = folder / GONE
    shutil.rmtree(gone, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        (folder / CHECKPOINTS).rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def is_whole(run: str | os.PathLike[str]) -> bool:
    """Returns whether a folder holds a run whose training has ended."""
    folder = Path(run)
    whole = (folder / CONFIG).is_file() and (folder / MODEL).is_file()
    return whole and not (folder / CHECKPOINTS).exists()


def _stored(folder: Path) -> dict[str, Any] | None:
    """Returns what the config of a run says, or None where there is none."""
    path = folder / CONFIG
    return dataclasses.asdict(Config.read(path)) if path.is_file() else None


def _check_same(folder: Path, stored: dict[str, Any], chosen: dict[str, Any]) -> None:
    """Raises a ValueError where a run to be gone on with was started otherwise."""
    chosen = json.loads(json.dumps(chosen))
    for name, value in json.loads(json.dumps(stored)).items():
        if value != chosen[name] and name != "strategy":
            raise ValueError(
                f"{folder} was started with {name}={_checks.brief(repr(value))}, and "
                f"{_checks.brief(repr(chosen[name]))} was given; expected the same. Leave it out, "
                "or train into another --output."
            )


@contextlib.contextmanager
def _precision(name: str) -> Iterator[None]:
    """Makes layers that are created within compute in a precision."""
    _checks.one_of("precision", name, PRECISIONS)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _from_anywhere(data: str) -> str:
    """Returns a name as it is and a path whole, so that the run can be evaluated from elsewhere."""
    return str(Path(data).resolve()) if datasets.is_path(data) else data


@contextlib.contextmanager
def _run_folder(folder: Path, resume: bool) -> Iterator[None]:
    """Makes the folder for what is done within; takes it away where that fails, not to be resumed.

    It stays where it holds a checkpoint to go on from, or was there before.
    """
    made = _files.absent(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:  # Ctrl-C too
        if not resume and not has_checkpoint(folder):
            for place in list(folder.glob("*")):
                shutil.rmtree(place) if place.is_dir() else place.unlink()
            _files.remove(made)
        raise


def has_checkpoint(run: str | os.PathLike[str]) -> bool:
    """Returns whether a run was cut off and can be gone on with."""
    return callbacks.last_checkpoint(Path(run) / CHECKPOINTS) is not None


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
    `evaluation.shape_scores` (`shapes_...`). A model that has diverged has None of either, and
    null in `metrics.json` for what is no number.

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
        _files.check_room(folder / METRICS)
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
        test = _first(vae, loaded, loaded.test)
        metrics |= _gaps(folder, vae, config, loaded, test) | _shapes(vae, config, loaded, test)
        _write_json(folder / METRICS, metrics)
        _draw(folder, vae, loaded, test)
    return metrics


def _gaps(
    folder: Path, vae: VAE, config: Config, data: Data, test: tuple[Any, Any]
) -> dict[str, Any]:
    """Returns how the codes of the test set cover the prior, and draws it."""
    told = ("mmd2", "mmd2_p_value", "classifier_accuracy", "classifier_p_value")
    names = (*told, "far_share", "far_p_value")
    (x, _), (train, _) = test, _first(vae, data, data.train)
    nothing = dict.fromkeys([f"gap_{name}" for name in (*names, "verdict")])
    if min(_sides.count(x), _sides.count(train)) < LEAST:
        return nothing
    codes, prior, reference = evaluation.gap_draws(vae, x, config.seed, train)
    if not evaluation.finite(codes, prior, reference):
        return nothing
    found = evaluation.gaps_between(codes, prior, config.seed, reference=reference)
    far = evaluation.far_from_codes(codes, prior, config.seed, reference)
    _save_figures(folder, {"gaps": plots.latent_gaps(codes, prior, far, "Codes over the prior")})
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
    condition = _sides.condition_of(x, SHAPES)
    means = vae.sample(SHAPES, seed=config.seed, condition=condition).mean
    again = vae.reconstruct(x)
    if not evaluation.finite(means, again):
        return dict.fromkeys(
            [f"shapes_{name}" for name in (*evaluation.ShapeScores._fields, "verdict")]
        )
    # The means of real likelihoods may lie beyond black and white.
    means, again = np.clip(means, 0.0, 1.0), np.clip(again, 0.0, 1.0)
    found = evaluation.shape_scores(means, renders, again, values, data.label_names)
    kept = {f"shapes_{name}": value for name, value in found._asdict().items()}
    return kept | {"shapes_verdict": found.sentence()}


def _first(vae: VAE, data: Data, split: Any, count: int = DRAWN) -> tuple[Any, Any]:
    """Returns the first examples of a split, as the model takes them, and their labels."""
    found = next(split.unbatch().batch(count).as_numpy_iterator())
    x, labels = found if data.labelled else (found, None)
    return ({"x": x, "condition": labels} if vae.condition is not None else x), labels


def test_examples(
    run: str | os.PathLike[str], n: int, data: str | None = None
) -> tuple[VAE, np.ndarray, Any]:
    """Returns the model of a run and n test examples: x (n, E), and as the model takes them.

    Raises:
        ValueError: if there are fewer.
    """
    _, config, vae = read(run)
    loaded = test_set(config, vae, data)
    if n > loaded.counts["test"]:
        raise ValueError(
            f"{n} test examples are needed, and {loaded.name} has {loaded.counts['test']}; choose "
            "a smaller --n."
        )
    events, _ = _first(vae, loaded, loaded.test, n)
    return vae, _sides.event_of(events), events


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
        if data is None or is_own(config, data):
            loaded = configs.load_data(config, labels=labels)
        else:
            loaded = configs.load_other(config, data)
    check_shape(loaded, vae)
    return loaded


def is_own(config: Config, data: str) -> bool:
    """Returns whether a name or path is that of the data a run was trained on."""
    return _from_anywhere(data) == config.data


def check_shape(loaded: Data, vae: VAE) -> None:
    """Raises a ValueError for data whose events have another shape than the model's."""
    if loaded.event_shape != vae.event_shape:
        raise ValueError(
            f"The examples of {loaded.name} have shape {loaded.event_shape}; the model was trained "
            f"on {vae.event_shape}. Give data of that shape, or train a model for this one."
        )


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
        with (Path(run) / HISTORY).open(newline="") as file:
            text = file.read(2**26)  # no history is longer
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


def _fit(
    vae: VAE, config: Config, data: Data, folder: Path, console: Any
) -> dict[str, list[float]]:
    writes = distribute.is_chief(vae.distribute_strategy)
    watchers = _watchers(config, data, folder) if writes else []
    bar = [callbacks.Progress(console)] if console is not None else []
    checkpoint = callbacks.Checkpoint(folder / CHECKPOINTS)
    divergence = callbacks.Divergence(folder / SKIPPED)
    average = [] if config.ema is None else [keras.callbacks.SwapEMAWeights()]
    try:
        fitted = vae.fit(
            data.train,
            validation_data=data.validation,
            epochs=config.epochs,
            callbacks=[divergence, *average, *watchers, *bar, checkpoint],
            verbose=0,
        )
    except tf.errors.OpError as error:
        if str(folder / TENSORBOARD) not in error.message:
            raise
        reason = error.message.splitlines()[0].rpartition("; ")[2]
        raise OSError(f"{folder / TENSORBOARD} could not be written: {reason}.") from error
    finally:
        for each in bar:
            each.on_train_end()  # gives the terminal back whatever happened
    return fitted.history


def _watchers(config: Config, data: Data, folder: Path) -> list[keras.callbacks.Callback]:
    """Returns what watches a training for a run folder, which may hold its beginning."""
    found = callbacks.last_checkpoint(folder / CHECKPOINTS)
    _rewind(folder / HISTORY, 0 if found is None else found.epochs)
    return [
        callbacks.TensorBoard(
            folder / TENSORBOARD,
            label_names=data.label_names,
            hparams=dataclasses.asdict(config),
        ),
        callbacks.CollapseWarning(),
        callbacks.Clock(),
        keras.callbacks.CSVLogger(str(folder / HISTORY), append=found is not None),
    ]


def _rewind(path: Path, epochs: int) -> None:
    """Takes from a history what came after the checkpoint that is gone on from."""
    if path.is_file():
        lines = path.read_bytes().splitlines(keepends=True)
        _files.write(path, lambda file: file.writelines(lines[: epochs + 1]))


def _draw(folder: Path, vae: VAE, data: Data, test: tuple[Any, Any]) -> None:
    """Draws what the model makes of test examples, with their labels, into a run."""
    x, labels = test
    pictures = evaluation.figures(vae, x, labels, data.label_names, data.column_names)
    _save_figures(folder, pictures)


def _save_figures(folder: Path, pictures: Mapping[str, Any]) -> None:
    (folder / FIGURES).mkdir(exist_ok=True)
    for name, figure in pictures.items():
        path = folder / FIGURES / f"{name}.png"
        _files.write(path, lambda file, figure=figure: figure.savefig(file, format="png"))


def _write_json(path: Path, values: dict[str, Any]) -> None:
    """Writes a flat dict; what is NaN or infinite becomes null, as JSON has neither."""
    kept = {name: None if _lost(value) else value for name, value in values.items()}
    text = json.dumps(kept, indent=2, allow_nan=False) + "\n"
    _files.write(path, lambda file: file.write(text.encode()))


def _lost(value: Any) -> bool:
    numbers = value if isinstance(value, list) else [value]
    return any(isinstance(each, float) and not math.isfinite(each) for each in numbers)
