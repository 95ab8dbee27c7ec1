"""Two-sample tests keep their level, see what is there, and agree with slow sums."""

import math

import numpy as np
import pytest

import keras_vae as kv
from keras_vae import evaluation, plots
from keras_vae.evaluation import gaps_between, mmd


def normal(count, dims, seed):
    return np.random.default_rng(seed).normal(size=(count, dims))


def ring(count, seed, dims=2):
    z = normal(count, dims, seed)
    circle = z[:, :2] / np.linalg.norm(z[:, :2], axis=1, keepdims=True)
    noise = 0.1 * normal(count, 2, seed + 1000)
    return np.concatenate([1.3 * circle + noise, z[:, 2:]], 1)


def slow_mmd(a, b):
    rows = np.concatenate([a, b])
    pairs = [(i, j) for i in range(len(rows)) for j in range(i)]
    scale = np.median([np.square(rows[i] - rows[j]).sum() for i, j in pairs])
    widths = [s**2 * scale for s in (0.125, 0.25, 0.5, 1.0, 2.0)]

    def kernel(p, q):
        return np.mean([np.exp(-np.square(p - q).sum() / (2 * width)) for width in widths])

    def within(x):
        values = [kernel(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]
        return np.mean(values)

    return within(a) + within(b) - 2 * np.mean([kernel(p, q) for p in a for q in b])


@pytest.mark.quick
@pytest.mark.parametrize(("n", "m", "dims"), [(6, 9, 2), (12, 5, 7), (2, 2, 1)])
def test_the_discrepancy_equals_a_slow_double_loop(n, m, dims):
    a, b = normal(n, dims, 0) + 0.7, normal(m, dims, 1)
    value, _ = mmd(a, b, permutations=3)
    assert value == pytest.approx(slow_mmd(a, b), rel=1e-9)
    assert mmd(b, a, permutations=3)[0] == pytest.approx(value, rel=1e-9)


@pytest.mark.quick
def test_the_p_value_counts_relabellings_and_itself():
    a, b = normal(25, 2, 0), normal(30, 2, 9) + 0.4
    rows, first = np.concatenate([a, b]), mmd(a, b, 1)[0]
    orders = [np.random.default_rng(i).permutation(55) for i in range(200)]
    shuffled = [mmd(rows[order[:25]], rows[order[25:]], 1)[0] for order in orders]
    by_hand = (1 + np.sum(np.array(shuffled) >= first)) / 201
    p = mmd(a, b, 999)[1]
    assert 0.0 < p < 0.5
    assert abs(p - by_hand) < 4 * np.sqrt(p * (1 - p) / 200)
    assert mmd(a + 3.0, b, 99)[1] == 1 / 100


def test_under_equality_the_discrepancy_is_0_on_average_and_p_values_are_uniform():
    runs = 60
    draws = [(normal(80, 3, 2 * i), normal(60, 3, 2 * i + 1)) for i in range(runs)]
    values, p_values = np.transpose([mmd(a, b, 99, i) for i, (a, b) in enumerate(draws)])
    assert abs(values.mean()) < 3 * values.std(ddof=1) / np.sqrt(runs)
    assert (values < 0).any()
    assert abs(p_values.mean() - 0.5) < 3 * np.sqrt(1 / 12 / runs)
    assert 0.1 < (p_values <= 0.25).mean() < 0.42  # 0.25 within 3 standard errors
    accuracies, p_values = np.transpose(
        [evaluation.classifier_test(a, b, i) for i, (a, b) in enumerate(draws[:30])]
    )
    assert abs(accuracies.mean() - 0.5) < 3 * 0.5 / np.sqrt(30 * 60)
    assert abs(p_values.mean() - 0.5) < 3 * np.sqrt(1 / 12 / 30) + 0.05  # accuracies are discrete


def test_under_equality_a_hundredth_of_the_prior_is_far():
    shares = [
        evaluation.far_from_codes(normal(1000, d, i), normal(1000, d, 50 + i), i).mean()
        for i, d in enumerate([1, 2, 2, 5, 5, 20, 20, 50])
    ]
    error = np.sqrt(0.01 * 0.99 * (2 / 1000 + 1 / 1000))
    assert np.abs(np.array(shares) - 0.01).max() < 4 * error
    assert abs(np.mean(shares) - 0.01) < 3 * error / np.sqrt(len(shares))


@pytest.mark.quick
@pytest.mark.parametrize(("held_out", "expected"), [(20, 1 / 21), (99, 0.01), (180, 2 / 181)])
def test_the_far_share_and_its_p_value_are_exact_under_equality(held_out, expected):
    runs, m = 400, 200
    p_values, shares = [], []
    for i in range(runs):
        codes, prior, reference = (normal(n, 1, [i, n]) for n in (held_out, m, 50))
        far = evaluation.far_from_codes(codes, prior, reference=reference)
        p_values.append(evaluation.far_p_value(far, held_out))
        shares.append(far.mean())
    assert abs(np.mean(shares) - expected) < 4 * np.std(shares) / np.sqrt(runs)
    for level in (0.05, 0.3):  # discrete, so at most the level
        assert np.mean(np.array(p_values) <= level) < level + 3 * np.sqrt(level / runs)
    assert max(p_values) == 1.0
    if held_out == 20:  # the largest of 25 is a draw
        one = np.arange(5) == 0
        assert evaluation.far_p_value(one, held_out) == pytest.approx(5 / 25)


@pytest.mark.quick
def test_the_p_value_of_a_far_share_does_not_drown_in_rounding():
    # All 40 of 40 lie beyond the 40 held-out codes: one of 80 choose 40 orders.
    assert evaluation.far_p_value(np.ones(40, bool), 40) == pytest.approx(1 / math.comb(80, 40))
    assert evaluation.far_p_value(np.arange(1000) < 394, 1000) < 1e-100


def test_a_verdict_hears_the_far_draws():
    codes, prior = normal(300, 3, 0), normal(300, 3, 1)
    prior[:12] *= 4.0 / np.linalg.norm(prior[:12], axis=1, keepdims=True)
    found = gaps_between(codes, prior, 0, 99, normal(3000, 3, 2))
    assert min(found.mmd2_p_value, found.classifier_p_value) > 0.02
    assert found.far_p_value < 0.005
    assert found.sentence().startswith("q(z) differs from p(z)")


@pytest.mark.quick
def test_a_reference_of_more_codes_shows_gaps_that_few_hide():
    def curve(count, seed):  # one-dimensional codes, wide and sparse in sixteen dimensions
        t = np.random.default_rng(seed).uniform(-1, 1, (count, 1))
        return 40.0 * np.sin(t * np.arange(1, 17))

    codes, prior = curve(300, 0), normal(300, 16, 1)
    half = evaluation.far_from_codes(codes, prior).mean()
    assert evaluation.far_from_codes(codes, prior, reference=curve(6000, 2)).mean() > max(half, 0.9)
    same = evaluation.far_from_codes(normal(2000, 4, 3), normal(2000, 4, 4), 0, normal(9000, 4, 5))
    assert abs(same.mean() - 0.01) < 4 * np.sqrt(0.01 * 0.99 / 1000)
    other = evaluation.far_from_codes(normal(2000, 2, 3), normal(2000, 2, 4), 0, ring(500, 5))
    assert abs(other.mean() - 0.01) < 4 * np.sqrt(0.01 * 0.99 / 1000)


def test_a_ring_is_told_from_a_normal():
    found = gaps_between(ring(400, 0), normal(400, 2, 1), permutations=199)
    assert found.mmd2_p_value == 1 / 200
    assert found.classifier_accuracy > 0.7
    assert found.classifier_p_value < 1e-10
    assert found.far_share > 0.4
    assert (found.num_codes, found.num_prior) == (400, 400)
    assert found.sentence().startswith("q(z) differs from p(z)")
    same = gaps_between(normal(400, 2, 2), normal(400, 2, 3), permutations=199)
    assert same.sentence().startswith("q(z) cannot be told from p(z)")


@pytest.mark.parametrize("dims", [2, 50])
def test_the_classifier_sees_a_scale_that_is_wrong(dims):
    a, b = 0.8 * normal(500, dims, 0), normal(500, dims, 1)
    assert evaluation.classifier_test(a, b)[1] < 0.01


@pytest.mark.quick
def test_seeds_repeat_and_differ():
    a, b = normal(60, 2, 0), normal(50, 2, 1) + 0.3
    assert gaps_between(a, b, seed=3) == gaps_between(a, b, seed=3)
    assert gaps_between(a, b, seed=3) != gaps_between(a, b, seed=4)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("codes", "prior", "words"),
    [
        (np.zeros((30, 2)), np.zeros((30, 3)), r"\(30, 2\) and \(30, 3\)"),
        (np.zeros((30, 2)), np.zeros((19, 2)), "at least 20"),
        (np.zeros(30), np.zeros(30), r"\(n, D\)"),
        (np.full((30, 2), np.nan), np.zeros((30, 2)), "NaN"),
    ],
)
def test_samples_that_do_not_fit_are_refused(codes, prior, words):
    with pytest.raises(ValueError, match=words):
        gaps_between(codes, prior)


def test_draws_of_q_have_its_moments_and_those_of_a_point_are_the_codes(binary):
    vae = kv.VAE((6,), 2, network="dense:widths=[8]", likelihood="bernoulli")
    x = np.repeat(binary[:1], 3000, axis=0)  # equal examples have draws of their own
    draws, encoding = evaluation.aggregate_posterior(vae, x, seed=1), vae.encode(x[:1])
    error = encoding.stddev[0] / np.sqrt(3000)
    assert (np.abs(draws.mean(0) - encoding.mean[0]) < 4 * error).all()
    np.testing.assert_allclose(draws.std(0), encoding.stddev[0], rtol=0.06)
    np.testing.assert_array_equal(draws, evaluation.aggregate_posterior(vae, x, seed=1))
    plain = kv.recipes.autoencoder((6,), 2, network="dense:widths=[8]")
    codes = evaluation.aggregate_posterior(plain, binary)
    np.testing.assert_allclose(codes, plain.encode(binary).mean, atol=1e-6)
    with pytest.raises(ValueError, match=r"\(batch, 6\)"):
        evaluation.aggregate_posterior(vae, binary[:, :5])


def test_a_model_is_compared_with_its_own_prior(binary):
    vae = kv.VAE((6,), 2, network="dense:widths=[8]")
    found = evaluation.gaps(vae, binary, permutations=19)
    more = evaluation.gaps(vae, binary, permutations=19, train=1.0 - binary)
    assert found[:4] == more[:4]  # the reference has a part in the last alone
    assert (found.num_codes, found.num_prior) == (90, 90)
    prior = evaluation.prior_draws(vae, 2000)
    assert np.abs(prior.mean(0)).max() < 4 / np.sqrt(2000)
    codes, prior, reference = evaluation.gap_draws(vae, binary, train=1.0 - binary)
    assert gaps_between(codes, prior, permutations=19, reference=reference) == more
    assert evaluation.gap_draws(vae, binary)[2] is None


@pytest.mark.quick
@pytest.mark.parametrize("dims", [1, 2, 5])
def test_the_figure_marks_the_far_draws(dims):
    codes, prior = normal(40, dims, 0), normal(50, dims, 1)
    far = np.arange(50) < 7
    figure = plots.latent_gaps(codes, prior, far, "Gaps")
    (axes,) = figure.axes
    if dims > 1:
        counts = [len(points.get_offsets()) for points in axes.collections]
        assert counts == [43, 40, 7]
    else:
        np.testing.assert_allclose(axes.lines[0].get_xdata(), prior[far, 0])
    if dims == 2:
        np.testing.assert_allclose(axes.collections[2].get_offsets(), prior[far])
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert words[-1] == "draws of p(z) in a gap (14.0%)"
    assert axes.get_title() == "Gaps"
    assert len(plots.latent_gaps(codes, prior).axes[0].get_legend().get_texts()) == 2
    with pytest.raises(ValueError, match=r"far has shape \(3,\)"):
        plots.latent_gaps(codes, prior, far[:3])
    with pytest.raises(ValueError, match="prior has shape"):
        plots.latent_gaps(codes, normal(50, dims + 1, 0))
