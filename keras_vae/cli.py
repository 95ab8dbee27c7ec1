"""The command line: parse, resolve names, call the library."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import rich.console
import rich.markup
import rich.table
import tensorflow as tf
import typer

from keras_vae import _checks, _registry, data, export, plots, runs
from keras_vae._version import __version__
from keras_vae.runs import Config

app = typer.Typer(
    help="Variational autoencoders: train on your data, sample new examples, score likelihoods.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain texts: a mistake gets a sentence, not a box
)
console = rich.console.Console()
STRATEGY = "a name, or name:key=value,..."


def main() -> None:
    """Runs the command line; a user's mistake ends in one sentence and exit status 2."""
    try:
        app(standalone_mode=True)
    except (ValueError, TypeError, OSError) as error:
        sys.stderr.write(f"keras-vae: {' '.join(str(error).split())}\n")
        raise SystemExit(2) from None


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


@app.command()
def train(
    output: Annotated[Path, typer.Option(help="The run folder; new or empty.")],
    data: Annotated[str | None, typer.Option(help="A built-in set or a .npy/.npz path.")] = None,
    config: Annotated[Path | None, typer.Option(help="JSON like a run's config.json.")] = None,
    binarize: Annotated[
        str | None, typer.Option(help="auto, dynamic, static, threshold or none.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples per step.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set.")] = None,
    latent_dim: Annotated[int | None, typer.Option(help="Latent dimensions.")] = None,
    network: Annotated[str | None, typer.Option(help=f"dense or conv; {STRATEGY}.")] = None,
    likelihood: Annotated[str | None, typer.Option(help=f"p(x|z); {STRATEGY}.")] = None,
    posterior: Annotated[str | None, typer.Option(help=f"q(z|x); {STRATEGY}.")] = None,
    prior: Annotated[str | None, typer.Option(help=f"p(z); {STRATEGY}.")] = None,
    objective: Annotated[str | None, typer.Option(help=f"The loss; {STRATEGY}.")] = None,
    beta: Annotated[
        str | None, typer.Option(help="Weight of the KL term: a number or linear(steps=1000).")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Adam's, at the start.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and noise.")] = None,
    strategy: Annotated[str | None, typer.Option(help="auto, one or mirrored.")] = None,
) -> None:
    """Train a model and fill a run folder. Options override --config."""
    base = Config() if config is None else Config.read(config)
    given = {
        "data": data,
        "binarize": binarize,
        "batch_size": batch_size,
        "epochs": epochs,
        "latent_dim": latent_dim,
        "network": network,
        "likelihood": likelihood,
        "posterior": posterior,
        "prior": prior,
        "objective": objective,
        "learning_rate": learning_rate,
        "seed": seed,
        "strategy": strategy,
    }
    chosen = {**vars(base), **{key: value for key, value in given.items() if value is not None}}
    chosen["binarize"] = None if chosen["binarize"] == "none" else chosen["binarize"]
    chosen["objective"] = runs.objective_with_beta(chosen["objective"], beta)
    folder = runs.train(Config(**chosen), output, console)
    _print_pairs(json.loads((folder / runs.CONFIG).read_text()))
    _print_paths(runs.figures(folder))
    _print_line(f"Next: keras-vae evaluate {folder}")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    num_samples: Annotated[int, typer.Option(help="Importance samples per example.")] = 5000,
) -> None:
    """Score a run on its test set: bounds and likelihoods in nats, with their errors."""
    _print_pairs(runs.evaluate(run, num_samples, console))


@app.command()
def sample(
    source: Annotated[Path, typer.Argument(help="A run folder or an exported SavedModel.")],
    output: Annotated[Path, typer.Option(help="FILE.png, or FILE.npz with x, mean and z.")],
    n: Annotated[int, typer.Option("--n", help="How many.")] = 64,
    seed: Annotated[int, typer.Option(help="The same seed gives the same samples.")] = 0,
) -> None:
    """Draw new examples from p(z), then p(x|z)."""
    _checks.integer("n", n, maximum=2**31 - 1)
    _new_file(output, (".png", ".npz"))
    exported = source / runs.SAVED_MODEL
    model = _open_saved_model(exported if exported.is_dir() else source)
    pair = tf.constant(_checks.seed_pair(seed))
    drawn = model.signatures["sample"](n=tf.constant(n), seed=pair)
    drawn = {name: values.numpy() for name, values in drawn.items()}
    as_picture = output.suffix == ".png"
    if as_picture and not plots.is_image(drawn["mean"].shape[1:]):
        raise ValueError(
            f"Samples of shape {drawn['mean'].shape[1:]} are no images; expected --output FILE.npz."
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    if as_picture:
        plots.image_grid(drawn["mean"]).savefig(output)
    else:
        np.savez_compressed(output, **drawn)
    _print_paths([output])


@app.command("export")
def export_(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    output: Annotated[Path, typer.Option(help="A new folder for the SavedModel.")],
) -> None:
    """Write a run's model as a SavedModel, which needs TensorFlow alone."""
    _, _, vae = runs.read(run)
    _print_paths([export.saved_model(vae, output)])


@app.command()
def info(run: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Show a run's configuration, its parts and its figures of merit."""
    folder, config, vae = runs.read(run)
    _print_pairs(vars(config))
    parts = (vae.likelihood, vae.latent, vae.objective)
    _print_pairs({"parameters": vae.count_params(), **{p.name: repr(p) for p in parts}})
    if (folder / runs.METRICS).is_file():
        _print_pairs(json.loads((folder / runs.METRICS).read_text()))
    _print_paths(runs.figures(folder))


@app.command()
def datasets() -> None:
    """List the data sets that come with the package, and the strategies."""
    table = rich.table.Table("data set", "event", "train", "validation", "test", "binarize")
    for name in data.names():
        one = data.load(name)
        counts = [str(one.counts[split]) for split in ("train", "validation", "test")]
        table.add_row(name, str(one.event_shape), *counts, str(one.binarize))
    console.print(table)
    families = ("network", "likelihood", "posterior", "prior", "objective", "schedule")
    _print_pairs({family: ", ".join(_registry.names(family)) for family in families})


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


def _new_file(path: Path, suffixes: tuple[str, ...]) -> None:
    if path.suffix not in suffixes:
        raise ValueError(f"--output is {path}; expected a name ending in {' or '.join(suffixes)}.")
    if path.exists():
        raise FileExistsError(f"{path} exists already; choose another --output.")


def _print_pairs(values: dict[str, Any]) -> None:
    table = rich.table.Table(show_header=False, box=None, padding=(0, 2))
    for name, value in values.items():
        shown = (
            f"{value:.3f}" if isinstance(value, float) and name != "learning_rate" else str(value)
        )
        table.add_row(name, "-" if value is None else rich.markup.escape(shown))
    console.print(table)


def _print_paths(paths: list[Path]) -> None:
    for path in paths:
        _print_line(str(path))


def _print_line(text: str) -> None:
    """Prints a line that can be copied whole: neither wrapped nor read as markup."""
    console.print(text, soft_wrap=True, markup=False, highlight=False)
