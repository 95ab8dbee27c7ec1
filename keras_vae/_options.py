"""The command line's options and what `--help` says of them."""

from pathlib import Path
from typing import Annotated

import typer

TRAIN = """Train a model and fill a run folder.

The folder holds config.json, model.keras, saved_model/, history.csv, figures/ and tensorboard/.
Train again with its config to repeat the run.

\b
keras-vae train --data digits --output runs/digits
keras-vae train --data mnist --latent-dim 50 --epochs 10 --output runs/mnist
keras-vae train --data photos/ --image-size 64 --output runs/photos
keras-vae train --data table.csv --beta "linear(steps=1000)" --output runs/table
"""

# Of several commands
Run = Annotated[Path, typer.Argument(help="A run folder, as `keras-vae train` fills it.")]
RunOrExport = Annotated[Path, typer.Argument(help="A run folder or an exported SavedModel.")]
OtherData = Annotated[
    str | None, typer.Option("--data", help="Another data set than the run's; its test part.")
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same answer.")]
Count = Annotated[int, typer.Option("--n", help="How many.")]
Steps = Annotated[int, typer.Option(help="Points on each line, both ends included.")]
NumSamples = Annotated[int, typer.Option(help="Importance samples per example.")]
OutputFile = Annotated[
    Path, typer.Option("--output", help="FILE.png for a picture, FILE.npz for the arrays.")
]
OutputFolder = Annotated[Path, typer.Option("--output", help="A new folder.")]

# Of `train`
Data = Annotated[
    str | None,
    typer.Option(
        help="A built-in set (digits, shapes), a name of TensorFlow Datasets (mnist, ...), a .npy, "
        ".npz, .csv or .parquet file, or a folder of images. See `keras-vae datasets`."
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option(help="JSON like a run's config.json; options override it.")
]
Binarize = Annotated[
    str | None,
    typer.Option(
        help="dynamic (x ~ Bernoulli(grey) anew in each pass), static (once), threshold (at 0.5), "
        "none, or auto: what the set is usually used with."
    ),
]
Dequantize = Annotated[
    bool | None,
    typer.Option(
        "--dequantize", help="Add uniform noise within a grey level, for real likelihoods."
    ),
]
ImageSize = Annotated[int | None, typer.Option(help="Resize images to this height and width.")]
SkipCorrupt = Annotated[
    bool | None, typer.Option("--skip-corrupt", help="Leave out images that cannot be decoded.")
]
Download = Annotated[
    bool, typer.Option("--download", help="Fetch a set of TensorFlow Datasets that is absent.")
]
BatchSize = Annotated[int | None, typer.Option(help="Examples per step.")]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training set.")]
LatentDim = Annotated[int | None, typer.Option(help="Latent dimensions.")]
Network = Annotated[
    str | None,
    typer.Option(
        help="Encoder and decoder, such as dense, conv or dense:widths=[256,256]; conv for images "
        "of 8 pixels and more unless given."
    ),
]
Likelihood = Annotated[
    str | None,
    typer.Option(
        help="p(x|z), such as bernoulli (0 and 1) or normal:variance=shared (real values); picked "
        "by the values unless given."
    ),
]
Posterior = Annotated[
    str | None, typer.Option(help="q(z|x): diagonal_normal, or point for a plain autoencoder.")
]
Prior = Annotated[str | None, typer.Option(help="p(z), such as standard_normal.")]
Objective = Annotated[
    str | None, typer.Option(help="What is minimised: elbo, elbo:beta=4, or reconstruction.")
]
Beta = Annotated[
    str | None,
    typer.Option(help="Weight of the KL term: a number, or a warm-up: linear(steps=1000)."),
]
LearningRate = Annotated[
    float | None,
    typer.Option(help="Adam's at its highest: it warms up, and falls to 0 along half a cosine."),
]
TrainingSeed = Annotated[int | None, typer.Option("--seed", help="Of weights, order and noise.")]
Devices = Annotated[
    str | None,
    typer.Option("--strategy", help="one, mirrored (all devices of this machine), or auto."),
]
