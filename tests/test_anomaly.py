"""Scores are the densities they say, thresholds keep their promise, areas are what SciPy says."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from linear_gaussian import LinearGaussian

import keras_vae as kv
from keras_vae import cli, evaluation, plots
from keras_vae.evaluation import anomaly, detection, threshold

quick = pytest.mark.quick


@pytest.fixture(scope="module")
def model():
    return LinearGaussian()


def normal(count, shift=0.0, seed=0):
    return np.random.default_rng(seed).normal(size=count) + shift


# Scores


def test_scores_are_the_negative_of_a_known_density(model):
    x = model.sample(30)
    np.testing.assert_allclose(model.vae.score(x, num_samples=3), -model.log_prob(x), rtol=1e-4)
    wider = LinearGaussian(widen=1.3)
    far = np.abs(wider.vae.score(x) + wider.log_prob(x)).max()
    assert far < 0.1
    bound = wider.vae.score(x, by="elbo", num_samples=2000)
    assert np.mean(bound + wider.log_prob(x)) > 2 * far
    divergence = 2 * (-math.log(1.3) + (1.3**2 - 1.0) / 2.0)  # KL of the widened q(z|x), D = 2
    assert np.mean(bound + wider.log_prob(x)) == pytest.approx(divergence, abs=0.02)


def test_scores_are_the_methods_they_name_with_their_defaults(model):
    x = model.sample(7)
    np.testing.assert_array_equal(model.vae.score(x), -model.vae.log_likelihood(x))
    np.testing.assert_array_equal(model.vae.score(x, "elbo"), -model.vae.elbo(x))
    np.testing.assert_array_equal(
        model.vae.score(x, "elbo", 3, seed=5), -model.vae.elbo(x, num_samples=3, seed=5)
    )
    np.testing.assert_allclose(model.vae.score(x, batch_size=2), model.vae.score(x), rtol=1e-6)


def test_scores_pass_side_inputs_on():
    vae = kv.VAE((4,), 2, network="dense:widths=[4]", likelihood="poisson:size_factor=True")
    x = {"x": np.ones((3, 4), np.float32), "offset": np.array([1.0, 2.0, 5.0])}
    scores = vae.score(x, num_samples=5)
    np.testing.assert_array_equal(scores, -vae.log_likelihood(x, num_samples=5))
    assert not np.allclose(scores, vae.score({**x, "offset": np.ones(3)}, num_samples=5))


def test_scores_heed_a_condition():
    vae = kv.VAE((4,), 2, network="dense:widths=[4]", condition=3)
    x, y = np.eye(4, dtype=np.float32)[:3], np.array([0, 1, 2])
    scores = vae.score(x, num_samples=5, condition=y)
    np.testing.assert_array_equal(scores, -vae.log_likelihood({"x": x, "condition": y}, 5))
    data = kv.data.load(dict.fromkeys(("train", "validation", "test"), x), 3)
    batches = data.test.map(lambda each: (each, y))
    np.testing.assert_array_equal(evaluation.scores(vae, batches, num_samples=5), scores)


def test_scores_of_a_data_set_come_in_order_whatever_the_batches(model):
    x = model.sample(23)
    seen = []
    found = evaluation.scores(model.vae, x, "elbo", 2, 3, seen.append)
    np.testing.assert_array_equal(found, model.vae.score(x, "elbo", 2, 3))
    batches = kv.data.load({"train": x, "validation": x, "test": x}, 5).test
    np.testing.assert_allclose(evaluation.scores(model.vae, batches, "elbo", 2, 3), found)
    assert sum(seen) == 23


def test_another_way_of_scoring_is_refused(model):
    with pytest.raises(ValueError, match="by is 'elbow'; .* Did you mean 'elbo'?"):
        model.vae.score(model.sample(2), by="elbow")
    plain = kv.recipes.autoencoder((5,), 2, network="dense:widths=[4]")
    with pytest.raises(ValueError, match="needs a posterior with a density"):
        plain.score(model.sample(2))


# Thresholds


@quick
@pytest.mark.parametrize(
    ("count", "rate", "place"),
    [(19, 0.05, 19), (20, 0.05, 20), (39, 0.05, 38), (99, 0.29, 71), (99, 0.07, 93), (1, 0.5, 1)],
)
def test_the_threshold_is_the_conformal_quantile(count, rate, place):
    scores = np.random.default_rng(0).permutation(count) + 1.0
    limit = threshold(scores, rate)
    assert limit == (place, rate, count)
    assert limit.exceeded(scores).sum() == count - place
    assert place == math.ceil((count + 1) * (1 - rate) - 1e-9)


@quick
@pytest.mark.parametrize(("count", "rate"), [(19, 0.05), (50, 0.1), (30, 0.33)])
def test_the_promised_rate_is_kept_on_average_over_validation_sets(count, rate):
    draws = np.random.default_rng(1).standard_cauchy((20_000, count + 1))
    limits = np.array([threshold(row, rate).value for row in draws[:, 1:]])
    found, error = np.mean(draws[:, 0] > limits), 3.5 * math.sqrt(rate / len(draws))
    assert rate - 1 / (count + 1) - error < found < rate + error
    ties = np.round(draws)  # never more than promised
    limits = np.array([threshold(row, rate).value for row in ties[:, 1:]])
    assert np.mean(ties[:, 0] > limits) < rate + error


@quick
def test_the_rate_of_one_validation_set_lies_where_it_is_said_to():
    uniform = np.random.default_rng(2).random((4000, 60))
    rates = np.array([1.0 - threshold(row, 0.1).value for row in uniform])
    low, high = threshold(uniform[0], 0.1).rates()
    assert np.mean(rates < low) == pytest.approx(0.05, abs=0.012)
    assert np.mean(rates > high) == pytest.approx(0.05, abs=0.012)
    assert "at most 10 % are expected" in threshold(uniform[0], 0.1).sentence()


@quick
def test_what_is_no_number_is_anomalous():
    limit = threshold(np.arange(9.0), 0.5)
    found = limit.exceeded([np.nan, np.inf, -np.inf, limit.value, limit.value + 1e-9])
    np.testing.assert_array_equal(found, [True, True, False, False, True])


@quick
@pytest.mark.parametrize(
    ("scores", "rate", "words"),
    [
        (np.zeros(18), 0.05, "which 18 validation example.* Choose a larger rate, .* least 19 v"),
        (np.zeros(9), 1e-3, "expected at least 1 / 10. .* at least 999 v"),
        (np.zeros(9), 0.0, "false_positive_rate is 0.0; expected a finite number above 0"),
        (np.zeros(9), 1.0, "false_positive_rate is 1; expected a number above 0 and below 1"),
        (np.zeros((9, 1)), 0.5, r"scores has shape \(9, 1\)"),
        (np.zeros(0), 0.5, "expected at least 1 number"),
        (np.array(["a"]), 0.5, "dtype <U1"),
        (np.array([1.0, np.nan]), 0.5, "scores holds 1 NaN"),
        (np.full(9, np.inf), 0.5, "is inf; expected a finite one"),
    ],
)
def test_a_promise_that_cannot_be_kept_is_refused(scores, rate, words):
    with pytest.raises(ValueError, match=words):
        threshold(scores, rate)


# Detection


@quick
@pytest.mark.parametrize("shift", [-2.0, 0.0, 0.5, 1.5])
def test_the_area_of_two_normals_is_known(shift):
    found = detection(normal(4000), normal(3000, shift, 1))
    expected = scipy.stats.norm.cdf(shift / math.sqrt(2))
    assert abs(found.auroc - expected) < 4 * found.auroc_standard_error < 0.05


@quick
@pytest.mark.parametrize("decimals", [0, 8])
def test_the_area_is_that_of_scikit_learn_ties_included(decimals):
    low, high = np.round(normal(50), decimals), np.round(normal(80, 0.7, 1), decimals)
    labels = np.repeat([0, 1], [50, 80])
    expected = sklearn.metrics.roc_auc_score(labels, np.concatenate([low, high]))
    assert detection(low, high).auroc == pytest.approx(expected, abs=1e-12)
    assert detection(high, low).auroc == pytest.approx(1.0 - expected, abs=1e-12)


@quick
def test_the_standard_error_is_the_spread_over_data_sets():
    rng = np.random.default_rng(3)
    found = [detection(rng.normal(size=60), rng.normal(size=90) * 2 + 1) for _ in range(1500)]
    spread = np.std([each.auroc for each in found])
    assert np.mean([each.auroc_standard_error for each in found]) == pytest.approx(spread, rel=0.06)


@quick
def test_rates_are_shares_above_the_threshold():
    limit = threshold(normal(999, seed=5), 0.05)
    found = detection(normal(20_000, seed=6), normal(20_000, 2.0, 7), limit)
    assert found.false_positive_rate == pytest.approx(scipy.stats.norm.sf(limit.value), abs=0.006)
    assert found.detection_rate == pytest.approx(scipy.stats.norm.sf(limit.value - 2.0), abs=0.012)
    assert detection([0.0, 1.0], [2.0, 3.0]) == (1.0, 0.0, None, None)


@quick
def test_one_score_does_not_make_a_standard_error():
    with pytest.raises(ValueError, match="strange has shape .* at least 2 number"):
        detection([0.0, 1.0], [2.0])


# Figures


@quick
def test_a_curve_is_that_of_scikit_learn_and_its_area_is_named():
    low, high = np.round(normal(40), 1), np.round(normal(30, 1.0, 1), 1)
    figure = plots.roc_curves({"one": (low, high), "turned": (high, low)}, "two")
    (axes,) = figure.axes
    curve = axes.lines[1]
    labels = np.repeat([0, 1], [40, 30])
    across, up, _ = sklearn.metrics.roc_curve(
        labels, np.concatenate([low, high]), drop_intermediate=False
    )
    np.testing.assert_allclose(curve.get_xdata(), across, atol=1e-12)
    np.testing.assert_allclose(curve.get_ydata(), up, atol=1e-12)
    area = detection(low, high).auroc
    said = [text.get_text() for text in axes.get_legend().get_texts()]
    assert said == [f"one, AUROC {area:.3f}", f"turned, AUROC {1 - area:.3f}"]


@quick
def test_histograms_hold_every_score_and_the_threshold():
    sets = {"usual": normal(2000), "_strange $1": np.append(normal(999, 3.0, 1), 1e6)}
    (axes,) = plots.score_histograms(sets, 1.5).axes
    for patch in axes.patches:
        values, edges, _ = patch.get_data()
        assert np.sum(values * np.diff(edges)) == pytest.approx(1.0)
        assert edges[-1] < 10.0
    assert axes.lines[0].get_xdata()[0] == 1.5
    said = [text.get_text() for text in axes.get_legend().get_texts()]
    shares = [np.mean(each > 1.5) for each in sets.values()]
    assert said[:2] == [f"usual ({shares[0]:.1%} above)", rf"strange \$1 ({shares[1]:.1%} above)"]


@quick
def test_figures_draw_where_they_are_told_and_refuse_what_they_cannot():
    figure = plots.roc_curves({"a": ([0.0, 1.0], [1.0, 2.0])})
    axes = figure.axes[0].figure.add_subplot()
    assert plots.score_histograms({"same": np.ones(5)}, axes=axes) is figure
    with pytest.raises(ValueError, match="scores holds 0 sets; expected 1 to 6"):
        plots.score_histograms({})
    with pytest.raises(ValueError, match="pairs.'a'. holds 1 NaN"):
        plots.roc_curves({"a": ([0.0, np.nan], [1.0, 2.0])})


# The table


@quick
def test_a_table_names_splits_and_files_where_there_are_any():
    limit = threshold(np.arange(9.0), 0.5)
    one = anomaly.table({"train": np.array([1.0, 9.0])}, limit, {})
    assert one == {"index": [0, 1], "score": [1.0, 9.0], "anomalous": [0, 1]}
    parts = {"train": np.array([1.0]), "test": np.array([2.0, 9.0])}
    two = anomaly.table(parts, limit, {"train": ["a"], "test": ["b", "c"]})
    assert two["index"] == [0, 0, 1]
    assert two["split"] == ["train", "test", "test"]
    assert two["file"] == ["a", "b", "c"]
    with pytest.warns(UserWarning, match="1 of 1 scores are infinite or NaN"):
        assert anomaly.table({"x": np.array([np.nan])}, limit, {})["anomalous"] == [1]


def test_the_command_scores_a_file_in_order(tmp_path, monkeypatch, capsys):
    model = LinearGaussian()
    usual, strange = model.sample(400, seed=3), model.sample(40, seed=4) + 4.0
    x = np.concatenate([usual[:200], strange])
    monkeypatch.chdir(tmp_path)
    np.savez("own.npz", train=model.sample(50), validation=model.sample(199, 5), test=x[:9])
    np.save("mine.npy", x)
    np.savez("parts.npz", train=x[:5], test=x[5:8])
    run(
        capsys,
        "train --data own.npz --epochs 1 --batch-size 25 --network dense:widths=[4] --output run",
    )
    model.vae.save("run/model.keras")  # a model whose density is known
    said = run(capsys, "score run --data mine.npy --num-samples 3 --output deep/mine.csv")

    rows = list(csv.DictReader(Path("deep/mine.csv").read_text().splitlines()))
    assert list(rows[0]) == ["index", "score", "anomalous"]
    assert [int(row["index"]) for row in rows] == list(range(240))
    scores = np.array([float(row["score"]) for row in rows])
    np.testing.assert_allclose(scores, -model.log_prob(x), rtol=1e-4)
    facts = json.loads(Path("deep/mine.json").read_text())
    ordered = np.sort(-model.log_prob(np.load("own.npz")["validation"]))
    assert facts["threshold"] == pytest.approx(ordered[189], rel=1e-4)
    assert (facts["num_validation"], facts["num_samples"], facts["seed"]) == (199, 3, 0)
    anomalous = np.array([int(row["anomalous"]) for row in rows])
    np.testing.assert_array_equal(anomalous, scores > facts["threshold"])
    assert facts["num_anomalous"] == anomalous.sum()
    assert anomalous[:200].mean() < 0.12 < 0.9 < anomalous[200:].mean()
    assert f"A score above {facts['threshold']:.3f} nats is anomalous" in said
    assert "deep/mine.json" in said

    run(capsys, "score run --data parts.npz --by elbo --num-samples 9 --output parts.csv")
    rows = list(csv.DictReader(Path("parts.csv").read_text().splitlines()))
    assert [row["split"] for row in rows] == ["train"] * 5 + ["test"] * 3
    assert [int(row["index"]) for row in rows] == [0, 1, 2, 3, 4, 0, 1, 2]
    expected = model.vae.score(x[:8], "elbo", 9)
    np.testing.assert_allclose([float(row["score"]) for row in rows], expected, rtol=1e-5)


def run(capsys, line):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as caught:
        patch.setattr("sys.argv", ["keras-vae", *line.split()])
        cli.main()
    said = capsys.readouterr()
    assert (caught.value.code or 0, said.err) == (0, "")
    return said.out
