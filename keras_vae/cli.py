"""The command line: parse, resolve names, call the library."""

import math
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import rich.console
import rich.table
import tensorflow as tf
import typer

from keras_vae import (
    _checks,
    _files,
    _registry,
    _sides,
    anomalies,
    data,
    evaluation,
    export,
    filling,
    launching,
    plots,
    runs,
)
from keras_vae import _options as opt
from keras_vae._version import __version__
from keras_vae.configs import Config

app = typer.Typer(
    help="Variational autoencoders: train on your data, sample new examples, score likelihoods.\n\n"
    "A first run: keras-vae train --data digits --output runs/first",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain texts: a mistake gets a sentence, not a box
)
console = rich.console.Console()
#: In one picture; more take minutes to draw, and nobody looks at them.
MOST_IMAGES = 1024
#: In one array of one file; more do not fit into memory, and can be drawn by several seeds.
MOST_VALUES = 2**28
#: An imputation of a smaller effective sample size is said to be poor.
FEW_SAMPLES = 10.0
#: The exit status when other workers were lost or never came, as sysexits.h has it (EX_TEMPFAIL).
TRY_AGAIN = 75
#: That of a command that Ctrl-C ended, as shells have it.
INTERRUPTED = 130


def main() -> None:
    """Runs the command line; a user's mistake ends in one sentence and exit status 2."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning  # type: ignore[assignment]
            app(standalone_mode=True)
    except (ValueError, TypeError, OSError, FloatingPointError, tf.errors.OpError) as error:
        sentence = error.message if isinstance(error, tf.errors.OpError) else str(error)
        sentence = _checks.user_message(error) or sentence  # what a check in a graph says
        sys.stderr.write(f"keras-vae: {' '.join(sentence.split())}\n")
        if type(error) is ConnectionError:  # a lost worker; not a broken pipe, which is one too
            sys.stderr.flush()
            os._exit(TRY_AGAIN)  # the strategy's threads complain when Python tears them down
        raise SystemExit(TRY_AGAIN if isinstance(error, TimeoutError) else 2) from None


def _show_warning(message: Any, *_: Any) -> None:
    sys.stderr.write(f"keras-vae: warning: {' '.join(str(message).split())}\n")


def _version(wanted: bool) -> None:
    if wanted:
        console.print(__version__)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print and exit.")
    ] = False,
) -> None:
    """Takes the options that come before any command."""


@app.command(help=opt.TRAIN)
def train(
    output: opt.OutputFolder,
    data: opt.Data = None,
    config: opt.ConfigFile = None,
    binarize: opt.Binarize = None,
    dequantize: opt.Dequantize = None,
    image_size: opt.ImageSize = None,
    skip_corrupt: opt.SkipCorrupt = None,
    download: opt.Download = False,
    batch_size: opt.BatchSize = None,
    epochs: opt.Epochs = None,
    latent_dim: opt.LatentDim = None,
    network: opt.Network = None,
    likelihood: opt.Likelihood = None,
    posterior: opt.Posterior = None,
    prior: opt.Prior = None,
    objective: opt.Objective = None,
    condition: opt.Condition = None,
    missing: opt.Missing = None,
    beta: opt.Beta = None,
    learning_rate: opt.LearningRate = None,
    ema: opt.MovingAverage = None,
    gradient_limit: opt.GradientLimit = None,
    seed: opt.TrainingSeed = None,
    strategy: opt.Devices = None,
    precision: opt.Precision = None,
    resume: opt.Resume = False,
) -> None:
    """Trains a model and fills a run folder; see `_options.TRAIN`."""
    given = {key: value for key, value in locals().items() if value is not None}
    begun = output / runs.CONFIG
    if config is None and resume and begun.is_file():
        config = begun
    base = Config() if config is None else Config.read(config)
    try:
        folder = runs.train(base.override(given), output, console, download, resume)
    except BaseException as error:
        if runs.has_checkpoint(output):
            command = f"keras-vae train --resume --output {output}"
            sys.stderr.write(f"keras-vae: a checkpoint was kept; go on with: {command}\n")
        if isinstance(error, KeyboardInterrupt):
            raise typer.Exit(INTERRUPTED) from None
        raise
    if folder is not None:  # else the chief says it
        _print_paths(runs.figures(folder))
        _print_line(f"Next: keras-vae evaluate {folder}")


@app.command(help=opt.LAUNCH)
def launch(command: opt.Command, workers: opt.Workers = 2) -> None:
    """Starts workers on this machine; see `_options.LAUNCH`."""
    raise typer.Exit(launching.launch(command, workers, lambda text: sys.stderr.write(text)))


@app.command(help=opt.EVALUATE)
def evaluate(
    run: opt.Run,
    num_samples: opt.NumSamples = None,
    data: opt.OtherData = None,
    method: opt.Method = "importance",
    temperatures: opt.Temperatures = None,
    leapfrog_steps: opt.LeapfrogSteps = None,
) -> None:
    """Scores a run; see `_options.EVALUATE`."""
    wanted = {"temperatures": temperatures, "leapfrog_steps": leapfrog_steps}
    given: dict[str, Any] = {name: n for name, n in wanted.items() if n is not None}
    if given and method != "annealed":
        option = next(iter(given)).replace("_", "-")
        raise ValueError(f"--{option} is of --method annealed, and --method is {method}. Add it.")
    annealing = evaluation.base.DEFAULT._replace(**given)
    metrics = runs.evaluate(run, num_samples, console, data, method, annealing)
    _print_metrics(metrics)
    if not metrics["normalised"]:
        _print_line(
            "These values are not normalised: the likelihood gives probabilities to 0 and 1 alone, "
            "and the data is grey, so nll and elbo compare with nothing."
        )


@app.command(help=opt.SAMPLE)
def sample(
    source: opt.RunOrExport,
    output: opt.OutputFile,
    n: opt.Count = 64,
    seed: opt.Seed = 0,
    condition: opt.SampleCondition = None,
) -> None:
    """Draws new examples; see `_options.SAMPLE`."""
    _check_file(output, _checks.integer("n", n, maximum=2**31 - 1))
    exported = source / runs.SAVED_MODEL
    model = _open_saved_model(exported if exported.is_dir() else source)
    drawing = model.signatures["sample"]
    event_shape = drawing.structured_outputs["mean"].shape[1:]
    _check_events(output, event_shape)
    _check_values(n, event_shape)
    pair = tf.constant(_checks.seed_pair(seed))
    sides = _condition(drawing, condition)
    drawn = {name: x.numpy() for name, x in drawing(n=tf.constant(n), seed=pair, **sides).items()}
    _write(output, drawn, lambda: plots.image_grid(drawn["mean"]))


@app.command(help=opt.RECONSTRUCT)
def reconstruct(
    run: opt.Run,
    output: opt.OutputFile,
    n: opt.Count = 12,
    data: opt.OtherData = None,
) -> None:
    """Encodes test examples and decodes them; see `_options.RECONSTRUCT`."""
    _check_file(output, 2 * _checks.integer("n", n))
    vae, x, events = _test_examples(run, output, n, data)
    means = vae.reconstruct(events)
    title = "Inputs and reconstructions"
    _write(output, {"x": x, "mean": means}, lambda: plots.reconstructions(x, means, title))


@app.command(help=opt.INTERPOLATE)
def interpolate(
    run: opt.Run,
    output: opt.OutputFile,
    n: opt.Count = 6,
    steps: opt.Steps = 10,
    data: opt.OtherData = None,
) -> None:
    """Decodes lines between codes; see `_options.INTERPOLATE`."""
    _check_file(output, _checks.integer("n", n) * _checks.integer("steps", steps, 2))
    vae, x, events = _test_examples(run, output, 2 * n, data)
    _check_values(n * steps, vae.event_shape)
    ends = [_sides.rows(events, slice(start, None, 2)) for start in range(2)]
    a, b = x[::2], x[1::2]
    means = vae.interpolate(ends[0], ends[1], steps)
    flat = means.reshape(-1, *vae.event_shape)
    title = "Lines between the codes of test examples"
    _write(output, {"a": a, "b": b, "mean": means}, lambda: plots.image_grid(flat, steps, title))


@app.command(help=opt.IMPUTE)
def impute(
    run: opt.Run,
    data: opt.Incomplete,
    output: opt.FilledFile,
    num_samples: opt.ImputeSamples = 1000,
    seed: opt.Seed = 0,
    condition: opt.SampleCondition = None,
) -> None:
    """Fills missing entries; see `_options.IMPUTE`."""
    _, _, vae = runs.read(run)
    given = _parsed(condition, getattr(vae.condition, "shape", ()), vae.condition)
    found = filling.fill(vae, data, output, num_samples, seed, given)
    _print_line(f"Filled {found.entries} missing entries of {found.examples} examples.")
    if found.least_effective_sample_size < FEW_SAMPLES:
        _print_line(
            "The least effective sample size is "
            f"{found.least_effective_sample_size:.1f}: take more samples by --num-samples."
        )
    _print_paths([output])


@app.command(help=opt.SCORE)
def score(
    run: opt.Run,
    data: opt.ScoredData,
    output: opt.TableFile,
    by: opt.ScoredBy = "log_likelihood",
    num_samples: opt.ScoreSamples = None,
    false_positive_rate: opt.FalsePositiveRate = 0.05,
    seed: opt.Seed = 0,
) -> None:
    """Scores how strange examples are; see `_options.SCORE`."""
    rate = false_positive_rate
    facts, limit = anomalies.score(run, data, output, by, num_samples, rate, seed, console)
    _print_pairs({name: value for name, value in facts.items() if name not in ("run", "data")})
    _print_line(limit.sentence())
    _print_paths([output, output.with_suffix(".json")])


@app.command("export", help=opt.EXPORT)
def export_(
    run: opt.Run,
    output: opt.OutputFolder,
) -> None:
    """Writes a SavedModel; see `_options.EXPORT`."""
    _files.check_room(output)
    _, _, vae = runs.read(run)
    _print_paths([export.saved_model(vae, output)])


@app.command(help=opt.INFO)
def info(run: opt.Run) -> None:
    """Shows what a run is made of; see `_options.INFO`."""
    folder, config, vae = runs.read(run)
    metrics = runs.metrics(folder)
    _print_pairs(vars(config))
    parts = (vae.likelihood, vae.latent, vae.objective)
    _print_pairs({"parameters": vae.count_params(), **{p.name: repr(p) for p in parts}})
    if metrics:
        _print_pairs(metrics)
    _print_paths(runs.figures(folder))


@app.command(help=opt.DATASETS)
def datasets() -> None:
    """Lists data sets and strategies; see `_options.DATASETS`."""
    table = rich.table.Table("data set", "event", "train", "validation", "test", "binarize")
    for name in data.names():
        one = data.load(name)
        counts = [str(one.counts[split]) for split in ("train", "validation", "test")]
        table.add_row(name, str(one.event_shape), *counts, str(one.binarize))
    console.print(table)
    prepared = ", ".join(data.tfds.prepared()) or "none"
    _print_line(f"TensorFlow Datasets prepared in {data.tfds.data_dir()}: {prepared}.")
    _print_line(
        "Prepare another one by `tfds build NAME`, or by adding --download to `keras-vae train`; "
        "TFDS_DATA_DIR names another folder."
    )
    _print_line("Or give a .npy, .npz, .csv or .parquet file, or a folder of images.")
    families = ("network", "likelihood", "posterior", "prior", "objective", "schedule")
    _print_pairs({family: ", ".join(_registry.names(family)) for family in families})


def _test_examples(run: Path, output: Path, n: int, other: str | None) -> tuple[Any, Any, Any]:
    """Returns a run's model and its first n test examples, alone and as the model takes them."""
    vae, x, events = runs.test_examples(run, n, other)
    _check_events(output, vae.event_shape)
    return vae, x, events


def _condition(drawing: Any, text: str | None) -> dict[str, Any]:
    """Returns the condition to draw under as the signature takes it, or nothing."""
    spec = drawing.structured_input_signature[1].get("condition")
    values = _parsed(text, None if spec is None else spec.shape[1:], spec)
    return {} if values is None else {"condition": tf.cast(values[None], spec.dtype)}


def _parsed(text: str | None, shape: Any, spec: Any) -> np.ndarray | None:
    """Returns what --condition says, of the shape of one condition; None where none is taken.

    Args:
        text: What was given.
        shape: Of one condition.
        spec: What has the dtype of one; None where the model takes none.

    Raises:
        ValueError: if one is missing, not taken, or of another kind.
    """
    if text is None and spec is None:
        return None
    if spec is None:
        raise ValueError(
            f"--condition is {text}, and the model was trained without one; leave it out."
        )
    if text is None:
        raise ValueError(
            "The model was trained with a condition; expected --condition, such as 7 for a class, "
            "or 0.5,1 for a vector of two numbers."
        )
    try:
        values = np.array([float(part) for part in text.split(",")])
    except ValueError:
        values = np.empty(0)
    whole, width = spec.dtype.is_integer, int(np.prod(shape))
    if len(values) != width or (whole and values[0] != np.round(values[0])):
        expected = "the number of a class" if whole else f"{width} number(s) between commas"
        raise ValueError(f"--condition is {text}; expected {expected}.")
    return values.reshape(shape)


def _open_saved_model(path: Path) -> Any:
    if not (path / "saved_model.pb").is_file():
        raise ValueError(
            f"{path} holds neither a run nor a SavedModel; expected a folder that `keras-vae "
            "train` or `keras-vae export` wrote."
        )
    model = tf.saved_model.load(str(path))
    if "sample" not in model.signatures:
        raise ValueError(
            f"The SavedModel {path} has no signature 'sample'; export it with keras-vae."
        )
    return model


def _check_file(path: Path, images: int) -> None:
    """Raises where a file cannot be made, or a picture would be of too many images."""
    suffixes = (".png", ".npz")
    if path.suffix not in suffixes:
        raise ValueError(f"--output is {path}; expected a name ending in {' or '.join(suffixes)}.")
    if path.exists():
        raise FileExistsError(f"{path} exists already; choose another --output.")
    if path.suffix == ".png" and images > MOST_IMAGES:
        raise ValueError(
            f"{images} images are too many for a picture; expected at most {MOST_IMAGES}. Choose a "
            "smaller --n, or --output FILE.npz for the arrays."
        )
    _files.check_room(path)


def _check_events(path: Path, event_shape: Any) -> None:
    if path.suffix == ".png" and not plots.is_image(tuple(event_shape)):
        raise ValueError(
            f"Events of shape {tuple(event_shape)} are no images; expected --output FILE.npz."
        )


def _check_values(count: int, event_shape: Any) -> None:
    most = MOST_VALUES // max(1, math.prod(event_shape))
    if count > most:
        raise ValueError(
            f"{count} events of shape {tuple(event_shape)} are too many for a file; expected at "
            f"most {most}. Choose fewer, and make several files by --seed."
        )


def _write(path: Path, arrays: dict[str, np.ndarray], draw: Any) -> None:
    """Writes arrays as .npz, or the figure that `draw` makes of them as .png."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        _files.write(path, lambda file: draw().savefig(file, format="png"))
    else:
        _files.write(path, lambda file: np.savez_compressed(file, **arrays))
    _print_paths([path])


def _print_metrics(metrics: dict[str, Any]) -> None:
    """Prints figures of merit: numbers as a table, then sentences; lists are in the file alone."""
    words = {name: metrics[name] for name in metrics if name.endswith(("verdict", "warning"))}
    lists = {name for name, value in metrics.items() if isinstance(value, list)}
    _print_pairs({name: metrics[name] for name in metrics if name not in words.keys() | lists})
    for sentence in filter(None, words.values()):
        _print_line(sentence)


def _print_pairs(values: dict[str, Any]) -> None:
    console.print(runs.table({name: _shown(name, value) for name, value in values.items()}))


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) and name != "learning_rate" else str(value)


def _print_paths(paths: list[Path]) -> None:
    for path in paths:
        _print_line(str(path))


def _print_line(text: str) -> None:
    """Prints a line that can be copied whole: neither wrapped nor read as markup."""
    console.print(text, soft_wrap=True, markup=False, highlight=False)
