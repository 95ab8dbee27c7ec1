"""Scores of strangeness: a threshold with a promise, and how well two sets are told apart.

References: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005 (conformal
prediction); Bates et al., Testing for Outliers with Conformal p-Values, 2023.
"""

import csv
import io
import json
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_vae import _checks, _files, _sides
from keras_vae.evaluation.base import BATCH, batches
from keras_vae.model import VAE


class Threshold(NamedTuple):
    """The score above which an example counts as anomalous; see `threshold`.

    Attributes:
        value: In nats.
        false_positive_rate: The rate that was promised, between 0 and 1.
        num_scores: How many validation scores it was taken from.
    """

    value: float
    false_positive_rate: float
    num_scores: int

    def exceeded(self, scores: Any) -> np.ndarray:
        """Returns which scores (n,) are anomalous, (n,) of truth values; NaN is."""
        return ~(np.asarray(scores, np.float64) <= self.value)

    def sentence(self) -> str:
        """Returns what the threshold promises, in words."""
        rate, (low, high) = self.false_positive_rate, self.rates()
        return (
            f"A score above {self.value:.3f} nats is anomalous: of new examples like the "
            f"{self.num_scores:,} of the validation set at most {100 * rate:g} % are expected to "
            f"have one ({100 * low:.2g} to {100 * high:.2g} % in nine of ten validation sets)."
        )

    def rates(self, coverage: float = 0.9) -> tuple[float, float]:
        """Returns between which rates that of one validation set lies.

        Of all validation sets of this size a share of `coverage` gives a threshold whose rate on
        new examples lies between the two. The rate follows Beta(k, n + 1 - k), with n scores and k
        the whole part of (n + 1) times the promised rate, where no two scores are equal.

        Reference: Vovk, Conditional Validity of Inductive Conformal Predictors, 2012.
        """
        from scipy.stats import beta

        tail = (1.0 - _checks.number("coverage", coverage, 0.0)) / 2.0
        allowed = _allowed(self.false_positive_rate, self.num_scores)
        low, high = beta.ppf((tail, 1.0 - tail), allowed, self.num_scores + 1 - allowed)
        return float(low), float(high)


class Detection(NamedTuple):
    """How well scores tell strange examples from usual ones.

    Attributes:
        auroc: The area under the receiver operating characteristic: the probability that a strange
            example scores higher than a usual one, equal scores counting half. 0.5 is chance, and
            below it the strange ones score *lower*.
        auroc_standard_error: What other examples of either kind, as many, would change of it.
        detection_rate: The share of the strange above the threshold, or None without one.
        false_positive_rate: The share of the usual above the threshold, or None without one.
    """

    auroc: float
    auroc_standard_error: float
    detection_rate: float | None = None
    false_positive_rate: float | None = None


def scores(
    vae: VAE,
    data: Any,
    by: str = "log_likelihood",
    num_samples: int | None = None,
    seed: Any = 0,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Returns `vae.score` of every example of a data set in order, (n,), in nats.

    Args:
        vae: The model.
        data: Batches of x (B, E), or one array (n, E); with what belongs to x as `fit` takes it.
        by: As in `VAE.score`.
        num_samples: As there.
        seed: As there.
        progress: Called with the number of examples after each batch.
    """
    found = []
    for x in batches(vae, data):
        found.append(vae.score(x, by, num_samples, seed, BATCH))
        if progress is not None:
            progress(_sides.count(x))
    return np.concatenate(found)


def threshold(scores: Any, false_positive_rate: float = 0.05) -> Threshold:
    """Returns the score above which an example counts as anomalous, at a false-positive rate.

    It is the ceil((n + 1) (1 - rate))-th smallest of the n validation scores. What is promised: if
    these and the score of a new example are exchangeable (as when all were drawn independently from
    one distribution, and the model was not trained on them), the new one exceeds the threshold with
    a probability of at most the rate, however many there are and whatever their distribution; of at
    least the rate less 1 / (n + 1), if no two scores are equal. The probability is over validation
    sets too: `Threshold.rates` says how far that of this one may lie off.

    Args:
        scores: Of validation examples, (n,), higher being stranger.
        false_positive_rate: The share of usual examples that may be called anomalous.

    Raises:
        ValueError: for scores that are no list of numbers, or hold NaN; for a rate that is not
            between 0 and 1, or below 1 / (n + 1), which n scores cannot promise; for a threshold
            that is infinite.
    """
    values = _scores("scores", scores)
    check_rate(false_positive_rate, len(values))
    place = len(values) - _allowed(false_positive_rate, len(values))
    value = float(np.sort(values)[place])
    if not math.isfinite(value):
        raise ValueError(
            f"The threshold at a false-positive rate of {false_positive_rate:g} is {value}; "
            "expected a finite one. Look for outliers among the validation examples, or train with "
            "a lower learning rate."
        )
    return Threshold(value, float(false_positive_rate), len(values))


def check_rate(false_positive_rate: float, count: int) -> None:
    """Raises a ValueError for a false-positive rate that `count` scores cannot promise."""
    rate = _checks.number("false_positive_rate", false_positive_rate, 0.0, above=True)
    if rate >= 1.0:
        raise ValueError(
            f"false_positive_rate is {rate:g}; expected a number above 0 and below 1, such as 0.05."
        )
    if not _allowed(rate, count):
        raise ValueError(
            f"false_positive_rate is {rate:g}, which {count} validation example(s) cannot promise; "
            f"expected at least 1 / {count + 1}. Choose a larger rate, or take at least "
            f"{math.ceil(1 / Fraction(repr(rate))) - 1:,} validation examples."
        )


def _allowed(rate: float, count: int) -> int:
    """Returns the whole part of (count + 1) rate, the rate being the decimal number as written."""
    return math.floor((count + 1) * Fraction(repr(float(rate))))


def detection(usual: Any, strange: Any, limit: Threshold | None = None) -> Detection:
    """Returns how well scores tell strange examples from usual ones.

    The standard error of the area is that of DeLong, which supposes nothing of the distributions.
    It is 0 where no strange example scores lower than a usual one, which samples cannot improve on.

    Args:
        usual: Scores of examples like the training set's, at least 2, (n,).
        strange: Scores of others, at least 2, (m,), higher being stranger.
        limit: A threshold, to be tried.

    Raises:
        ValueError: for scores that are no list of numbers, fewer than 2, or NaN.

    References: Hanley and McNeil, The Meaning and Use of the Area under a Receiver Operating
    Characteristic (ROC) Curve, 1982; DeLong, DeLong and Clarke-Pearson, Comparing the Areas under
    Two or More Correlated Receiver Operating Characteristic Curves, 1988.
    """
    low, high = _scores("usual", usual, 2), _scores("strange", strange, 2)
    above_usual, below_strange = _share_below(low, high), 1.0 - _share_below(high, low)
    variance = above_usual.var(ddof=1) / len(high) + below_strange.var(ddof=1) / len(low)
    area = float(above_usual.mean()), float(np.sqrt(variance))
    if limit is None:
        return Detection(*area)
    return Detection(*area, *(float(limit.exceeded(each).mean()) for each in (high, low)))


def _share_below(others: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns which share of the others lies below each value, equal ones counting half."""
    ordered = np.sort(others)
    below, upto = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return (below + upto) / (2.0 * len(others))


def _scores(name: str, values: Any, fewest: int = 1) -> np.ndarray:
    """Returns scores as float64 (n,), which may be infinite but not NaN."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub" or array.ndim != 1 or len(array) < fewest:
        raise ValueError(
            f"{name} has shape {array.shape} and dtype {array.dtype}; expected at least {fewest} "
            "number(s) in one row, (n,), as VAE.score gives them."
        )
    lost = int(np.isnan(array).sum())
    if lost:
        raise ValueError(
            f"{name} holds {lost} NaN; expected numbers. Look for outliers among the data, or "
            "train with a lower learning rate."
        )
    return array.astype(np.float64)


def table(
    found: Mapping[str, np.ndarray], limit: Threshold, files: Mapping[str, Sequence[Any]]
) -> dict[str, list[Any]]:
    """Returns the columns of a file of scores, one row per example.

    They are `index` (counted from 0 in each split), `score` (nats) and `anomalous` (1 or 0); of
    several splits also `split`, and where examples are files also `file`. A score that is no finite
    number counts as anomalous, but for minus infinity, and a warning says how many there are.

    Args:
        found: Split -> scores (n,), in order.
        limit: The threshold.
        files: Split -> the path of each example, where it has one.
    """
    scores = np.concatenate(list(found.values())).astype(np.float64)
    lost = int(np.sum(~np.isfinite(scores)))
    if lost:
        warnings.warn(
            f"{lost} of {len(scores)} scores are infinite or NaN: what the decoder says of these "
            "examples is beyond float32. They count as anomalous, unless they are minus infinity.",
            stacklevel=2,
        )
    made: dict[str, list[Any]] = {
        "index": [place for each in found.values() for place in range(len(each))],
        "score": scores.tolist(),
        "anomalous": limit.exceeded(scores).astype(int).tolist(),
    }
    if len(found) > 1:
        made["split"] = [split for split, each in found.items() for _ in each]
    if files:
        made["file"] = [str(path) for split in found for path in files[split]]
    return made


def check_file(path: str | os.PathLike[str]) -> None:
    """Raises where the two files of `write` cannot be made, or one is there already."""
    path = Path(path)
    if path.suffix != ".csv":
        raise ValueError(f"--output is {path}; expected a name ending in .csv.")
    for each in (path, path.with_suffix(".json")):
        if each.exists():
            raise FileExistsError(f"{each} exists already; choose another --output.")
    _files.check_room(path)


def write(
    path: str | os.PathLike[str],
    columns: Mapping[str, Sequence[Any]],
    facts: Mapping[str, Any],
) -> None:
    """Writes scores as a .csv file, and what they are into a .json file beside it.

    Args:
        path: The .csv file.
        columns: Name -> values, one per example.
        facts: What the .json file, of the same name, holds.
    """
    path = Path(path)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows(zip(*columns.values(), strict=True))
    said = json.dumps(facts, indent=2) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with _files.beside(path) as part, _files.beside(path.with_suffix(".json")) as beside:
        beside.write_bytes(said.encode())
        part.write_bytes(text.getvalue().encode())
