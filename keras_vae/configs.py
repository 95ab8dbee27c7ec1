"""What a run is made of: its config, and the data set and the model that a config stands for."""

import dataclasses
import json
import os
import types
import typing
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_vae import _archive, _checks, _registry, networks, schedules
from keras_vae import data as datasets
from keras_vae.data import Data, Source, Split
from keras_vae.model import VAE

#: Each of these supports lies within the next.
_NESTED: dict[Any, int] = {"binary": 0, "unit_interval": 1, "real": 2}
#: The fields that name parts of the model, as `VAE` calls them.
_PARTS = ("likelihood", "network", "posterior", "prior", "objective")
#: A name, a name with options, or a config as Keras serialises it.
Strategy = str | dict[str, Any]
#: Letters of a JSON file.
MOST_JSON = 2**23
#: Bytes of the weights of a model, and what is said of more.
MOST_WEIGHTS = 2**33
TOO_LARGE = (
    f"The weights of the model take more than {MOST_WEIGHTS:,} bytes, with one of shape {{}}; "
    "expected fewer. Choose a smaller network, or fewer latent dimensions or components."
)
#: What the command line may condition a model on.
CONDITIONS = ("labels",)
#: How messages name what a field may hold.
_WORDS = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    dict: "a config as Keras serialises it",
    tuple: "a pair of whole numbers",
    types.NoneType: "null",
}


@dataclasses.dataclass(frozen=True)
class Config:
    """All that a run is made of; what `config.json` holds.

    A value of another type than its field's raises a TypeError.

    Attributes:
        data: What `keras_vae.data.load` takes: a name, a file or a folder of images.
        binarize: As there.
        dequantize: As there.
        image_size: As there.
        skip_corrupt: As there.
        batch_size: Examples per step.
        epochs: Passes over the training set.
        latent_dim: D.
        network: A strategy (a name, a name with options, or a config as Keras serialises it), or
            None for one that fits the shape.
        likelihood: A strategy, or None for "bernoulli" on binary data and
            "normal:variance=shared" on other data.
        posterior: A strategy.
        prior: A strategy.
        objective: A strategy.
        condition: "labels" to condition the model on the labels of the data, or None.
        missing: Whether NaN, or an empty field of a table, stands for an entry that is missing.
        ema: The momentum of a moving average of the weights, such as 0.999, which validation, the
            saved model and the exported one have in place of the weights; or None.
        gradient_limit: As in `VAE.compile`; or None.
        learning_rate: Of Adam at its highest; it rises from 0 over the first twentieth of the
            steps and falls to 0 along half a cosine.
        seed: Of weights, order and noise.
        strategy: As in `keras_vae.distribute.strategy`.
        precision: The dtype policy of the networks: "float32", "mixed_bfloat16" or "mixed_float16".
            Distributions and losses are float32 in each.
    """

    data: str = "digits"
    binarize: str | None = "auto"
    dequantize: bool = False
    image_size: int | tuple[int, int] | None = None
    skip_corrupt: bool = False
    batch_size: int = 128
    epochs: int = 50
    latent_dim: int = 16
    network: Strategy | None = None
    likelihood: Strategy | None = None
    posterior: Strategy = "diagonal_normal"
    prior: Strategy = "standard_normal"
    objective: Strategy = "elbo"
    condition: str | None = None
    missing: bool = False
    ema: float | None = None
    gradient_limit: float | None = None
    learning_rate: float = 2e-3
    seed: int = 0
    strategy: str = "auto"
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name, annotation in typing.get_type_hints(type(self)).items():
            value, kinds = getattr(self, name), _kinds(annotation)
            if not any(_is(value, kind) for kind in kinds):
                expected = " or ".join(_WORDS[typing.get_origin(kind) or kind] for kind in kinds)
                raise TypeError(
                    f"{name} is {_checks.brief(repr(value))} ({type(value).__name__}); expected "
                    f"{expected}."
                )

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Config":
        """Returns the config in a JSON file.

        Raises:
            ValueError: if the file is missing, is no JSON object, has a key that is not known or a
                value of another type than the key's.
        """
        values = read_json(path)
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise ValueError(
                    f"{path} has the key {_checks.brief(repr(key))}; expected some of "
                    f"{', '.join(known)}." + _checks.near(key, known)
                )
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"In {path}, {error}") from error

    def override(self, given: Mapping[str, Any]) -> "Config":
        """Returns this config with options of the command line in place of what it says.

        Args:
            given: Field -> value; `binarize` may be "none". Of `binarize` and `dequantize`, one
                that is given takes the other's place. `beta` goes into the objective, in place of
                the one it has here.

        Raises:
            ValueError, TypeError: for a beta that is none, that the objective cannot have, or that
                the objective given has already.
        """
        chosen = {**vars(self), **{key: given[key] for key in vars(self) if key in given}}
        if given.get("dequantize") and "binarize" not in given:
            chosen["binarize"] = "none"
        if given.get("binarize", "none") not in ("none", "auto") and "dequantize" not in given:
            chosen["dequantize"] = False
        chosen["binarize"] = None if chosen["binarize"] == "none" else chosen["binarize"]
        chosen["objective"] = objective_with_beta(
            chosen["objective"], given.get("beta"), replace="objective" not in given
        )
        return Config(**chosen)


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """Returns the types that an annotation allows."""
    is_union = typing.get_origin(annotation) in (types.UnionType, typing.Union)
    return typing.get_args(annotation) if is_union else (annotation,)


def _is(value: Any, kind: Any) -> bool:
    """Returns whether a value is of a type, as JSON writes it: lists for tuples, 1 for 1.0."""
    if typing.get_origin(kind) is tuple:
        kinds = typing.get_args(kind)
        return isinstance(value, (list, tuple)) and [type(each) for each in value] == list(kinds)
    if kind in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if kind is float else typing.get_origin(kind) or kind)


def read_json(
    path: str | os.PathLike[str], example: str = '{"data": "digits", "epochs": 20}'
) -> dict[str, Any]:
    """Returns the object in a JSON file of UTF-8, with or without a byte-order mark.

    Args:
        path: The file.
        example: What the message for a broken one shows.

    Raises:
        ValueError: if there is no such file, or it holds anything else.
    """
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            text = file.read(MOST_JSON + 1)
        if len(text) > MOST_JSON:
            raise ValueError(f"it is longer than {MOST_JSON:,} letters")
        values = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} could not be read as JSON: {_checks.brief(error)}; expected an object such as "
            f"{example}."
        ) from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds {type(values).__name__}; expected a JSON object.")
    return values


def load_data(config: Config, download: bool = False, labels: bool | None = False) -> Data:
    """Returns the data set of a config; with `labels` None, labels where there are any.

    A config with a condition has them whatever `labels` says.
    """
    return datasets.load(
        config.data,
        config.batch_size,
        binarize=config.binarize,
        dequantize=config.dequantize,
        labels=config.condition is not None or labels,
        image_size=config.image_size,
        skip_corrupt=config.skip_corrupt,
        download=download,
        missing=config.missing,
        seed=config.seed,
    )


def load_other(config: Config, data: str) -> Data:
    """Returns another set than a config's, prepared like it, to be scored.

    All three splits are the first that the set has of a test split, a validation split and a
    training split. It is resized only where it holds images to resize, and dequantised only where
    it holds grey levels; a warning says where it is not.
    """
    found = _find_like(config, data)
    held_out = list(_splits(found).values())[-1]
    found = dataclasses.replace(found, train=held_out, validation=held_out, test=held_out)
    return _load_like(config, data, found)


def load_every(config: Config, data: str) -> dict[str, tuple[Data, Split]]:
    """Returns all splits of another set than a config's, prepared like it, each to be scored.

    Values are scaled and drawn as in `load_other`.

    Returns: split -> the data set whose `test` it is, in the order of the source, and the split as
        it was found.
    """
    found = _find_like(config, data)
    splits = _splits(found)
    made = {}
    for name, split in splits.items():
        others = [each for each in splits.values() if each is not split] or [split]
        alone = dataclasses.replace(found, train=others[0], validation=others[-1], test=split)
        made[name] = (_load_like(config, data, alone), split)
    return made


def _splits(found: Source) -> dict[str, Split]:
    """Returns the splits that a set has of its own, the training split first."""
    splits = {"train": found.train, "validation": found.validation, "test": found.test}
    return {name: split for name, split in splits.items() if split is not None}


def _find_like(config: Config, data: str) -> Source:
    fixed = Path(data).suffix in datasets.FILES or data in datasets.BUILT_IN
    return datasets.find(
        data,
        image_size=None if fixed else config.image_size,
        skip_corrupt=config.skip_corrupt,
        missing=config.missing,
    )


def _load_like(config: Config, data: str, found: Source) -> Data:
    """Returns a source that has all splits, prepared like a config's data to score its `test`.

    Args:
        config: The config.
        data: What the source was found by, for messages.
        found: The source.
    """
    test: Any = found.test
    levels = test.dtype == np.uint8
    if config.dequantize and not levels:
        warnings.warn(
            f"{data} holds no grey levels (whole numbers as uint8), so its values are scored as "
            "they are, without the noise that the run's were given.",
            stacklevel=2,
        )
    return datasets.load(
        found,
        min(config.batch_size, test.count),
        binarize=config.binarize,
        dequantize=config.dequantize and levels,
        labels=config.condition is not None,
        missing=config.missing,
        seed=config.seed,
    )


def default_likelihood(support: str) -> str:
    """Returns the likelihood that is chosen for data of this support where none is named."""
    return "bernoulli" if support == "binary" else "normal:variance=shared"


def resolve(config: Config, data: Data) -> tuple[Config, dict[str, str]]:
    """Returns the config with every open choice made, and why each was made."""
    likelihood = default_likelihood(data.support)
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
        **{part: _checks.brief(getattr(config, part)) for part in _PARTS},
        "training": f"{config.epochs} epochs of {steps} steps, {vae.count_params():,} parameters",
        "optimiser": f"Adam at {config.learning_rate:g} after a warm-up, falling to 0 on a cosine",
    }
    if vae.condition is not None:
        rows["condition"] = f"the labels, {vae.condition.words}"
    rows["prior"] += f", {vae.latent.latent_dim} latent dimensions"
    for name, reason in reasons.items():
        rows[name] += f" ({reason})"
    return rows


def compiled(config: Config, data: Data) -> VAE:
    """Returns the model of a resolved config, adapted to the data and compiled.

    Raises:
        ValueError, TypeError: for parts that fit neither one another nor the data.
    """
    parts = {part: getattr(config, part) for part in _PARTS}
    parts |= {"condition": condition(config, data), "missing": config.missing}
    with _archive.weights_of_at_most(MOST_WEIGHTS, TOO_LARGE):
        vae = VAE(data.event_shape, config.latent_dim, seed=config.seed, **parts)
    likelihood = vae.likelihood
    if _NESTED[data.support] > _NESTED.get(likelihood.support, 2):
        raise ValueError(
            f"The values of {data.name} lie outside the support of the likelihood "
            f"{likelihood.short_name!r}; expected {_checks.support(likelihood.support).words}. "
            "Choose another likelihood, such as 'normal:variance=shared'."
        )
    vae.adapt(data.train)
    steps = config.epochs * len(data.train)
    average = {}
    if config.ema is not None:
        momentum = _checks.number("ema", config.ema, 0.0, above=True)
        if momentum >= 1.0:
            raise ValueError(f"ema is {momentum:g}; expected a number below 1, such as 0.999.")
        average = {"use_ema": True, "ema_momentum": momentum}
    rate = learning_rate(config.learning_rate, steps)
    vae.compile(keras.optimizers.Adam(rate, **average), gradient_limit=config.gradient_limit)
    return vae


def condition(config: Config, data: Data) -> Any:
    """Returns what a model of a config is conditioned on: the kind of labels that the data has.

    Raises:
        ValueError: for another condition than "labels"; for labels that are words, all alike, or
            whole numbers that reach beyond the number of examples.
    """
    if config.condition is None:
        return None
    _checks.one_of("condition", config.condition, CONDITIONS)
    if data.classes is not None:
        _check_classes(data.name, data.classes, sum(data.counts.values()))
        return data.classes
    spec = data.train.element_spec[1]
    if spec.dtype == tf.string or spec.shape.rank not in (1, 2):
        raise ValueError(
            f"The labels of {data.name} are {spec.dtype.name} of shape {spec.shape[1:]}; expected "
            "whole numbers from 0 on, or vectors of numbers. Number the classes."
        )
    return (spec.shape[1] if spec.shape.rank == 2 else 1,)


def _check_classes(name: str, classes: int, examples: int) -> None:
    """Raises a ValueError for labels that are all alike, or reach beyond the examples."""
    if classes < 2:
        raise ValueError(
            f"The labels of {name} are 0 throughout; expected two classes at least. Leave "
            "--condition out."
        )
    if classes > max(examples, 2):
        raise ValueError(
            f"The labels of {name} reach {classes - 1:,}, and there are {examples:,} examples; "
            "expected classes numbered from 0 on. Number them so."
        )


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


def objective_with_beta(
    objective: Strategy, beta: float | str | None, replace: bool = True
) -> Strategy:
    """Returns an objective with its beta set, or as it is for None.

    Args:
        objective: A name, with options or none, or a config.
        beta: A number, or the name of a schedule, with options or none.
        replace: Whether beta may take the place of one that the objective has.

    Raises:
        ValueError, TypeError: if beta is neither; if the objective has none or, unless it may be
            replaced, says one already.
    """
    if beta is None:
        return objective
    value = _registry.literal(beta) if isinstance(beta, str) else beta
    if isinstance(value, str):  # in brackets, so that commas within do not split what is around
        name, colon, inner = value.partition(":")
        value = f"{name}({inner})" if colon and "(" not in name else value
    schedules.get(value)
    options = _registry.parse(objective)[1] if isinstance(objective, str) else objective["config"]
    made = _registry.get("objective", objective)
    if not hasattr(made, "beta") or ("beta" in options and not replace):
        raise ValueError(
            f"beta is {beta} and objective {_checks.brief(repr(objective))}; expected --beta with "
            "an objective that has one and does not say it, such as 'elbo' or 'total_correlation', "
            "or the value inside the objective, such as elbo:beta=4."
        )
    options = {**options, "beta": value}
    if isinstance(objective, dict):
        return {**objective, "config": options}
    return _registry.unparse(made.short_name, options)
