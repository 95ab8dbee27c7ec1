"""How strange a run's model finds the examples of a file, with a threshold, as a table."""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rich.progress

from keras_vae import configs, evaluation, runs
from keras_vae.configs import Config
from keras_vae.data import Data, Split
from keras_vae.evaluation import anomaly
from keras_vae.model import VAE
from keras_vae.scoring import SCORES

#: The split of the run that the threshold is taken from, and a name that no file's split has.
VALIDATION = "the run's validation set"


def score(
    run: str | os.PathLike[str],
    data: str,
    output: str | os.PathLike[str],
    by: str = "log_likelihood",
    num_samples: int | None = None,
    false_positive_rate: float = 0.05,
    seed: int = 0,
    console: Any = None,
) -> tuple[dict[str, Any], evaluation.Threshold]:
    """Writes how strange a run's model finds every example of a data set, with a threshold.

    The threshold is taken from the run's validation set, which the model was not trained on; it
    promises something of new data that is like it.

    Args:
        run: The run folder.
        data: What `keras_vae.data.load` takes: a name, a file or a folder of images. All of its
            examples are scored, of every split it has; they are binarised and dequantised as the
            run's were.
        output: A new .csv file, with a row for each example, in order; see
            `evaluation.anomaly.table`. A .json file of the same name comes beside it, and holds the
            threshold and how it was made.
        by: As in `VAE.score`.
        num_samples: As there.
        false_positive_rate: As in `evaluation.threshold`.
        seed: Of the draws of z.
        console: A rich console for the progress bar; None shows nothing.

    Returns: what the .json file holds, and the threshold.

    Raises:
        ValueError, TypeError: if the folder holds no run, the data does not fit the model, or the
            validation set is too small for the rate; nothing is written.
        FileExistsError: if one of the files is there already.
        OSError: if they cannot be written, which shows before anything is scored.
    """
    anomaly.check_file(output)
    _, config, vae = runs.read(run)
    own = runs.test_set(config, vae)
    anomaly.check_rate(false_positive_rate, own.counts["validation"])
    parts = every_split(config, vae, data)
    found = _scores(vae, own, parts, (by, num_samples, seed), console)
    limit = evaluation.threshold(found.pop(VALIDATION), false_positive_rate)
    columns = anomaly.table(found, limit, _files_of(parts))
    facts: dict[str, Any] = {"run": str(run), "data": data, "by": by}
    facts |= {"num_samples": num_samples or SCORES[by], "seed": seed, "threshold": limit.value}
    facts |= {"false_positive_rate": limit.false_positive_rate, "num_validation": limit.num_scores}
    facts |= {"num_examples": len(columns["index"]), "num_anomalous": sum(columns["anomalous"])}
    anomaly.write(output, columns, facts)
    return facts, limit


def every_split(config: Config, vae: VAE, data: str) -> dict[str, tuple[Data, Split]]:
    """Returns what `configs.load_every` finds, for a run's model.

    Raises:
        ValueError: if the events have another shape than the model's.
    """
    if runs.is_own(config, data):
        warnings.warn(
            f"{data} is what the run was trained on. Its training examples are scored too; they "
            "look less strange than new ones, and the false-positive rate says nothing of them.",
            stacklevel=2,
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "batch_size is")  # of training examples, of no use here
        parts = configs.load_every(config, data)
    for loaded, _ in parts.values():
        runs.check_shape(loaded, vae)
    return parts


def _scores(
    vae: VAE,
    own: Data,
    parts: dict[str, tuple[Data, Split]],
    chosen: tuple[str, int | None, int],
    console: Any,
) -> dict[str, np.ndarray]:
    """Returns the scores of the run's validation set and of each split."""
    sets = {VALIDATION: own.validation, **{name: each.test for name, (each, _) in parts.items()}}
    counts = [own.counts["validation"], *(each.counts["test"] for each, _ in parts.values())]
    with rich.progress.Progress(console=console, disable=console is None) as bar:
        task = bar.add_task("scoring", total=sum(counts))
        return {
            name: evaluation.scores(vae, each, *chosen, lambda count: bar.advance(task, count))
            for name, each in sets.items()
        }


def _files_of(parts: dict[str, tuple[Data, Split]]) -> dict[str, list[Path]]:
    """Returns the path of each example of each split, or nothing where examples are no files."""
    found = {
        name: getattr(getattr(split, "x", None), "paths", None)
        for name, (_, split) in parts.items()
    }
    return {name: paths for name, paths in found.items() if paths is not None}
