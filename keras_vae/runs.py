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
from pathlib import Path
from typing import Any

import keras
import numpy as np
import rich.console
import rich.progress

from keras_vae import _checks, _registry, callbacks, distribute, evaluation, export, plots
from keras_vae import data as datasets
from keras_vae.data import Data
from keras_vae.model import VAE, load

CONFIG, MODEL, SAVED_MODEL = "config.json", "model.keras", "saved_model"
HISTORY, METRICS, FIGURES, TENSORBOARD = "history.csv", "metrics.json", "figures", "tensorboard"
_NESTED = {"binary": 0, "unit_interval": 1, "real": 2}


@dataclasses.dataclass(frozen=True)
class Config:
    """All that a run is made of; what `config.json` holds.

    Attributes:
        data: Name of a built-in set, or path of a .npy or .npz file.
        binarize: As in `keras_vae.data.load`.
        batch_size: Examples per step.
        epochs: Passes over the training set.
        latent_dim: D.
        network: A strategy, or None for one that fits the shape.
        likelihood: A strategy, or None for "bernoulli" on binary data and
            "normal:variance=shared" on other data.
        posterior: A strategy.
        prior: A strategy.
        objective: A strategy.
        learning_rate: Of Adam at the start; it falls to 0 along half a cosine.
        seed: Of weights, order and noise.
        strategy: As in `keras_vae.distribute.strategy`.
    """

    data: str = "digits"
    binarize: str | None = "auto"
    batch_size: int = 128
    epochs: int = 50
    latent_dim: int = 16
    network: str | None = None
    likelihood: str | None = None
    posterior: str = "diagonal_normal"
    prior: str = "standard_normal"
    objective: str = "elbo"
    learning_rate: float = 1e-3
    seed: int = 0
    strategy: str = "auto"

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Config":
        """Returns the config in a JSON file.

        Raises:
            ValueError: if the file is missing, is not JSON, or has a key that is not known.
        """
        file = Path(path)
        try:
            values = json.loads(file.read_text())
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"{file} could not be read as JSON: {error}.") from error
        known = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(values, dict):
            raise ValueError(f"{file} holds {type(values).__name__}; expected a JSON object.")
        for key in values:
            if key not in known:
                raise ValueError(
                    f"{file} has the key {key!r}; expected some of {', '.join(known)}."
                    + _checks.near(key, known)
                )
        return cls(**values)


def train(config: Config, output: str | os.PathLike[str], console: Any = None) -> Path:
    """Trains a model and fills a new run folder with everything but `metrics.json`.

    Args:
        config: What to train.
        output: The folder; it must be new or empty.
        console: A rich console for the progress bar; None shows nothing.

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
    if Path(config.data).is_file():  # so that the run can be evaluated from elsewhere
        config = dataclasses.replace(config, data=str(Path(config.data).resolve()))
    data = datasets.load(config.data, config.batch_size, binarize=config.binarize, seed=config.seed)
    config = dataclasses.replace(config, likelihood=config.likelihood or _likelihood(data))
    with distribute.strategy(config.strategy).scope():
        vae = _compiled(config, data)
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        history = _fit(vae, config, data, folder, console)
    except ValueError:
        for place in list(folder.iterdir()):
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        for place in made:  # innermost first; another run may have come to share the outer ones
            with contextlib.suppress(OSError):
                place.rmdir()
        raise
    _write_json(folder / CONFIG, dataclasses.asdict(config))
    _fill(folder, vae, data, history)
    return folder


def evaluate(
    run: str | os.PathLike[str], num_samples: int = 500, console: Any = None
) -> dict[str, Any]:
    """Scores a run's model on its test set, writes `metrics.json` and returns what it holds."""
    _checks.integer("num_samples", num_samples)
    folder, config, vae = read(run)
    data = datasets.load(config.data, config.batch_size, binarize=config.binarize, seed=config.seed)
    started = time.perf_counter()
    with rich.progress.Progress(console=console, disable=console is None) as bar:
        task = bar.add_task("evaluating", total=data.counts["test"])
        metrics: dict[str, Any] = evaluation.evaluate(
            vae, data.test, num_samples, config.seed, lambda count: bar.advance(task, count)
        )
    metrics["evaluation_seconds"] = round(time.perf_counter() - started, 3)
    metrics["training_seconds"] = training_seconds(folder)
    _write_json(folder / METRICS, metrics)
    return metrics


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


def _likelihood(data: Data) -> str:
    return "bernoulli" if data.support == "binary" else "normal:variance=shared"


def _compiled(config: Config, data: Data) -> VAE:
    vae = VAE(
        data.event_shape,
        config.latent_dim,
        network=config.network,
        likelihood=config.likelihood or _likelihood(data),
        posterior=config.posterior,
        prior=config.prior,
        objective=config.objective,
        seed=config.seed,
    )
    if _NESTED[data.support] > _NESTED.get(vae.likelihood.support, 2):
        raise ValueError(
            f"The values of {data.name} lie outside the support of the likelihood "
            f"{vae.likelihood.short_name!r}; expected "
            f"{_checks.SUPPORTS[vae.likelihood.support].words}. Choose another likelihood, such as "
            "'normal:variance=shared'."
        )
    steps = config.epochs * -(-data.counts["train"] // config.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)
    vae.compile(optimizer=keras.optimizers.Adam(schedule))
    return vae


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
    vae.save(folder / MODEL)
    export.saved_model(vae, folder / SAVED_MODEL)
    (folder / FIGURES).mkdir()
    plots.history(history).savefig(folder / FIGURES / "history.png")
    if plots.is_image(data.event_shape):
        x = np.asarray(next(iter(data.test.unbatch().batch(12))))
        plots.reconstructions(x, vae.reconstruct(x), "Test examples and reconstructions").savefig(
            folder / FIGURES / "reconstructions.png"
        )
        plots.image_grid(vae.sample(64, seed=0).mean, title="Samples from p(z), means").savefig(
            folder / FIGURES / "samples.png"
        )


def _write_json(path: Path, values: dict[str, Any]) -> None:
    """Writes beside and renames, so that a previous file survives a failure."""
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(json.dumps(values, indent=2) + "\n")
    beside.replace(path)


def objective_with_beta(objective: str, beta: float | str | None) -> str:
    """Returns the objective with its beta set.

    Raises:
        ValueError: if the objective says its beta already, or has none.
    """
    if beta is None:
        return objective
    if not isinstance(objective, str):
        raise TypeError(f"objective is {objective!r}; expected a name, such as 'elbo'.")
    name, options = _registry.parse(objective)
    if name != "elbo" or "beta" in options:
        raise ValueError(
            f"beta is {beta} and objective {objective!r}; expected --beta with the objective "
            "'elbo' alone, or the value inside the objective, such as elbo:beta=4."
        )
    others = "".join(f",{key}={value}" for key, value in options.items())
    return f"elbo:beta={beta}{others}"
