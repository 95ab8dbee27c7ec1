"""The command line's commands and options, and what `--help` says of them."""

from pathlib import Path
from typing import Annotated

import typer

from keras_vae import evaluation
from keras_vae.configs import Config

TRAIN = """Train a model and fill a run folder.

What is left open is chosen by the data, and printed with the reason. The folder holds config.json,
model.keras, saved_model/, history.csv, figures/ and tensorboard/. To repeat a run, train with its
config.json; options given beside it override it.

\b
keras-vae train --data digits --output runs/digits
keras-vae train --data mnist --latent-dim 50 --epochs 10 --output runs/mnist
keras-vae train --data photos/ --image-size 64 --output runs/photos
keras-vae train --data mnist --condition labels --output runs/mnist-by-class
keras-vae train --data a.csv --beta "linear(steps=1000)" --output runs/a
keras-vae train --config runs/a/config.json --beta 4 --output runs/b
keras-vae train --resume --output runs/b
"""
LAUNCH = """Start several workers on this machine that train one model together.

Each is a process of its own; they find one another by TF_CONFIG at 127.0.0.1 and share every batch.
It is for trying out what is to run on several machines, where a scheduler starts the workers: on
the GPUs of one machine `keras-vae train --strategy mirrored` is faster. When a worker fails the
others are stopped; the same command with --resume goes on from the last checkpoint.

\b
keras-vae launch --workers 2 -- train --data digits --output runs/two
keras-vae launch --workers 2 -- train --data digits --output runs/two --resume
"""
EVALUATE = """Score a run on its test set: bounds and likelihoods in nats per example.

nll is -log p(x) by importance sampling, or as --method says. Its standard error says what
another test set of the size would change, its Monte Carlo error what other samples would: where
the second is not far below the first, take more samples. pareto_k is the tail of the weights:
above 0.7 a few of them decide, and nll is likely too high. The gap_ figures say how the codes
cover the prior. All go into the run's metrics.json, unless --data names a set.

\b
keras-vae evaluate runs/digits
keras-vae evaluate runs/digits --num-samples 100
keras-vae evaluate runs/digits --data others.npy
keras-vae evaluate runs/digits --method annealed --temperatures 200
"""
SAMPLE = """Draw new examples: z from p(z), then x from p(x|z).

A picture shows the means of p(x|z); FILE.npz holds x, mean and z.

\b
keras-vae sample runs/digits --output samples.png
keras-vae sample exports/digits --n 10000 --seed 1 --output samples.npz
keras-vae sample runs/mnist-by-class --condition 7 --output sevens.png
"""
RECONSTRUCT = """Encode test examples and decode them again.

What comes back is the mean of p(x|z) at the mean of q(z|x). The first --n test examples are taken;
FILE.npz holds x and mean.

\b
keras-vae reconstruct runs/digits --output reconstructions.png
keras-vae reconstruct runs/digits --data mine.npy --output mine.npz
"""
INTERPOLATE = """Decode the straight lines between the codes of --n pairs of test examples.

FILE.npz holds the ends a and b, and mean (n, steps, ...).

\b
keras-vae interpolate runs/digits --output lines.png
keras-vae interpolate runs/digits --n 2 --steps 20 --output lines.npz
"""
IMPUTE = """Fill the missing entries of a file: empty fields of a table, NaN of an array.

The run must have been trained with --missing. A filled entry is the mean of what the model says it
may have been, given the others of its example; what was observed stays as it stood. The copy is of
the kind of --data; FILE.npz holds instead x, its spread stddev, and draws (20 of each example).

\b
keras-vae train --data table.csv --missing --objective iwae:samples=20 --output runs/table
keras-vae impute runs/table --data table.csv --output filled.csv
"""
SCORE = """Score how strange a run's model finds every example of a file, in nats.

A score is -log p(x), or the negative of the bound with --by elbo: higher is stranger. FILE.csv has
a row for each example, in order: index,score,anomalous. An example is anomalous (1) if it scores
above a threshold, which is taken from the run's validation set so that of new examples like those
at most the --false-positive-rate are expected to. The threshold is printed, and kept in FILE.json.

All examples of the file are scored. Where it holds several splits a column `split` says which, and
index counts within each; of a folder of images a column `file` names them. Beware: data of another
kind may well score as less strange (docs/anomalies.md).

\b
keras-vae score runs/digits --data mine.npy --output scores.csv
keras-vae score runs/digits --data mine.npy --by elbo --output bounds.csv
"""
EXPORT = """Write a run's model as a SavedModel, which needs TensorFlow alone.

\b
keras-vae export runs/digits --output exports/digits
"""
INFO = """Show a run's configuration, its parts and its figures of merit.

\b
keras-vae info runs/digits
"""
DATASETS = """List the data sets that are at hand, how to get others, and the strategies.

\b
keras-vae datasets
TFDS_DATA_DIR=/data/tfds keras-vae datasets
"""

# Of several commands
Run = Annotated[Path, typer.Argument(help="A run folder, as `keras-vae train` fills it.")]
RunOrExport = Annotated[Path, typer.Argument(help="A run folder or an exported SavedModel.")]
OtherData = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Another set than the run's: its test split where it has one, else its validation "
        "split, else all of it. It is binarised as the run's was; it is resized only where it "
        "holds images to resize, and dequantised only where it holds grey levels.",
    ),
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same answer.")]
Count = Annotated[int, typer.Option("--n", help="How many; a picture has room for 1024 images.")]
Steps = Annotated[int, typer.Option(help="Points on each line, both ends included.")]
NumSamples = Annotated[
    int | None,
    typer.Option(
        help="Samples per example; more give a smaller, truer nll, and take longer. 5,000, or of "
        "annealed chains 16."
    ),
]
Method = Annotated[
    str,
    typer.Option(
        help="How log p(x) is estimated: importance (from q), annealed (Hamiltonian chains from "
        "the prior: slower, and right where q is not), or prior (plain Monte Carlo, which fails)."
    ),
]
ScoredData = Annotated[
    str,
    typer.Option(
        "--data",
        help="What to score: a file, a folder of images or a name, as for `train`. It is binarised "
        "and dequantised as the run's data was.",
    ),
]
ScoredBy = Annotated[str, typer.Option(help="log_likelihood, by importance sampling, or elbo.")]
ScoreSamples = Annotated[
    int | None,
    typer.Option(
        "--num-samples", help="Draws of z per example: 500, or of elbo 1. More make less noise."
    ),
]
FalsePositiveRate = Annotated[
    float,
    typer.Option(
        help="Which share of new examples like the validation set's may be called anomalous, at "
        "most. The smallest that n of them can promise is 1 / (n + 1)."
    ),
]
TableFile = Annotated[
    Path, typer.Option("--output", help="A new FILE.csv; FILE.json comes beside it.")
]
OutputFile = Annotated[
    Path, typer.Option("--output", help="A new FILE.png for a picture, FILE.npz for the arrays.")
]
OutputFolder = Annotated[Path, typer.Option("--output", help="A new folder.")]


def _or(default: object) -> str:
    """Returns how help names the default of an option that may also come from --config."""
    return f"  [default: {default}]"


# Of `evaluate`
Temperatures = Annotated[
    int | None,
    typer.Option(
        help="Of annealed: steps from prior to posterior."
        + _or(evaluation.Annealing().temperatures)
    ),
]
LeapfrogSteps = Annotated[
    int | None,
    typer.Option(
        help="Of annealed: steps of each transition." + _or(evaluation.Annealing().leapfrog_steps)
    ),
]

# Of `impute`
Incomplete = Annotated[
    Path, typer.Option("--data", help="A .csv, .parquet, .npy or .npz file with missing entries.")
]
FilledFile = Annotated[
    Path, typer.Option("--output", help="A new file of the kind of --data, or FILE.npz.")
]

ImputeSamples = Annotated[
    int, typer.Option("--num-samples", help="Samples of what z may have been, per example.")
]

# Of `sample` and `impute`
SampleCondition = Annotated[
    str | None,
    typer.Option(
        "--condition",
        help="Of a model with a condition: the number of a class, or the numbers of a vector "
        "between commas.",
    ),
]

# Of `train`
Data = Annotated[
    str | None,
    typer.Option(
        help="A built-in set (digits, shapes), a name of TensorFlow Datasets (mnist, ...), a .npy, "
        ".npz, .csv or .parquet file, or a folder of images. See `keras-vae datasets`."
        + _or(Config.data)
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option(help="JSON like a run's config.json; options override it.")
]
Binarize = Annotated[
    str | None,
    typer.Option(
        help="dynamic (x ~ Bernoulli(grey) anew in each pass), static (once), threshold (at 0.5), "
        "none, or auto: what the set is usually used with." + _or(Config.binarize)
    ),
]
Dequantize = Annotated[
    bool | None,
    typer.Option(
        "--dequantize/--no-dequantize",
        help="Add uniform noise within a grey level, for real likelihoods; in place of binarising."
        + _or("no-dequantize"),
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(help="Resize images to this height and width; as they are unless given."),
]
SkipCorrupt = Annotated[
    bool | None,
    typer.Option(
        "--skip-corrupt/--no-skip-corrupt",
        help="Leave out images that cannot be decoded." + _or("no-skip-corrupt"),
    ),
]
Download = Annotated[
    bool, typer.Option("--download", help="Fetch a set of TensorFlow Datasets that is absent.")
]
BatchSize = Annotated[int | None, typer.Option(help="Examples per step." + _or(Config.batch_size))]
Epochs = Annotated[
    int | None, typer.Option(help="Passes over the training set." + _or(Config.epochs))
]
LatentDim = Annotated[
    int | None,
    typer.Option(help="How many numbers z an example is coded by." + _or(Config.latent_dim)),
]
Network = Annotated[
    str | None,
    typer.Option(
        help="Encoder and decoder, such as dense, conv, resnet or dense:widths=[256,256]."
        + _or("conv for images of 8 pixels and more, else dense")
    ),
]
Likelihood = Annotated[
    str | None,
    typer.Option(
        help="p(x|z), such as bernoulli (0 and 1) or normal:variance=shared (real values)."
        + _or("picked by the values")
    ),
]
Posterior = Annotated[
    str | None,
    typer.Option(
        help="q(z|x): diagonal_normal, full_normal, low_rank_normal:rank=4, "
        "autoregressive_flow:steps=4, or point for a plain autoencoder." + _or(Config.posterior)
    ),
]
Prior = Annotated[
    str | None,
    typer.Option(
        help="p(z): standard_normal, or learned: mixture:components=10, vamp:components=500 or "
        "flow:steps=6." + _or(Config.prior)
    ),
]
Objective = Annotated[
    str | None,
    typer.Option(
        help="What is minimised: elbo, elbo:beta=4, or reconstruction." + _or(Config.objective)
    ),
]
Condition = Annotated[
    str | None,
    typer.Option(
        help="What the model is conditioned on: labels, those of the data, as classes or vectors. "
        "Then `keras-vae sample --condition 7` draws what you ask for." + _or("none")
    ),
]
Missing = Annotated[
    bool | None,
    typer.Option(
        "--missing/--no-missing",
        help="Take NaN, or an empty field of a table, as a missing entry; `keras-vae impute` fills "
        "them." + _or("no-missing"),
    ),
]
Beta = Annotated[
    str | None,
    typer.Option(
        help="Weight of the KL term: a number, or a warm-up: linear(steps=1000). Above 1, samples "
        "agree better with the data and reconstructions blur." + _or(1)
    ),
]
MovingAverage = Annotated[
    float | None,
    typer.Option(
        "--ema",
        help="Keep a moving average of the weights with this momentum, such as 0.999, and validate "
        "and save that." + _or("none"),
    ),
]
GradientLimit = Annotated[
    float | None,
    typer.Option(
        help="Leave out steps whose gradient has a greater norm; after 10 in a row the next is "
        "scaled down to it." + _or("none")
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        help="Adam's at its highest: it warms up, and falls to 0 along half a cosine."
        + _or(Config.learning_rate)
    ),
]
TrainingSeed = Annotated[
    int | None, typer.Option("--seed", help="Of weights, order and noise." + _or(Config.seed))
]
Devices = Annotated[
    str | None,
    typer.Option(
        "--strategy",
        help="one, mirrored (all devices of this machine), multi_worker (the processes that "
        "TF_CONFIG or Slurm name), or auto." + _or(Config.strategy),
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        help="float32, or mixed_bfloat16 or mixed_float16, which are faster on GPUs."
        + _or(Config.precision)
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on with a run that was cut off, from its last checkpoint; start it where there is "
        "none.",
    ),
]

# Of `launch`
Workers = Annotated[int, typer.Option(help="How many processes on this machine.")]
Command = Annotated[
    list[str], typer.Argument(metavar="train ...", help="A command `train` and its options.")
]
