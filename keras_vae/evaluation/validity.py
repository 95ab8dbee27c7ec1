"""What samples of `shapes` are worth, where the truth is known: valid, covering, new."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_vae.data import shapes

#: Intersection over union with its best render from which an image counts as a shape.
VALID = 0.8
#: Sizes per shape in the bank of centred renders, and bins of equal width that cells divide a
#: range into.
BANK_SIZES, CELL_SIZES = 501, 4
#: Angles tried per turn, and halvings of the steps in the refinement that follows.
ANGLES, HALVINGS = 36, 6
#: Overlap that a shape may lack after the search of angles and still be refined.
HOPELESS = 0.15
#: What one shape looks the same after, in radians.
PERIODS = (0.0, math.pi / 2.0, 2.0 * math.pi / 3.0)
#: Weighs the squared error of grey values below the least difference of two ratios of pixel counts,
#: 1 / 784^2, so that it decides between renders of equal overlap and nothing else.
TIE = 1e-6
#: Distance below which two images count as the same, far below one grey level of one pixel.
SAME = 1e-5
_CHUNK = 500


class Match(NamedTuple):
    """The render that is most like each image.

    Attributes:
        iou: Intersection over union of the image and the render, both cut at 0.5, (n,).
        values: The factors of the render, (n, len(factors)); angles within one period of the shape.
    """

    iou: np.ndarray
    values: np.ndarray


class ShapeScores(NamedTuple):
    """What samples of `shapes` are worth.

    Attributes:
        valid: Share of the samples that are a shape: at least 0.8 in common with some render.
        coverage: Share of the cells of held-out factors into which some valid sample falls.
        novelty_ratio: Median distance from a sample to its nearest training example over that of
            held-out examples. About 1 for samples that are to the training set what new data are,
            towards 0 for copies of it, above 1 for samples that lie off the data.
        novelty_z: The same comparison of whole distributions as a z-score; see `novelty`.
        num_samples: How many samples there were.
    """

    valid: float
    coverage: float
    novelty_ratio: float
    novelty_z: float
    num_samples: int

    def sentence(self) -> str:
        """Returns the scores in words."""
        place = "as far from the training set as held-out examples are"
        if self.novelty_z < -3.0:
            place = "nearer to the training set than held-out examples are, as copies would be"
        elif self.novelty_z > 3.0:
            place = "farther from the training set than held-out examples are"
        return (
            f"{self.valid:.0%} of {self.num_samples:,} samples are shapes, which cover "
            f"{self.coverage:.0%} of the cells of factors; they lie {place} (median distance "
            f"{self.novelty_ratio:.2f} times theirs)."
        )


def shape_scores(
    samples: Any,
    train: Any,
    held_out: Any,
    held_out_values: Any,
    factors: Sequence[str] = ("shape", "size"),
) -> ShapeScores:
    """Returns what samples of a model of `shapes` are worth.

    On the centred set the share of valid samples says little: even the union and the intersection
    of two renders with one centre have 0.8 in common with a third, so whatever a decoder makes
    between two shapes is another. Where shapes are moved as well, a quarter are.

    Args:
        samples: Means of p(x|z), (n, side, side, 1) between 0 and 1; 2,000 for the usual figures.
        train: What the model was trained on, (m, side, side, 1), before any binarisation.
        held_out: Other examples of the set, (k, side, side, 1), whose distances those of the
            samples are compared with. Means are smoother than examples, and on the centred set,
            whose 6,000 examples lie close, that is nearly all their distance: there give the
            reconstructions of the held-out examples, and like is compared with like.
        held_out_values: Their factors, (k, len(factors)).
        factors: What varies in the set.

    Raises:
        ValueError: for arrays of other shapes, or values that are not finite.
    """
    match = match_renders(samples, factors)
    valid = match.iou >= VALID
    ratio, z = novelty(samples, train, held_out)
    covered = coverage(match.values[valid], held_out_values, factors)
    return ShapeScores(float(valid.mean()), covered, ratio, z, len(valid))


def match_renders(images: Any, factors: Sequence[str] = ("shape", "size")) -> Match:
    """Returns the render of the set that has most in common with each image.

    Images and renders are cut at 0.5. Of renders with equally much in common, which a few pixels
    leave many of, the one nearest in grey values is taken. Centred sets are searched exhaustively;
    else area and centroid give size and place, angles are tried around the turn, and a pattern
    search refines each shape's best, so that the overlap found is at most the highest there is.

    Args:
        images: (n, side, side, 1) between 0 and 1, such as means of p(x|z).
        factors: What varies in the set; the others keep their defaults.

    Raises:
        ValueError: for images of another shape or with values that are not finite.
    """
    limits = shapes.ranges(factors)
    images = _images("images", images)
    search = _search if set(limits) - {"shape", "size"} else _exhaust
    parts = [
        search(images[start : start + _CHUNK], limits) for start in range(0, len(images), _CHUNK)
    ]
    return Match(*(np.concatenate(part) for part in zip(*parts)))


def iou(images: Any, others: Any) -> np.ndarray:
    """Returns the intersection over union of images cut at 0.5, by broadcasting their first axes.

    Args:
        images: (..., side, side, 1) between 0 and 1.
        others: Of a shape that broadcasts with it.

    Returns: (...); 0 where both are empty, since nothing is no shape.
    """
    axes = (-3, -2, -1)
    one, other = np.asarray(images) >= 0.5, np.asarray(others) >= 0.5
    union = (one | other).sum(axes)
    return np.divide((one & other).sum(axes), union, out=np.zeros(union.shape), where=union > 0)


def cells(values: Any, factors: Sequence[str] = ("shape", "size")) -> np.ndarray:
    """Returns which cell of shape and size each row of factors falls into, (n,).

    There are 3 shapes by 4 sizes of equal width; a factor that does not vary makes no cells.

    Args:
        values: (n, len(factors)).
        factors: What the columns are.
    """
    limits, table = shapes.ranges(factors), np.asarray(values, np.float64)
    columns = dict(zip(limits, table.T))
    cell = np.zeros(len(table), int)
    if "shape" in limits:
        cell += CELL_SIZES * columns["shape"].astype(int)
    if "size" in limits:
        low, high = limits["size"]
        size = np.floor(CELL_SIZES * (columns["size"] - low) / (high - low))
        cell += np.clip(size, 0, CELL_SIZES - 1).astype(int)
    return cell


def coverage(
    values: Any, held_out_values: Any, factors: Sequence[str] = ("shape", "size")
) -> float:
    """Returns the share of the cells with held-out examples into which some row falls.

    Args:
        values: Factors of the valid samples, (n, len(factors)); n may be 0.
        held_out_values: Factors of held-out examples, (k, len(factors)).
        factors: What the columns are.
    """
    wanted = np.unique(cells(held_out_values, factors))
    return float(np.isin(wanted, cells(values, factors)).mean())


def novelty(samples: Any, train: Any, held_out: Any) -> tuple[float, float]:
    """Returns how far samples lie from the training set, against held-out examples.

    Distances are Euclidean, to the nearest training example.

    Args:
        samples: (n, E).
        train: (m, E).
        held_out: (k, E).

    Returns: the ratio of the median distances, infinite where most held-out examples are in the
        training set as they are, as may be in the centred set; and the z-score of the Mann-Whitney
        statistic of the two sets of distances. Below about -3 samples are nearer to the training
        set than new data are, which means copies; above 3 they are farther, off the data. Means of
        p(x|z) are smoother than examples, which by itself makes the distances larger.

    Reference: Meehan, Chaudhuri and Dasgupta, A Non-Parametric Test to Detect Data-Copying in
    Generative Models, 2020, section 3 (one cell).
    """
    from scipy.stats import rankdata
    from sklearn.neighbors import NearestNeighbors

    flat = [np.asarray(x, np.float64).reshape(len(x), -1) for x in (train, samples, held_out)]
    neighbours = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(flat[0])
    drawn, held = (neighbours.kneighbors(x)[0][:, 0] for x in flat[1:])
    drawn_median, held_median = float(np.median(drawn)), float(np.median(held))
    ratio = drawn_median / held_median if held_median > SAME else math.inf
    n, k = len(drawn), len(held)
    statistic = rankdata(np.concatenate([drawn, held]))[:n].sum() - n * (n + 1) / 2.0
    return ratio, float((statistic - n * k / 2.0) / math.sqrt(n * k * (n + k + 1) / 12.0))


def _images(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 4 or array.shape[1] != array.shape[2] or array.shape[3] != 1 or not len(array):
        raise ValueError(
            f"{name} has shape {array.shape}; expected (n, side, side, 1) with n of at least 1."
        )
    array = array.astype(np.float32)
    if not np.isfinite(array).all() or array.max() > 1.0 or array.min() < 0.0:
        raise ValueError(
            f"{name} holds values outside 0..1 or NaN; expected means of p(x|z), or grey levels "
            "divided by 255."
        )
    return array


def _exhaust(images: np.ndarray, limits: dict[str, tuple[float, float]]) -> Match:
    """Searches all shapes and sizes of a centred set, on a bank of renders."""
    table = _bank(limits)
    side = images.shape[1]
    bank = shapes.render(table, tuple(limits), side).reshape(len(table), -1) / np.float32(255.0)
    flat = images.reshape(len(images), -1)
    overlap, error = _overlaps(flat, bank), _errors(flat, bank)
    best = np.argmax(overlap - TIE * error, axis=1)
    return Match(np.take_along_axis(overlap, best[:, None], 1)[:, 0], table[best])


def _bank(limits: dict[str, tuple[float, float]]) -> np.ndarray:
    axes = [
        np.arange(low, high + 1.0) if name == "shape" else np.linspace(low, high, BANK_SIZES)
        for name, (low, high) in limits.items()
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))


def _overlaps(images: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """Returns intersection over union of every image (n, P) with every render (k, P), (n, k)."""
    one, other = ((x >= 0.5).astype(np.float32) for x in (images, bank))
    both = one @ other.T  # counts of pixels, which float32 holds exactly
    union = np.maximum(one.sum(1)[:, None] + other.sum(1)[None, :] - both, 1.0)
    return both.astype(np.float64) / union


def _errors(images: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """Returns the mean squared error of every image with every render, (n, k)."""
    squares = np.square(images).sum(1)[:, None] + np.square(bank).sum(1)[None, :]
    return np.maximum(squares - 2.0 * images @ bank.T, 0.0) / images.shape[1]


def _search(images: np.ndarray, limits: dict[str, tuple[float, float]]) -> Match:
    """Searches a set whose shapes are moved or turned, from the moments of each image."""
    start = _from_moments(images, limits)
    kinds = range(len(shapes.KINDS)) if "shape" in limits else [int(shapes.DEFAULTS["shape"])]
    turned = [_turn(images, start, kind, limits) for kind in kinds]
    values, scores = (np.stack(each, 1) for each in zip(*turned))
    near = scores > scores.max(1, keepdims=True) - HOPELESS
    for column in range(len(kinds)):
        rows = near[:, column]
        if rows.any():
            values[rows, column], scores[rows, column] = _refine(
                images[rows], values[rows, column], scores[rows, column], limits
            )
    best = _pick(values, scores)[0]
    kept = shapes.render(best, tuple(shapes.RANGES), images.shape[1]) / np.float32(255.0)
    return Match(iou(images, kept), best[:, [list(shapes.RANGES).index(name) for name in limits]])


def _from_moments(images: np.ndarray, limits: dict[str, tuple[float, float]]) -> np.ndarray:
    """Returns a first guess of all factors, (n, 5), by area and centroid of the cut images."""
    mask, side = images[..., 0] >= 0.5, images.shape[1]
    places = (np.arange(side) + 0.5) * 2.0 / side - 1.0
    count = np.maximum(mask.sum((1, 2)), 1)
    guess = dict(shapes.DEFAULTS) | {
        "size": np.sqrt(count / math.pi) * 2.0 / side,  # radius of the circle of equal area
        "x": (mask.sum(1) * places).sum(1) / count,
        "y": (mask.sum(2) * places).sum(1) / count,
    }
    columns = [
        np.clip(guess[name], *limits[name]) if name in limits else shapes.DEFAULTS[name]
        for name in shapes.RANGES
    ]
    return np.stack([np.broadcast_to(column, len(images)) for column in columns], 1)


def _turn(
    images: np.ndarray, start: np.ndarray, kind: int, limits: dict[str, tuple[float, float]]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the guess as one kind of shape at the best of some angles, and its score."""
    steps = round(ANGLES * PERIODS[kind] / (2.0 * math.pi)) if "angle" in limits else 0
    names = list(shapes.RANGES)
    candidates = np.repeat(start[:, None], max(steps, 1), axis=1)
    candidates[..., names.index("shape")] = kind
    if steps:
        candidates[..., names.index("angle")] = np.arange(steps) * PERIODS[kind] / steps
    return _pick(candidates, _scores(images, candidates))


def _refine(
    images: np.ndarray,
    values: np.ndarray,
    score: np.ndarray,
    limits: dict[str, tuple[float, float]],
) -> tuple[np.ndarray, np.ndarray]:
    """Returns values (n, 5) and scores (n,) after a pattern search with halving steps."""
    kind = int(values[0, list(shapes.RANGES).index("shape")])
    steps = {"size": 1.0 / images.shape[1], "x": 1.0 / images.shape[1], "y": 1.0 / images.shape[1]}
    steps["angle"] = math.pi / ANGLES if PERIODS[kind] else 0.0
    free = [name for name, step in steps.items() if name in limits and step]
    moves = np.zeros((2 * len(free), len(shapes.RANGES)))
    for row, name in enumerate(free):
        moves[2 * row : 2 * row + 2, list(shapes.RANGES).index(name)] = steps[name], -steps[name]
    for halving in range(HALVINGS):
        tried = _within(values[:, None] + moves * 0.5**halving, kind, limits)
        candidates = np.concatenate([values[:, None], tried], 1)
        scores = np.concatenate([score[:, None], _scores(images, tried)], 1)
        values, score = _pick(candidates, scores)
    return values, score


def _within(values: np.ndarray, kind: int, limits: dict[str, tuple[float, float]]) -> np.ndarray:
    """Returns factors (..., 5) inside their ranges, angles within the shape's period."""
    for column, name in enumerate(shapes.RANGES):
        if name == "angle" and PERIODS[kind]:
            values[..., column] %= PERIODS[kind]
        elif name in limits:
            values[..., column] = np.clip(values[..., column], *limits[name])
    return values


def _scores(images: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns how well renders of factors (n, K, 5) fit their images, (n, K)."""
    flat = values.reshape(-1, values.shape[-1])
    renders = shapes.render(flat, tuple(shapes.RANGES), images.shape[1])
    renders = renders.reshape(*values.shape[:2], *images.shape[1:]) / np.float32(255.0)
    error = np.square(renders - images[:, None]).mean((2, 3, 4))
    return iou(images[:, None], renders) - TIE * error


def _pick(values: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the row of values (n, K, 5) with the highest score (n, K), and that score."""
    rows, best = np.arange(len(scores)), scores.argmax(1)
    return values[rows, best], scores[rows, best]
