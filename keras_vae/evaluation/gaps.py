"""Gaps: how far the aggregate posterior q(z) = E_x[q(z|x)] is from the prior p(z).

A decoder learns what to make of the codes it was shown. Where p(z) has mass and q(z) has none it
never was, and samples from there are worth what chance makes them.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_vae import _checks, _sides
from keras_vae._types import Given
from keras_vae.model import VAE

#: Widths of the kernels, as multiples of the median distance: the wide ones see where and how wide
#: q(z) lies, the narrow ones see holes and clusters within it.
WIDTHS = (0.125, 0.25, 0.5, 1.0, 2.0)
#: Share of held-out codes within the distance beyond which a prior draw counts as far.
NEAR = 0.99
_BATCH = 256


class Gaps(NamedTuple):
    """How the codes cover the prior.

    Attributes:
        mmd2: Unbiased squared maximum mean discrepancy; about 0 (either sign) where q(z) = p(z), at
            most 2.
        mmd2_p_value: Share of relabellings of the draws with as large a discrepancy.
        classifier_accuracy: Held-out accuracy in telling codes from prior draws; 0.5 by guessing.
        classifier_p_value: Probability of such an accuracy by guessing.
        far_share: Share of the prior draws that lie farther from every code than 99 % of held-out
            codes do; about 0.01 where q(z) = p(z), 1 where p(z) lies wholly in a gap.
        far_p_value: Probability of so large a share where q(z) = p(z).
        num_codes: How many codes there were.
        num_prior: How many prior draws.
    """

    mmd2: float
    mmd2_p_value: float
    classifier_accuracy: float
    classifier_p_value: float
    far_share: float
    far_p_value: float
    num_codes: int
    num_prior: int

    def sentence(self) -> str:
        """Returns the verdict in words."""
        told = min(self.mmd2_p_value, self.classifier_p_value, self.far_p_value) < 0.01
        verdict = "q(z) differs from p(z)" if told else "q(z) cannot be told from p(z)"
        return (
            f"{verdict}: MMD^2 is {self.mmd2:.4f} (p = {self.mmd2_p_value:.2g}), a classifier "
            f"tells codes from prior draws {self.classifier_accuracy:.0%} of the time (p = "
            f"{self.classifier_p_value:.2g}), and {self.far_share:.1%} of prior draws lie farther "
            f"from every code than 99 % of held-out codes do (p = {self.far_p_value:.2g}; 1.0% "
            f"where the two agree)."
        )


def gaps(vae: VAE, x: Any, seed: Any = 0, permutations: int = 499, train: Any = None) -> Gaps:
    """Returns how q(z) over some data covers p(z), by as many prior draws as there are codes.

    Args:
        vae: The model.
        x: Examples that it was not trained on, (n, E), 1,000 to 4,000 of them; the time rises with
            n^2. Codes of training data may be overfitted and are not held out from anything.
        seed: Of the draws, the relabellings and the divisions.
        permutations: How many relabellings the p-value of the discrepancy is from.
        train: What it was trained on, (k, E), if at hand: `far_share` sees more with it.
    """
    codes, prior, reference = gap_draws(vae, x, seed, train)
    return gaps_between(codes, prior, seed, permutations, reference)


def gap_draws(
    vae: VAE, x: Any, seed: Any = 0, train: Any = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Returns what `gaps` looks at: codes (n, D), draws of the prior (n, D), codes of `train`.

    `gaps_between`, `far_from_codes` and `plots.latent_gaps` take them.

    Args:
        vae: The model.
        x: Examples that it was not trained on, (n, E).
        seed: Of the draws.
        train: What it was trained on, (k, E), if at hand.
    """
    codes = aggregate_posterior(vae, x, seed)
    reference = None if train is None else aggregate_posterior(vae, train, seed)
    condition = _sides.condition_of(x, len(codes))
    return codes, prior_draws(vae, len(codes), seed, condition), reference


def aggregate_posterior(vae: VAE, x: Any, seed: Any = 0) -> np.ndarray:
    """Returns one draw of q(z|x) for each example, (n, D): n independent draws of q(z).

    Means of q(z|x) would be draws of another distribution, narrower by the variance of q(z|x),
    with gaps that q(z) has not. A plain autoencoder's q(z|x) is a point, and its draws are its
    codes. The noise goes by the example's place, so that equal examples have draws of their own.

    Args:
        vae: The model.
        x: Examples (n, E).
        seed: Of the draws.

    Raises:
        ValueError: for examples of another shape, or none.
    """
    shape = (_sides.count(x), vae.latent.noise_size)
    noise = _generator(seed, 0).standard_normal(shape, np.float32)
    return vae.posterior_sample(x, noise, _BATCH)


def prior_draws(vae: VAE, n: int, seed: Any = 0, condition: Any = None) -> np.ndarray:
    """Returns n draws of p(z), (n, D); of a prior that depends on a condition, under these."""
    seeds = tf.random.experimental.stateless_fold_in(tf.constant(_checks.seed_pair(seed)), 1)
    n = _checks.integer("n", n)
    if vae.condition is None:
        return vae.latent.generate(n, vae.graph.given(), seeds)[0].numpy()
    encoded = vae.condition.encode(tf.constant(vae.condition.array(condition, n)))
    given = vae.graph.given(Given(condition=encoded))
    return vae.latent.generate(n, given, seeds)[0].numpy()


def gaps_between(
    codes: Any, prior: Any, seed: Any = 0, permutations: int = 499, reference: Any = None
) -> Gaps:
    """Returns how codes, draws of q(z), cover draws of p(z).

    Args:
        codes: (n, D), n of at least 20.
        prior: (m, D), m of at least 20.
        seed: Of the relabellings and the divisions.
        permutations: How many relabellings the p-value of the discrepancy is from.
        reference: What `far_from_codes` takes, (k, D), if any.

    Raises:
        ValueError: for arrays of other shapes, too few rows, or values that are not finite.
    """
    codes, prior = _two(codes, prior, 20)
    discrepancy, mmd_p = mmd(codes, prior, permutations, seed)
    accuracy, classifier_p = classifier_test(codes, prior, seed)
    far = far_from_codes(codes, prior, seed, reference)
    held_out = len(codes) // 2 if reference is None else len(codes)
    tested = (
        discrepancy,
        mmd_p,
        accuracy,
        classifier_p,
        float(far.mean()),
        far_p_value(far, held_out),
    )
    return Gaps(*tested, len(codes), len(prior))


def mmd(a: Any, b: Any, permutations: int = 499, seed: Any = 0) -> tuple[float, float]:
    """Returns the unbiased squared maximum mean discrepancy and its permutation p-value.

    The kernel is the mean of five Gaussian ones, exp(-d^2 / (2 s^2)), whose widths s are 1/8 to 2
    times the median distance between any two of all rows, which relabelling leaves as it is. It is
    between 0 and 1, so the discrepancy is below 2.

    Args:
        a: Draws of one distribution, (n, D), n of at least 2.
        b: Draws of another, (m, D), m of at least 2.
        permutations: How many relabellings.
        seed: Of the relabellings.

    Returns: MMD^2, and (1 + relabellings with as large a value) / (1 + relabellings).

    Reference: Gretton et al., A Kernel Two-Sample Test, 2012, eq. 3 and section 8 (median
    heuristic); Phipson and Smyth, Permutation P-values Should Never Be Zero, 2010.
    """
    a, b = _two(a, b, 2)
    permutations = _checks.integer("permutations", permutations)
    kernel = _kernel(np.concatenate([a, b]))
    labels = np.zeros((len(kernel), permutations + 1))
    labels[: len(a)] = 1.0
    labels[:, 1:] = _generator(seed, 2).permuted(labels[:, 1:], axis=0)
    values = _mmd_by_label(kernel, labels, len(a))
    # Sums in another order differ by rounding, and may not make an equal value smaller.
    as_large = int((values[1:] >= values[0] - 1e-12).sum())
    return float(values[0]), (1 + as_large) / (1 + permutations)


def _kernel(rows: np.ndarray) -> np.ndarray:
    """Returns the kernel between all rows with zeros on its diagonal, (n, n)."""
    from scipy.spatial.distance import pdist, squareform

    squares = pdist(rows, "sqeuclidean")
    scale = float(np.median(squares)) or 1.0
    kernel = np.zeros_like(squares)
    for width in WIDTHS:
        kernel += np.exp(squares / (-2.0 * width**2 * scale))
    return squareform(kernel / len(WIDTHS))


def _mmd_by_label(kernel: np.ndarray, labels: np.ndarray, n: int) -> np.ndarray:
    """Returns MMD^2 for each column of labels (rows, P), 1 for one sample and 0 for the other."""
    m, rows = len(kernel) - n, kernel.sum(1)
    within = np.einsum("rp,rp->p", labels, kernel @ labels)
    touching = rows @ labels  # pairs with one end in the first sample, those within it twice
    across = touching - within
    other = rows.sum() - touching - across
    return within / (n * (n - 1)) + other / (m * (m - 1)) - 2.0 * across / (n * m)


def classifier_test(a: Any, b: Any, seed: Any = 0) -> tuple[float, float]:
    """Returns how well a classifier tells two samples apart, and the p-value against guessing.

    Half of all rows train it, the other half are counted. It is a forest of extremely randomised
    trees on the coordinates and their squared norm, the direction in which log p(z) changes.
    Among 1,000 rows of each it told rings, clusters, wrong scales and shells from a normal in 2
    dimensions as well as neighbours did and in 50 far better, where neighbours see nothing but
    clusters; quadratic features miss holes, and boosting took ten times as long.

    Args:
        a: Draws of one distribution, (n, D), n of at least 20.
        b: Draws of another, (m, D), m of at least 20; of the larger sample, rows are left out.
        seed: Of the division and the trees.

    Returns: the accuracy on the counted half, and the probability of at least so many right by
        guessing, from the binomial distribution.

    Reference: Lopez-Paz and Oquab, Revisiting Classifier Two-Sample Tests, 2017, section 3; Geurts,
    Ernst and Wehenkel, Extremely Randomized Trees, 2006.
    """
    from scipy.stats import binom
    from sklearn.ensemble import ExtraTreesClassifier

    a, b = _two(a, b, 20)
    rng = _generator(seed, 3)
    each = min(len(a), len(b))
    rows = [part[rng.permutation(len(part))[:each]] for part in (a, b)]
    train, test = ([part[half] for part in rows] for half in np.array_split(np.arange(each), 2))
    forest = ExtraTreesClassifier(200, min_samples_leaf=3, random_state=int(rng.integers(2**31)))
    forest.fit(_features(train), np.repeat([0, 1], len(train[0])))
    truth = np.repeat([0, 1], len(test[0]))
    right = int((forest.predict(_features(test)) == truth).sum())
    return right / len(truth), float(binom.sf(right - 1, len(truth), 0.5))


def _features(parts: list[np.ndarray]) -> np.ndarray:
    rows = np.concatenate(parts)
    return np.concatenate([rows, np.square(rows).sum(1, keepdims=True)], 1)


def far_from_codes(codes: Any, prior: Any, seed: Any = 0, reference: Any = None) -> np.ndarray:
    """Returns which prior draws lie farther from every code than 99 % of held-out codes do, (m,).

    The codes to be near to are the reference, or a random half of the codes; the others say how
    near codes are. The share of far draws is about 0.01 where q(z) = p(z), whatever the reference,
    with a standard error of about sqrt(0.01 * 0.99 * (1 / h + 1 / m)) for h held-out codes; of
    fewer than 99, which cannot show a hundredth, it is 1 / (h + 1). Where codes are sparse for
    their spread, in many dimensions above all, they are far from one another and hide gaps; a
    reference of all training codes shows more of them.

    Args:
        codes: Draws of q(z), (n, D), n of at least 2.
        prior: Draws of p(z), (m, D).
        seed: Of the division in halves.
        reference: Codes to be near to, (k, D), such as those of the training set.
    """
    from sklearn.neighbors import NearestNeighbors

    codes, prior = _two(codes, prior, 2)
    if reference is None:
        reference, codes = np.array_split(_generator(seed, 4).permutation(codes), 2)
    reference, codes = _two(reference, codes, 1)
    nearest = NearestNeighbors(n_neighbors=1).fit(reference)
    distances = np.sort(nearest.kneighbors(codes)[0][:, 0])
    return nearest.kneighbors(prior)[0][:, 0] > distances[_rank(len(codes)) - 1]


def _rank(held_out: int) -> int:
    """Returns which of the held-out codes' rising distances is the limit, from 1 on.

    A new distance exceeds the k-th of h with the probability 1 - k / (h + 1), whatever they are.
    """
    return min(held_out, round(NEAR * (held_out + 1)))


def far_p_value(far: np.ndarray, held_out: int) -> float:
    """Returns the probability of at least so many far draws where q(z) = p(z).

    It is exact: there the draws and the held-out codes are alike, and the count of draws beyond an
    order statistic of the codes' distances is beta-binomial.

    Args:
        far: Which prior draws are far, (m,) of truth values, as `far_from_codes` returns them.
        held_out: How many codes its limit is from, h.
    """
    from scipy.stats import betabinom

    rank, draws = _rank(held_out), len(far)
    # A sum over the tail, since SciPy's `sf` is 1 less the rest, where small values drown.
    counts = np.arange(int(np.sum(far)), draws + 1)
    return min(1.0, float(betabinom.pmf(counts, draws, held_out + 1 - rank, rank).sum()))


def _two(a: Any, b: Any, fewest: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns two samples as float64 arrays (n, D) and (m, D)."""
    one, other = np.asarray(a, np.float64), np.asarray(b, np.float64)
    alike = one.ndim == other.ndim == 2 and one.shape[1] == other.shape[1] > 0
    if not alike or min(len(one), len(other)) < fewest:
        raise ValueError(
            f"The samples have shapes {one.shape} and {other.shape}; expected (n, D) and (m, D) "
            f"with n and m of at least {fewest}."
        )
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise ValueError("The samples hold NaN or infinite values; expected finite numbers.")
    return one, other


def _generator(seed: Any, stream: int) -> np.random.Generator:
    """Returns a stream of its own for each use of a seed."""
    pair = _checks.seed_pair(seed).view(np.uint32)
    return np.random.default_rng([*pair.tolist(), stream])
