"""What a run is made of: its config, and the data set and the model that a config stands for."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import keras

from keras_vae import _checks, _registry, networks
from keras_vae import data as datasets
from keras_vae.data import Data
from keras_vae.model import VAE

#: Each of these supports lies within the next.
_NESTED = {"binary": 0, "unit_interval": 1, "real": 2}
#: The fields that name parts of the model, as `VAE` calls them.
_PARTS = ("network", "likelihood", "posterior", "prior", "objective")


@dataclasses.dataclass(frozen=True)
class Config:
    """All that a run is made of; what `config.json` holds.

    Attributes:
        data: What `keras_vae.data.load` takes: a name, a file or a folder of images.
        binarize: As there.
        dequantize: As there.
        image_size: As there.
        skip_corrupt: As there.
        batch_size: Examples per step.
        epochs: Passes over the training set.
        latent_dim: D.
        network: A strategy, or None for one that fits the shape.
        likelihood: A strategy, or None for "bernoulli" on binary data and
            "normal:variance=shared" on other data.
        posterior: A strategy.
        prior: A strategy.
        objective: A strategy.
        learning_rate: Of Adam at its highest; it rises from 0 over the first twentieth of the
            steps and falls to 0 along half a cosine.
        seed: Of weights, order and noise.
        strategy: As in `keras_vae.distribute.strategy`.
    """

    data: str = "digits"
    binarize: str | None = "auto"
    dequantize: bool = False
    image_size: int | tuple[int, int] | None = None
    skip_corrupt: bool = False
    batch_size: int = 128
    epochs: int = 50
    latent_dim: int = 16
    network: str | None = None
    likelihood: str | None = None
    posterior: str = "diagonal_normal"
    prior: str = "standard_normal"
    objective: str = "elbo"
    learning_rate: float = 2e-3
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
            raise ValueError(
                f"{file} could not be read as JSON: {error}; expected an object such as "
                '{"data": "digits", "epochs": 20}.'
            ) from error
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


def load_data(config: Config, download: bool = False) -> Data:
    """Returns the data set of a config."""
    return datasets.load(
        config.data,
        config.batch_size,
        binarize=config.binarize,
        dequantize=config.dequantize,
        image_size=config.image_size,
        skip_corrupt=config.skip_corrupt,
        download=download,
        seed=config.seed,
    )


def resolve(config: Config, data: Data) -> tuple[Config, dict[str, str]]:
    """Returns the config with every open choice made, and why each was made."""
    likelihood = "bernoulli" if data.support == "binary" else "normal:variance=shared"
    values = "0 and 1" if data.support == "binary" else "real"
    network = networks.get(None, data.event_shape).short_name
    fits = "an image" if network == "conv" else "no image, or a small one"
    made = {
        "binarize": (data.binarize, f"how {data.name} is usually used", config.binarize == "auto"),
        "likelihood": (likelihood, f"the values are {values}", config.likelihood is None),
        "network": (network, f"an event is {fits}", config.network is None),
    }
    chosen: dict[str, Any] = {name: value for name, (value, _, open_) in made.items() if open_}
    reasons = {name: why for name, (_, why, open_) in made.items() if open_}
    return dataclasses.replace(config, **chosen), reasons


def choices(config: Config, data: Data, vae: VAE, reasons: dict[str, str]) -> dict[str, str]:
    """Returns what a training is about to do, and why where that was left open."""
    steps = len(data.train)
    counts = ", ".join(f"{count:,} {split}" for split, count in data.counts.items())
    rows = {
        "data": f"{data.name}: {counts} examples of shape {data.event_shape}",
        "binarize": str(config.binarize),
        **{part: str(getattr(config, part)) for part in ("likelihood", "network", "posterior")},
        "prior": f"{config.prior}, {vae.latent.latent_dim} latent dimensions",
        "objective": config.objective,
        "training": f"{config.epochs} epochs of {steps} steps, {vae.count_params():,} parameters",
        "optimiser": f"Adam at {config.learning_rate:g} after a warm-up, falling to 0 on a cosine",
    }
    for name, reason in reasons.items():
        rows[name] += f" ({reason})"
    return rows


def compiled(config: Config, data: Data) -> VAE:
    """Returns the model of a resolved config, adapted to the data and compiled.

    Raises:
        ValueError, TypeError: for parts that fit neither one another nor the data.
    """
    parts = {part: getattr(config, part) for part in _PARTS}
    vae = VAE(data.event_shape, config.latent_dim, seed=config.seed, **parts)
    likelihood = vae.likelihood
    if _NESTED[data.support] > _NESTED.get(likelihood.support, 2):
        raise ValueError(
            f"The values of {data.name} lie outside the support of the likelihood "
            f"{likelihood.short_name!r}; expected {_checks.SUPPORTS[likelihood.support].words}. "
            "Choose another likelihood, such as 'normal:variance=shared'."
        )
    vae.adapt(data.train)
    steps = config.epochs * len(data.train)
    vae.compile(optimizer=keras.optimizers.Adam(learning_rate(config.learning_rate, steps)))
    return vae


def learning_rate(
    highest: float, steps: int, warm_up: bool = True
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns the rate of a training: up over a twentieth of the steps, then half a cosine to 0.

    Args:
        highest: The rate at its highest.
        steps: Of the whole training.
        warm_up: Whether to start at 0; otherwise at the highest.
    """
    rise = steps // 20 if warm_up else 0
    return keras.optimizers.schedules.CosineDecay(
        0.0 if rise else highest,
        steps - rise,
        warmup_target=highest if rise else None,
        warmup_steps=rise,
    )


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
