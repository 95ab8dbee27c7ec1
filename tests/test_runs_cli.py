"""The command line trains, scores, samples and exports, and refuses mistakes in one sentence."""

import contextlib
import csv
import dataclasses
import io
import json
import math
import re
import runpy
import shlex
import shutil
import subprocess
import sys

import keras
import matplotlib.image
import numpy as np
import PIL.Image
import pytest
import rich.console
import tensorflow as tf
import typer

import keras_vae as kv
from keras_vae import _files, _registry, cli, configs, runs

pytestmark = pytest.mark.filterwarnings("ignore:batch_size is")
TINY = ("--network", "dense:widths=[8]", "--latent-dim", "2")
FIGURES_OF_MERIT = {
    "elbo",
    "nll",
    "nll_standard_error",
    "nll_monte_carlo_error",
    "effective_sample_size",
    "pareto_k",
    "pareto_k_high_share",
    "pareto_k_warning",
    "reconstruction_loss",
    "kl_loss",
    "kl_per_dimension",
    "bits_per_dim",
    "active_units",
    "collapsed",
    "verdict",
    "estimator",
    "normalised",
    "num_samples",
    "num_examples",
    "evaluation_seconds",
    "training_seconds",
}
GAPS = {
    "gap_mmd2",
    "gap_mmd2_p_value",
    "gap_classifier_accuracy",
    "gap_classifier_p_value",
    "gap_far_share",
    "gap_far_p_value",
    "gap_verdict",
}


def command(*arguments):
    """Runs the command in this process; returns its exit status, output and error output."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as caught,
    ):
        patch.setattr(sys, "argv", ["keras-vae", *map(str, arguments)])
        cli.main()
    return caught.value.code or 0, out.getvalue(), err.getvalue()


def succeed(*arguments):
    status, out, err = command(*arguments)
    assert (status, err) == (0, "")
    return out


def read_json(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def history_of(run):
    """Returns name -> values, without the clock."""
    with (run / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0] if name != "seconds"}


def tree(folder):
    """Returns every path below the folder, with what shows that a file was written."""
    stats = {path: path.stat() for path in sorted(folder.rglob("*"))}
    return {
        str(path): None if path.is_dir() else (stat.st_size, stat.st_mtime_ns)
        for path, stat in stats.items()
    }


# What the module shares


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of data and configs, good and bad."""
    place = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    images = rng.random((60, 8, 8, 1)).astype(np.float32)
    vectors = rng.normal(size=(40, 6)).astype(np.float32)
    np.savez(place / "images.npz", train=images[:40], validation=images[40:50], test=images[50:])
    np.save(place / "vectors.npy", vectors)
    np.save(place / "grey.npy", np.round(255.0 * images))
    np.save(place / "tiny.npy", vectors[:1])
    vectors[3, 2] = np.nan
    np.save(place / "nan.npy", vectors)
    (place / "cut.npz").write_bytes((place / "images.npz").read_bytes()[:500])
    (place / "taken.npz").write_text("mine")
    (place / "taken.png").write_text("mine")
    (place / "taken.csv").write_text("mine")
    configs = {
        "unknown": {"epoch": 3},
        "list": [1, 2],
        "types": {"epochs": "3"},
        "number": {"objective": 3},
        "null": {"latent_dim": None},
        "flag": {"dequantize": "no"},
        "class": {"objective": {"class_name": "x"}},
    }
    for name, values in configs.items():
        (place / f"{name}.json").write_text(json.dumps(values))
    (place / "broken.json").write_text('{"epochs": ')
    (place / "nested.json").write_text("[" * 100_000)
    return place


@pytest.fixture(scope="module")
def trained(place):
    """A run of two epochs on images, and what the command printed."""
    folder = place / "a_run_on_images_whose_name_is_longer_than_a_line_of_most_terminals"
    output = succeed(
        *("train", "--output", folder, "--data", place / "images.npz", *TINY),
        *("--epochs", 2, "--batch-size", 16, "--binarize", "none", "--seed", 7),
    )
    return folder, output


@pytest.fixture(scope="module")
def run(trained):
    return trained[0]


@pytest.fixture(scope="module")
def metrics(run):
    """What `evaluate` wrote into the run, and printed."""
    output = succeed("evaluate", run, "--num-samples", 20)
    return read_json(run / "metrics.json"), output


@pytest.fixture(scope="module")
def digits_run(place):
    """A run of one epoch on digits with a warmed-up beta, evaluated."""
    folder = place / "deep" / "digits"
    succeed("train", "--output", folder, "--epochs", 1, *TINY, "--beta", "linear(steps=4)")
    succeed("evaluate", folder, "--num-samples", 5)
    return folder


@pytest.fixture(scope="module")
def vector_run(place):
    """An autoencoder of vectors, by a config of its own and options that override it."""
    config = {"posterior": "point", "objective": "reconstruction", "epochs": 9, "latent_dim": 5}
    (place / "base.json").write_text(json.dumps(config))
    folder = place / "vectors"
    folder.mkdir()
    succeed(
        *("train", "--output", folder, "--config", place / "base.json"),
        *("--data", place / "vectors.npy", "--epochs", 1, *TINY),
    )
    return folder


@pytest.fixture(scope="module")
def foreign(place):
    """Files of Keras and TensorFlow that are none of ours."""
    folder = place / "foreign"
    folder.mkdir()
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.save(folder / "model.keras")
    (folder / "config.json").write_text("{}")
    model.export(place / "foreign_export", verbose=False)
    (place / "garbage").mkdir()
    (place / "garbage" / "saved_model.pb").write_bytes(b"garbage")
    return folder


@pytest.fixture(scope="module")
def damaged(place, run):
    """Copies of the run, each with one file spoilt."""
    for name, content in {"model.keras": b"PK\x03\x04 no model", "config.json": b"{"}.items():
        folder = place / f"damaged {name}"
        shutil.copytree(run, folder)
        (folder / name).write_bytes(content)
    for name, content in {"list": "[1]", "number": "3", "cut": "{"}.items():
        shutil.copytree(run, place / f"metrics {name}")
        (place / f"metrics {name}" / "metrics.json").write_text(content)
    shutil.copytree(run, place / "damaged export")
    shutil.rmtree(place / "damaged export" / "saved_model" / "variables")


# train


def test_training_fills_a_run_folder(run):
    assert {path.name for path in run.iterdir()} >= {
        "config.json",
        "model.keras",
        "saved_model",
        "history.csv",
        "figures",
        "tensorboard",
    }
    pictures = {"reconstructions", "samples", "interpolations", "arcs", "traversals"}
    assert {path.stem for path in runs.figures(run)} - {"plane"} == (
        {"history", "latents", "kl_per_dimension"} | pictures
    )
    for split in ("train", "validation"):
        assert list((run / "tensorboard" / split).glob("events.*"))
    assert tf.saved_model.contains_saved_model(str(run / "saved_model"))
    assert not list(run.rglob(".*"))


def test_the_config_says_all_that_the_run_is_made_of(run, place):
    config = read_json(run / "config.json")
    assert config == {
        **dataclasses.asdict(runs.Config()),
        "data": str(place / "images.npz"),
        "binarize": None,
        "batch_size": 16,
        "epochs": 2,
        "latent_dim": 2,
        "network": "dense:widths=[8]",
        "likelihood": "normal:variance=shared",
        "seed": 7,
    }


def test_the_saved_model_is_the_trained_one(run, place):
    folder, config, vae = runs.read(run)
    assert folder == run
    assert dataclasses.asdict(config) == read_json(run / "config.json")
    assert type(vae) is kv.VAE
    assert int(vae.sampling.step) == 2 * 3
    assert (vae.event_shape, vae.latent.latent_dim) == ((8, 8, 1), 2)
    validation = np.load(place / "images.npz")["validation"]
    loss = vae.evaluate(validation, batch_size=16, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(history_of(run)["val_loss"][-1], rel=1e-5)


def test_the_history_has_a_row_for_every_epoch(run):
    history = history_of(run)
    assert history["epoch"] == [0.0, 1.0]
    for name in ("loss", "reconstruction_loss", "kl_loss", "elbo"):
        for values in (history[name], history[f"val_{name}"]):
            assert len(values) == 2
            assert np.isfinite(values).all()
    np.testing.assert_allclose(np.negative(history["elbo"]), history["loss"], rtol=1e-6)
    assert runs.training_seconds(run) > 0.0


def test_the_figures_are_pictures(run):
    for path in runs.figures(run):
        picture = matplotlib.image.imread(path)
        assert picture.shape[0] > 100
        assert picture.shape[1] > 100
        assert picture.std() > 0.0


def test_training_prints_the_config_the_figures_and_what_to_do_next(trained):
    run, output = trained
    lines = output.splitlines()
    words = " ".join(output.split())
    assert "images: 40 train, 10 validation, 10 test examples of shape (8, 8, 1)" in words
    assert "likelihood normal:variance=shared (the values are real)" in words
    assert "network dense:widths=[8] posterior" in words  # given, so no reason
    assert "standard_normal, 2 latent dimensions" in words
    assert "2 epochs of 3 steps" in words
    assert any("epoch 2/2" in line and "val_elbo" in line for line in lines)
    for path in runs.figures(run):
        assert str(path) in lines
    assert f"Next: keras-vae evaluate {run}" in lines


def test_the_config_of_a_run_repeats_it_exactly(run, tmp_path):
    keras.utils.set_random_seed(12345)
    succeed("train", "--config", run / "config.json", "--output", tmp_path / "again")
    assert history_of(tmp_path / "again") == history_of(run)
    assert read_json(tmp_path / "again" / "config.json") == read_json(run / "config.json")
    one, other = kv.load(run / "model.keras"), kv.load(tmp_path / "again" / "model.keras")
    for first, second in zip(one.weights, other.weights):
        np.testing.assert_array_equal(first.numpy(), second.numpy())


def test_options_override_the_config_and_an_empty_folder_is_filled(vector_run):
    config = runs.Config.read(vector_run / "config.json")
    assert (config.posterior, config.objective) == ("point", "reconstruction")
    assert (config.epochs, config.latent_dim) == (1, 2)
    assert config.likelihood == "normal:variance=shared"


def test_vectors_have_histograms_and_pairs(vector_run):
    assert {path.stem for path in runs.figures(vector_run)} == (
        {"history", "latents", "histograms", "pairs"}  # an autoencoder has no KL
    )


def test_evaluating_draws_the_figures_again(run, metrics, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")  # whose figures of merit others read
    path = folder / "figures" / "latents.png"
    before = matplotlib.image.imread(path)
    path.unlink()
    runs.evaluate(folder, 5)
    np.testing.assert_array_equal(matplotlib.image.imread(path), before)


def test_a_run_s_configuration_stands_in_tensorboard(run):
    (start,) = [
        value.metadata.plugin_data.content
        for path in (run / "tensorboard").glob("events*")
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag == "_hparams_/session_start_info"
    ]
    for words in (b"latent_dim", b"likelihood", b"seed"):
        assert words in start


def test_digits_are_binary_and_beta_warms_up(digits_run):
    config = read_json(digits_run / "config.json")
    assert (config["data"], config["binarize"]) == ("digits", "dynamic")
    assert (config["likelihood"], config["objective"]) == ("bernoulli", "elbo:beta=linear(steps=4)")
    batches = [128] * 10 + [70]
    weights = [min(step / 4.0, 1.0) for step in range(11)]
    history = history_of(digits_run)
    assert history["beta"][0] == pytest.approx(np.average(weights, weights=batches), rel=1e-5)
    assert history["val_beta"] == [1.0]


# evaluate


def test_evaluating_writes_and_prints_the_figures_of_merit(metrics):
    values, output = metrics
    assert set(values) == FIGURES_OF_MERIT | GAPS
    assert (values["num_examples"], values["num_samples"]) == (10, 20)
    for name, value in values.items():
        shown = [line.split() for line in output.splitlines() if line.split()[:1] == [name]]
        if name.endswith(("verdict", "warning")) or isinstance(value, list):
            assert not shown
            assert not isinstance(value, str) or value in output
            continue
        (shown,) = shown
        if value is None:
            assert shown == [name, "-"]
        elif isinstance(value, (bool, str)):
            assert shown[1] == str(value).split()[0]
        else:
            assert float(shown[1]) == pytest.approx(value, abs=5e-4)


def test_the_figures_of_merit_are_those_of_the_test_set(metrics, run, place):
    values, _ = metrics
    vae, x = kv.load(run / "model.keras"), np.load(place / "images.npz")["test"]
    elbo, likelihood = vae.elbo(x, seed=7), vae.log_likelihood(x, 20, seed=7)
    assert values["elbo"] == pytest.approx(elbo.mean(), rel=1e-5)
    assert values["elbo"] == pytest.approx(
        -(values["reconstruction_loss"] + values["kl_loss"]), rel=1e-6
    )
    assert values["nll"] == pytest.approx(-likelihood.mean(), rel=1e-5)
    assert values["nll_standard_error"] == pytest.approx(
        likelihood.std(ddof=1) / math.sqrt(10), rel=1e-3
    )
    assert values["nll_monte_carlo_error"] > 0.0
    assert values["bits_per_dim"] is None
    assert 0 <= values["active_units"] <= 2
    assert values["training_seconds"] == runs.training_seconds(run)


def test_the_codes_are_held_against_the_prior(digits_run):
    values = read_json(digits_run / "metrics.json")
    found = {name: values[name] for name in GAPS}
    assert found["gap_verdict"].startswith("q(z) ")
    assert 0.0 <= found["gap_far_share"] <= 1.0
    assert (digits_run / "figures" / "gaps.png").is_file()


@pytest.mark.slow
def test_samples_of_shapes_are_held_against_the_truth(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "SHAPES", 50)
    options = ("--data", "shapes:train=100,test=60", *TINY, "--epochs", 1)
    succeed("train", *options, "--output", tmp_path / "run")
    output = succeed("evaluate", tmp_path / "run", "--num-samples", 5)
    values = read_json(tmp_path / "run" / "metrics.json")
    assert values["shapes_num_samples"] == 50
    assert 0.0 <= values["shapes_valid"] <= 1.0
    assert values["shapes_verdict"] in output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "part"), [("digits", "encoder"), ("shapes:train=100,test=60", "decoder")]
)
def test_a_diverged_model_is_scored_as_far_as_it_goes(
    digits_run, tmp_path, monkeypatch, data, part
):
    monkeypatch.setattr(runs, "SHAPES", 50)
    folder = tmp_path / "run"
    if data == "digits":
        shutil.copytree(digits_run, folder)
    else:
        succeed("train", "--data", data, *TINY, "--epochs", 1, "--output", folder)
    vae = kv.load(folder / "model.keras")
    network = getattr(vae, part)
    network.set_weights([np.full_like(weights, np.nan) for weights in network.get_weights()])
    vae.save(folder / "model.keras")
    output = succeed("evaluate", folder, "--num-samples", 5)
    assert "the training has diverged" in output
    assert "are infinite or NaN" in output
    text = (folder / "metrics.json").read_text()
    values = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert (values["nll"], values["elbo"]) == (None, None)
    assert (values["gap_mmd2"] is None) == (part == "encoder")
    assert values.get("shapes_valid") is None


@pytest.mark.slow
def test_shapes_may_have_a_likelihood_of_real_values(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "SHAPES", 50)
    options = ("--data", "shapes:train=100,test=60", *TINY, "--epochs", 1, "--binarize", "none")
    likelihood = ("--likelihood", "normal:variance=shared")
    succeed("train", *options, *likelihood, "--output", tmp_path / "run")
    succeed("evaluate", tmp_path / "run", "--num-samples", 5)
    assert 0.0 <= read_json(tmp_path / "run" / "metrics.json")["shapes_valid"] <= 1.0


@pytest.mark.slow
def test_log_likelihoods_may_be_annealed(digits_run, tmp_path):
    folder = shutil.copytree(digits_run, tmp_path / "run")
    np.save(tmp_path / "few.npy", np.eye(64, dtype=np.float32).reshape(64, 8, 8, 1)[:4])
    options = ("--method", "annealed", "--temperatures", 8, "--leapfrog-steps", 2)
    other = ("--data", tmp_path / "few.npy", "--num-samples", 3)
    output = succeed("evaluate", folder, *options, *other)
    assert ["estimator", "annealed"] in [line.split() for line in output.splitlines()]
    _, _, error = command("evaluate", folder, "--method", "anealed")
    assert "'anealed'" in error
    assert "Did you mean 'annealed'?" in error
    status, _, error = command("evaluate", folder, "--leapfrog-steps", 3)
    assert (status, error.count("\n")) == (2, 1)
    assert "--leapfrog-steps is of --method annealed, and --method is importance" in error


def test_binary_data_has_bits_per_dimension(digits_run):
    values = read_json(digits_run / "metrics.json")
    assert values["num_examples"] == 297
    assert values["bits_per_dim"] == pytest.approx(values["nll"] / (64 * math.log(2)))
    assert 0.5 < values["bits_per_dim"] < 1.5


def test_a_model_without_a_density_is_scored_by_its_reconstructions(vector_run, place):
    succeed("evaluate", vector_run, "--num-samples", 5)
    values = read_json(vector_run / "metrics.json")
    assert set(values) == FIGURES_OF_MERIT | GAPS
    needs_density = ("elbo", "nll", "nll_standard_error", "nll_monte_carlo_error", "kl_loss")
    assert [values[name] for name in needs_density] == [None] * 5
    vae, x = kv.load(vector_run / "model.keras"), np.load(place / "vectors.npy")[-4:]
    log_px = vae.observation(vae.encode(x).mean).log_prob(x).numpy()
    assert values["reconstruction_loss"] == pytest.approx(-log_px.mean(), rel=1e-5)


@pytest.mark.slow
def test_evaluating_again_gives_the_same_figures(run, metrics):
    values, _ = metrics
    again = runs.evaluate(run, 20)
    assert set(again) == FIGURES_OF_MERIT | GAPS
    assert {**again, "evaluation_seconds": 0} == {**values, "evaluation_seconds": 0}


# sample


def test_a_picture_of_samples_is_drawn_in_a_new_folder(run, tmp_path):
    path = tmp_path / "new" / "samples.png"
    assert str(path) in succeed("sample", run, "--output", path, "--n", 6).splitlines()
    picture = matplotlib.image.imread(path)
    assert picture.std() > 0.0


def test_a_file_of_samples_holds_those_of_the_model(run, tmp_path):
    succeed("sample", run, "--output", tmp_path / "s.npz", "--n", 5, "--seed", 3)
    with np.load(tmp_path / "s.npz") as file:
        drawn = dict(file)
    assert {name: values.shape for name, values in drawn.items()} == {
        "x": (5, 8, 8, 1),
        "mean": (5, 8, 8, 1),
        "z": (5, 2),
    }
    expected = kv.load(run / "model.keras").sample(5, seed=3)
    for name, values in expected._asdict().items():
        np.testing.assert_allclose(drawn[name], values, rtol=1e-5, atol=1e-5)


def test_samples_follow_the_seed_from_a_run_and_from_an_export(run, tmp_path):
    exported = tmp_path / "exported"
    assert str(exported) in succeed("export", run, "--output", exported).splitlines()
    sources = {"run": (run, 3), "again": (run, 3), "export": (exported, 3), "other": (run, 4)}
    drawn = {}
    for name, (source, seed) in sources.items():
        path = tmp_path / f"{name}.npz"
        succeed("sample", source, "--output", path, "--n", 4, "--seed", seed)
        with np.load(path) as file:
            drawn[name] = file["x"]
    np.testing.assert_array_equal(drawn["again"], drawn["run"])
    np.testing.assert_array_equal(drawn["export"], drawn["run"])
    assert not np.any(np.all(drawn["other"] == drawn["run"], axis=(1, 2, 3)))


def test_samples_of_binary_data_are_binary(digits_run, tmp_path):
    succeed("sample", digits_run, "--output", tmp_path / "s.npz", "--seed", -1)
    with np.load(tmp_path / "s.npz") as file:
        assert file["x"].shape == (64, 8, 8, 1)
        assert set(np.unique(file["x"])) == {0.0, 1.0}
        assert np.all((file["mean"] > 0.0) & (file["mean"] < 1.0))


def test_reconstructions_are_those_of_the_first_test_examples(run, place, tmp_path):
    path = tmp_path / "r.npz"
    assert str(path) in succeed("reconstruct", run, "--output", path, "--n", 4).splitlines()
    x = np.load(place / "images.npz")["test"][:4]
    with np.load(path) as file:
        np.testing.assert_array_equal(file["x"], x)
        expected = kv.load(run / "model.keras").reconstruct(x)
        np.testing.assert_allclose(file["mean"], expected, rtol=1e-5, atol=1e-6)
    succeed("reconstruct", run, "--output", tmp_path / "r.png", "--n", 4)
    assert matplotlib.image.imread(tmp_path / "r.png").std() > 0.0


def test_other_data_can_be_reconstructed_and_scored(run, metrics, place, tmp_path):
    np.save(place / "others.npy", np.random.default_rng(9).random((50, 8, 8, 1)).astype("float32"))
    other = place / "others.npy"
    succeed("reconstruct", run, "--data", other, "--output", tmp_path / "r.npz", "--n", 5)
    with np.load(tmp_path / "r.npz") as file:
        np.testing.assert_array_equal(file["x"], np.load(other)[:5])
    kept = read_json(run / "metrics.json")
    output = succeed("evaluate", run, "--data", other, "--num-samples", 5)
    assert ["num_examples", "50"] in [line.split() for line in output.splitlines()]
    assert read_json(run / "metrics.json") == kept


@pytest.mark.parametrize(
    ("arrays", "count"),
    [
        ({"train": 20, "validation": 6, "test": 4}, 4),
        ({"train": 20, "validation": 6}, 6),
        ({"train": 20}, 20),
        ({"test": 1}, 1),
        ({"images": 7}, 7),
    ],
)
def test_another_set_is_scored_on_its_test_split_or_whole(arrays, count, run, tmp_path):
    x = np.random.default_rng(9).random((20, 8, 8, 1)).astype("float32")
    np.savez(tmp_path / "other.npz", **{name: x[:size] for name, size in arrays.items()})
    _, config, vae = runs.read(run)
    loaded = runs.test_set(config, vae, str(tmp_path / "other.npz"))
    assert loaded.counts["test"] == count
    np.testing.assert_array_equal(np.concatenate(list(loaded.test.as_numpy_iterator())), x[:count])


def test_the_set_of_a_run_is_never_scored_on_what_was_trained_on(vector_run, place, monkeypatch):
    monkeypatch.chdir(place)
    _, config, vae = runs.read(vector_run)
    assert runs.test_set(config, vae, "vectors.npy").counts["test"] == 4


def test_a_test_set_alone_cannot_be_trained_on(tmp_path):
    np.savez(tmp_path / "alone.npz", test=np.zeros((9, 3)))
    with pytest.raises(ValueError, match="alone holds 'test' and no training examples"):
        kv.data.load(tmp_path / "alone.npz")


@pytest.mark.filterwarnings("error:batch_size is")
def test_batches_of_training_are_no_matter_when_a_run_is_used(vector_run, place, tmp_path):
    succeed("reconstruct", vector_run, "--output", tmp_path / "r.npz", "--n", 2)
    np.save(tmp_path / "other.npy", np.load(place / "vectors.npy")[:9])
    succeed("evaluate", vector_run, "--data", tmp_path / "other.npy", "--num-samples", 2)


def test_a_resized_run_takes_arrays_as_they_are(run, place):
    _, config, vae = runs.read(run)
    resized = dataclasses.replace(config, data="photos", image_size=[8, 8])
    assert runs.test_set(resized, vae, str(place / "images.npz")).counts["test"] == 10


SCORE = ("--num-samples", 2, "--false-positive-rate", 0.2)


def test_a_folder_of_images_is_scored_by_file(run, tmp_path):
    levels = np.random.default_rng(2).integers(0, 256, (5, 8, 8), np.uint8)
    (tmp_path / "photos").mkdir()
    for place, each in enumerate(levels):
        PIL.Image.fromarray(each).save(tmp_path / "photos" / f"{place}.png")
    output = tmp_path / "photos.csv"
    succeed("score", run, "--data", tmp_path / "photos", "--output", output, *SCORE)
    rows = list(csv.DictReader(output.read_text().splitlines()))
    _, _, vae = runs.read(run)
    expected = vae.score(levels[..., None] / np.float32(255.0), num_samples=2)
    found = {row["file"]: float(row["score"]) for row in rows}
    assert list(map(int, (row["index"] for row in rows))) == [0, 1, 2, 3, 4]
    for place, score in enumerate(expected):
        assert found[str(tmp_path / "photos" / f"{place}.png")] == pytest.approx(score, rel=1e-4)


def test_what_was_trained_on_is_scored_with_a_warning(run, place, tmp_path):
    images = str(place / "images.npz")
    with pytest.warns(UserWarning, match="images.npz is what the run was trained on"):
        facts, limit = kv.anomalies.score(run, images, tmp_path / "s.csv", "elbo", 1, 0.2)
    assert (facts["num_examples"], limit.num_scores) == (60, 10)


def test_lines_join_pairs_of_test_examples(run, place, tmp_path):
    succeed("interpolate", run, "--output", tmp_path / "l.npz", "--n", 3, "--steps", 4)
    x = np.load(place / "images.npz")["test"]
    vae = kv.load(run / "model.keras")
    with np.load(tmp_path / "l.npz") as file:
        assert file["mean"].shape == (3, 4, 8, 8, 1)
        np.testing.assert_array_equal(file["a"], x[0:6:2])
        np.testing.assert_allclose(file["mean"][:, 0], vae.reconstruct(x[0:6:2]), atol=1e-5)
        np.testing.assert_allclose(file["mean"][:, -1], vae.reconstruct(x[1:6:2]), atol=1e-5)
    succeed("interpolate", run, "--output", tmp_path / "l.png", "--n", 3, "--steps", 4)
    assert matplotlib.image.imread(tmp_path / "l.png").std() > 0.0


@pytest.mark.filterwarnings("default:x holds grey")
@pytest.mark.slow
def test_grey_values_under_bernoulli_get_a_warning_and_a_label(place, tmp_path):
    base = ("train", "--data", place / "images.npz", "--binarize", "none", *TINY, "--epochs", 1)
    folder = tmp_path / "grey"
    status, _, err = command(*base, "--likelihood", "bernoulli", "--output", folder)
    assert status == 0
    assert err.startswith("keras-vae: warning: x holds grey values, and the likelihood 'bernoulli'")
    assert err.count("warning") == 1
    output = succeed("evaluate", folder, "--num-samples", 5)
    values = read_json(folder / "metrics.json")
    assert (values["normalised"], values["bits_per_dim"]) == (False, None)
    assert "These values are not normalised" in output


@pytest.mark.slow
@pytest.mark.filterwarnings("default:.*holds no grey levels")
def test_dequantised_levels_have_bits_per_dimension(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (60, 5)).astype(np.uint8)
    np.save(tmp_path / "levels.npy", levels)
    base = ("train", "--data", tmp_path / "levels.npy", "--dequantize", *TINY, "--epochs", 1)
    succeed(*base, "--output", tmp_path / "run")
    assert read_json(tmp_path / "run" / "config.json")["dequantize"] is True
    succeed("evaluate", tmp_path / "run", "--num-samples", 50)
    values = read_json(tmp_path / "run" / "metrics.json")
    assert values["normalised"] is True
    expected = (values["nll"] / 5 + math.log(256)) / math.log(2)
    assert values["bits_per_dim"] == pytest.approx(expected)
    assert values["bits_per_dim"] > 7.9  # uniform levels have 8 bits
    for name, x in {"floats": levels / 256.0, "others": levels}.items():
        np.save(tmp_path / f"{name}.npy", x[:30])
        arguments = ("--data", tmp_path / f"{name}.npy", "--num-samples", 5)
        status, out, err = command("evaluate", tmp_path / "run", *arguments)
        words = [line.split() for line in out.splitlines()]
        assert (status, ["num_examples", "30"] in words) == (0, True)
        assert (["bits_per_dim", "-"] in words) == (name == "floats")
        assert ("floats.npy holds no grey levels" in err) == (name == "floats")


@pytest.mark.slow
def test_warnings_are_a_line(monkeypatch, place, tmp_path):
    run_module = [sys.executable, "-m", "keras_vae", "train", "--data", str(place / "vectors.npy")]
    arguments = [*map(str, TINY), "--epochs", "1", "--output", str(tmp_path / "run")]
    done = subprocess.run([*run_module, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("keras-vae: warning: ")]
    assert len(lines) == 1
    assert "batch_size is 128" in lines[0]


# No room, no permission


def limited(path, *arguments):
    """Runs a command that may not write files of more than 2 kB."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "from keras_vae import cli;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000));"
        "sys.argv = ['keras-vae', *sys.argv[1:]]; cli.main()"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=path)


def test_without_room_the_previous_file_survives(run, metrics, tmp_path):
    kept = (run / "metrics.json").read_bytes()
    target = tmp_path / "samples.npz"
    done = limited(tmp_path, "sample", run, "--output", target, "--n", 500)
    assert done.returncode == 2
    message = [line for line in done.stderr.splitlines() if line.startswith("keras-vae")]
    assert len(message) == 1
    assert f"{target} could not be written" in message[0]
    assert list(tmp_path.iterdir()) == []

    def fail(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="metrics.json could not be written: No space left"):
        _files.write(run / "metrics.json", fail)
    assert (run / "metrics.json").read_bytes() == kept
    assert not list(run.glob(".*"))


def test_without_room_a_training_leaves_no_half_of_a_model(place, tmp_path):
    base = ("train", "--data", place / "vectors.npy", *TINY, "--epochs", 1)
    done = limited(tmp_path, *base, "--output", tmp_path / "run")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    message = [line for line in done.stderr.splitlines() if "could not be written" in line]
    assert len(message) == 1
    # A background thread writes the events, so the checkpoint may be the first to find no room.
    first = tuple(
        f"keras-vae: {tmp_path / 'run' / name}"
        for name in ("tensorboard could not be", "checkpoint")
    )
    assert message[0].startswith(first)
    assert not {path.name for path in tmp_path.rglob("*")} & {"model.keras", "saved_model"}
    assert not [path for path in tmp_path.rglob("*") if "part" in path.name]


@pytest.mark.slow
@pytest.mark.usefixtures("foreign", "damaged")
def test_a_dozen_mistakes_typed_as_commands(place, run, vector_run):
    folders = {"place": place, "run": run, "vectors": vector_run, "new": place / "new"}
    chosen = [*list(OTHER_MISTAKES)[::4], "sample garbage", "info damaged model"]
    assert len(chosen) >= 12
    before = tree(place)
    for mistake in chosen:
        line, words = OTHER_MISTAKES[mistake]
        arguments = [part.format(**folders) for part in shlex.split(line)]
        process = [sys.executable, "-m", "keras_vae", *arguments]
        done = subprocess.run(process, capture_output=True, text=True, check=False)
        ours = [line for line in done.stderr.splitlines() if line.startswith("keras-vae")]
        shown = " ".join((" ".join(ours) or done.stderr).split())
        assert done.returncode == 2, mistake
        assert words in shown, mistake
        assert "Traceback" not in done.stderr, mistake
    assert tree(place) == before


def test_where_a_file_stands_no_folder_is_made(place, tmp_path):
    (tmp_path / "file").write_text("mine")
    base = ("train", "--data", place / "vectors.npy", *TINY, "--epochs", 1)
    status, _, err = command(*base, "--output", tmp_path / "file" / "run")
    assert (status, "file" in err) == (2, True)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "line",
    [
        "train --output {place}/taken.npz/run",
        "sample {run} --output {place}/taken.npz/s.npz",
        "reconstruct {run} --output {place}/taken.npz/r.npz",
        "interpolate {run} --output /proc/l.npz",
        "score {run} --data {place}/images.npz --output {place}/taken.npz/s.csv",
        "export {run} --output {place}/taken.npz/model",
    ],
)
def test_what_cannot_be_written_is_found_before_any_work(line, place, run, monkeypatch):
    def work(*_):
        raise AssertionError("too early")

    monkeypatch.setattr(configs, "load_data", work)
    monkeypatch.setattr(runs, "load", work)
    monkeypatch.setattr(tf.saved_model, "load", work)
    refused(place, "cannot be written", *shlex.split(line.format(place=place, run=run)))


def test_figures_that_cannot_be_kept_are_not_computed(run, monkeypatch):
    def full(**_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(_files.tempfile, "TemporaryFile", full)
    monkeypatch.setattr(runs.evaluation, "evaluate", lambda *_: pytest.fail("too early"))
    with pytest.raises(OSError, match="metrics.json cannot be written .Read-only file system"):
        runs.evaluate(run, 5)


def test_an_interrupted_training_leaves_nothing_behind(place, tmp_path, monkeypatch):
    def interrupted(vae, config, data, folder, console):
        (folder / "history.csv").write_text("epoch")
        (folder / "tensorboard" / "train").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "_fit", interrupted)
    base = ("train", "--data", place / "vectors.npy", *TINY)
    status, _, err = command(*base, "--output", tmp_path / "deep" / "run")
    assert (status, "Traceback" in err) == (130, False)
    assert not list(tmp_path.iterdir())


# export, info, datasets


def test_an_export_has_every_signature(run, tmp_path):
    succeed("export", run, "--output", tmp_path / "deep" / "model")
    model = tf.saved_model.load(str(tmp_path / "deep" / "model"))
    assert set(model.signatures) >= {
        "encode",
        "decode",
        "reconstruct",
        "sample",
        "elbo",
        "log_likelihood",
    }
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["model"]


def test_info_shows_config_parts_and_figures(run, metrics):
    output = succeed("info", run)
    words = [line.split() for line in output.splitlines()]
    assert ["network", "dense:widths=[8]"] in words
    assert ["parameters", str(kv.load(run / "model.keras").count_params())] in words
    for part in ("Normal(variance='shared'", "DiagonalNormal()", "ELBO(beta=Constant(value=1.0)"):
        assert part in output
    assert ["nll", f"{metrics[0]['nll']:.3f}"] in words
    for path in runs.figures(run):
        assert str(path) in output.splitlines()


def test_paths_are_printed_letter_by_letter(run, tmp_path):
    folder = tmp_path / "a run [bold] of [beta=4]"
    folder.mkdir()
    for name in ("config.json", "model.keras", "figures"):
        copy = shutil.copytree if name == "figures" else shutil.copy
        copy(run / name, folder / name)
    lines = succeed("info", folder).splitlines()
    for path in runs.figures(folder):
        assert str(path) in lines


def test_datasets_lists_the_sets_and_every_strategy():
    output = succeed("datasets")
    (row,) = [line for line in output.splitlines() if "digits" in line]
    for cell in ("(8, 8, 1)", "1350", "150", "297", "dynamic"):
        assert cell in row
    assert "shapes" in output
    for words in ("prepared in", "tfds build NAME", "--download"):
        assert words in output
    families = ("network", "likelihood", "posterior", "prior", "objective", "schedule")
    for family in families:
        assert set(_registry.names(family)) <= {word.strip(",") for word in output.split()}


def test_the_version_is_printed_by_the_module_too(monkeypatch, capsys):
    assert succeed("--version").strip() == kv.__version__
    monkeypatch.setattr(sys, "argv", ["keras_vae", "--version"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("keras_vae", run_name="__main__")
    assert not caught.value.code
    assert capsys.readouterr().out.strip() == kv.__version__


@pytest.mark.parametrize(
    "name",
    [
        *("train", "evaluate", "sample", "reconstruct", "interpolate", "score", "export"),
        *("info", "datasets"),
    ],
)
def test_every_command_explains_itself(name):
    shown = succeed(name, "--help")
    assert f"keras-vae {name} [OPTIONS]" in shown
    assert name in succeed("--help")
    assert max(map(len, shown.splitlines())) <= 80
    parser = typer.main.get_command(cli.app).commands[name]
    lines = [line for line in shown.splitlines() if f"  keras-vae {name}" in line]
    assert lines
    for line in lines:
        parser.make_context(name, shlex.split(line)[2:])


def test_help_says_the_defaults():
    shown = " ".join(succeed("train", "--help").split())
    for field in ("epochs", "batch_size", "latent_dim", "learning_rate", "seed", "posterior"):
        option = rf" --{field.replace('_', '-')} <\w+> .*?\[default: (.*?)\]"
        assert re.search(option, shown)[1] == str(getattr(runs.Config, field))
    assert "5,000, or of annealed chains 16" in " ".join(succeed("evaluate", "--help").split())


# Mistakes

BAD_TRAINING = {
    "no epochs": (["--epochs", "0"], "epochs is 0; expected a whole number of at least 1"),
    "no latents": (["--latent-dim", "0"], "latent_dim is 0"),
    "no batch": (["--batch-size", "0"], "batch_size is 0"),
    "no learning": (["--learning-rate", "0"], "learning_rate is 0.0; expected a finite number"),
    "negative seed": (["--seed", "-1"], "seed is -1"),
    "large seed": (["--seed", str(2**40)], str(2**40)),
    "strategy": (["--strategy", "mirored"], "Did you mean 'mirrored'?"),
    "binarize": (["--binarize", "dynamc"], "Did you mean 'dynamic'?"),
    "binarize real": (["--binarize", "static"], "lie outside 0..1"),
    "likelihood": (["--likelihood", "norml"], "Did you mean 'normal'?"),
    "option": (["--likelihood", "normal:varianc=shared"], "Did you mean 'variance'?"),
    "option value": (["--likelihood", "normal:variance=share"], "Did you mean 'shared'?"),
    "option syntax": (["--likelihood", "normal:shared"], "expected key=value"),
    "posterior": (["--posterior", "diagonal"], "Did you mean 'diagonal_normal'?"),
    "prior": (["--prior", "normal"], "Unknown prior 'normal'; expected one of conditional_normal"),
    "objective": (["--objective", "elbow"], "Did you mean 'elbo'?"),
    "mismatch": (["--posterior", "point"], "needs a posterior that offers density"),
    "network": (["--network", "dens"], "Did you mean 'dense'?"),
    "network shape": (["--network", "conv"], "received the event shape (6,)"),
    "network width": (["--network", "dense:widths=[0]"], "widths[0] is 0"),
    "network width in words": (["--network", "dense:widths=wide"], "widths is 'wide'"),
    "network no filters": (
        ["--network", "conv:filters=[]", "--data", "{place}/images.npz"],
        "filters",
    ),
    "network syntax": (["--network", "dense(widths=[8]"], "expected name or name:key=value"),
    "beta": (["--beta", "-1"], "beta is -1; expected a number of at least 0"),
    "beta word": (["--beta", "linaer"], "Did you mean 'linear'?"),
    "beta option": (["--beta", "linear(step=3)"], "Did you mean 'steps'?"),
    "beta twice": (
        ["--beta", "3", "--objective", "elbo:beta=2"],
        "with an objective that has one and does not say it, such as 'elbo'",
    ),
    "beta elsewhere": (["--beta", "3", "--objective", "reconstruction"], "beta is 3"),
    "beta and more": (["--beta", "4,samples=3"], "expected name or name:key=value"),
    "beta of a number": (["--beta", "3", "--config", "{place}/number.json"], "objective"),
    "data": (["--data", "digit"], "Did you mean 'digits'?"),
    "data empty": (["--data", ""], "There is no data set ''"),
    "data file": (["--data", "{place}/nothing.npz"], "There is no file"),
    "data cut": (["--data", "{place}/cut.npz"], "could not be read"),
    "data nan": (["--data", "{place}/nan.npy"], "1 NaN or infinite value(s)"),
    "data too few": (["--data", "{place}/tiny.npy"], "expected at least 3"),
    "data grey": (
        ["--data", "{place}/grey.npy", "--likelihood", "bernoulli"],
        "The values of grey lie outside the support of the likelihood 'bernoulli'",
    ),
    "config": (["--config", "{place}/nothing.json"], "could not be read as JSON"),
    "config broken": (["--config", "{place}/broken.json"], "could not be read as JSON"),
    "config list": (["--config", "{place}/list.json"], "holds list; expected a JSON object"),
    "config key": (["--config", "{place}/unknown.json"], "Did you mean 'epochs'?"),
    "config nested": (["--config", "{place}/nested.json"], "could not be read as JSON"),
    "config flag": (
        ["--config", "{place}/flag.json"],
        "flag.json, dequantize is 'no' (str); expected true or false",
    ),
    "config class": (["--config", "{place}/class.json"], "names no class that Keras knows"),
    "config folder": (["--config", "{place}"], "could not be read as JSON"),
    "no number": (["--epochs", "many"], "--epochs"),
    "no such option": (["--epoch", "3"], "--epoch"),
}
OTHER_MISTAKES = {
    "types": ("train --config {place}/types.json --output {new}", "epochs is '3' (str)"),
    "null": ("train --config {place}/null.json --output {new}", "latent_dim is None"),
    "train below a file": ("train --output {place}/taken.npz/run", "cannot be written"),
    "train where nothing can be": ("train --output /proc/run", "/proc/run/config.json cannot be"),
    "sample below a file": (
        "sample {run} --output {place}/taken.npz/s.npz",
        "s.npz cannot be written (Not a directory)",
    ),
    "sample a crowd": ("sample {run} --output {new}.png --n 1025", "1025 images are too many"),
    "reconstruct a crowd": ("reconstruct {run} --output {new}.png --n 513", "1026 images"),
    "interpolate a crowd": (
        "interpolate {run} --output {new}.png --n 2 --steps 600",
        "1200 images are too many for a picture; expected at most 1024",
    ),
    "no output": ("train --epochs 1", "--output"),
    "no command": ("trian --output {new}", "trian"),
    "occupied folder": ("train --output {run}", "is not empty; expected a new folder"),
    "occupied file": ("train --output {place}/taken.npz", "expected a new folder"),
    "evaluate nothing": ("evaluate {place}/nothing", "holds no run; expected a folder with"),
    "evaluate a file": ("evaluate {run}/model.keras", "holds no run"),
    "evaluate foreign": ("evaluate {place}/foreign", "holds a Sequential; expected a keras_vae"),
    "evaluate no samples": ("evaluate {run} --num-samples 0", "num_samples is 0"),
    "info nothing": ("info {place}/nothing", "holds no run"),
    "info foreign": ("info {place}/foreign", "holds a Sequential"),
    "info damaged model": ("info '{place}/damaged model.keras'", "model.keras"),
    "info metrics of a list": ("info '{place}/metrics list'", "metrics.json holds list"),
    "info metrics of a number": ("info '{place}/metrics number'", "metrics.json holds int"),
    "info metrics cut": ("info '{place}/metrics cut'", "metrics.json could not be read as JSON"),
    "info damaged config": ("info '{place}/damaged config.json'", "could not be read as JSON"),
    "export nothing": ("export {place}/nothing --output {new}", "holds no run"),
    "export occupied": ("export {run} --output {run}/saved_model", "exists already"),
    "export foreign": ("export {place}/foreign --output {new}", "holds a Sequential"),
    "sample nothing": ("sample {place}/nothing --output {new}.npz", "neither a run nor a SavedM"),
    "sample nothing in depth": ("sample {place}/nothing --output {new}/s.npz", "neither a run"),
    "sample foreign": ("sample {place}/foreign --output {new}.npz", "neither a run nor a Saved"),
    "sample foreign export": (
        "sample {place}/foreign_export --output {new}.npz",
        "has no signature 'sample'",
    ),
    "sample garbage": ("sample {place}/garbage --output {new}.npz", "garbage"),
    "sample damaged": ("sample '{place}/damaged export' --output {new}.npz", "damaged export"),
    "sample none": ("sample {run} --output {new}.npz --n 0", "n is 0"),
    "sample too many": ("sample {run} --output {new}.npz --n 2147483648", "2147483648"),
    "sample large seed": (
        f"sample {{run}} --output {{new}}.npz --seed {2**64}",
        "expected a whole number or a pair",
    ),
    "sample suffix": (
        "sample {run} --output {new}.jpg",
        "expected a name ending in .png or .npz",
    ),
    "sample occupied": ("sample {run} --output {place}/taken.npz", "exists already"),
    "sample occupied picture": ("sample {run} --output {place}/taken.png", "exists already"),
    "sample vectors": (
        "sample {vectors} --output {new}.png",
        "no images; expected --output FILE",
    ),
    "reconstruct too many": ("reconstruct {run} --output {new}.png --n 11", "images has 10"),
    "reconstruct none": ("reconstruct {run} --output {new}.png --n 0", "n is 0"),
    "reconstruct nothing": ("reconstruct {place}/nothing --output {new}.png", "holds no run"),
    "reconstruct other shape": (
        "reconstruct {run} --data {place}/vectors.npy --output {new}.npz",
        "have shape (6,); the model was trained on (8, 8, 1)",
    ),
    "evaluate other shape": (
        "evaluate {run} --data {place}/vectors.npy",
        "have shape (6,); the model was trained on (8, 8, 1)",
    ),
    "score nothing": ("score {place}/nothing --data digits --output {new}.csv", "holds no run"),
    "score no file": (
        "score {run} --data {place}/none.npy --output {new}.csv --false-positive-rate 0.2",
        "There is no file",
    ),
    "score suffix": (
        "score {run} --data {place}/images.npz --output {new}.png",
        "expected a name ending in .csv",
    ),
    "score occupied": (
        "score {run} --data {place}/images.npz --output {place}/taken.csv",
        "taken.csv exists already",
    ),
    "score occupied beside": (
        "score {run} --data {place}/images.npz --output {place}/number.csv",
        "number.json exists already",
    ),
    "score other shape": (
        "score {run} --data {place}/vectors.npy --output {new}.csv --false-positive-rate 0.2",
        "have shape (6,); the model was trained on (8, 8, 1)",
    ),
    "score a rate too small": (
        "score {run} --data {place}/grey.npy --output {new}.csv --false-positive-rate 0.05",
        "false_positive_rate is 0.05, which 10 validation example(s) cannot promise; expected at "
        "least 1 / 11. Choose a larger rate, or take at least 19 validation examples.",
    ),
    "score by": (
        "score {run} --data {place}/grey.npy --output {new}.csv --by elbow "
        "--false-positive-rate 0.2",
        "Did you mean 'elbo'?",
    ),
    "score no samples": (
        "score {run} --data {place}/grey.npy --output {new}.csv --num-samples 0 "
        "--false-positive-rate 0.2",
        "num_samples is 0",
    ),
    "score without density": (
        "score {vectors} --data {place}/tiny.npy --output {new}.csv --false-positive-rate 0.5",
        "needs a posterior with a density",
    ),
    "interpolate one step": ("interpolate {run} --output {new}.npz --steps 1", "steps is 1"),
    "interpolate vectors": ("interpolate {vectors} --output {new}.png --n 1", "no images"),
    "sample vectors in depth": ("sample {vectors} --output {new}/s.png", "are no images"),
}


def refused(place, words, *arguments):
    """Runs a mistaken command: status 2, at most three lines, and no file touched."""
    before = tree(place)
    status, _, err = command(*arguments)
    assert status == 2
    assert words in " ".join(err.split())
    assert len([line for line in err.splitlines() if line.strip()]) <= 3
    assert "Traceback" not in err
    assert tree(place) == before


@pytest.mark.parametrize("mistake", BAD_TRAINING)
def test_a_mistaken_training_is_refused_and_leaves_nothing(mistake, place):
    options, words = BAD_TRAINING[mistake]
    options = [option.format(place=place) for option in options]
    base = ("--output", place / "deep" / "new", "--data", place / "vectors.npy", "--epochs", "1")
    refused(place, words, "train", *base, *TINY, *options)


@pytest.mark.usefixtures("foreign", "damaged")
@pytest.mark.parametrize("mistake", OTHER_MISTAKES)
def test_any_other_mistake_is_refused_and_changes_nothing(mistake, place, run, vector_run):
    line, words = OTHER_MISTAKES[mistake]
    folders = {"place": place, "run": run, "vectors": vector_run, "new": place / f"new {mistake}"}
    arguments = [part.format(**folders) for part in shlex.split(line)]
    refused(place, words, *arguments)


@pytest.fixture
def failing_objective():
    """The name of an objective that fails in the first step, forgotten again afterwards."""
    objects = keras.saving.get_custom_objects()
    before = dict(objects)

    @_registry.register("objective", "failing")
    class Failing(kv.objectives.Objective):
        terms = ("promised",)

        def _evaluate(self, latent_pass):
            return kv._types.LossOutput(-latent_pass.log_px[0], {})

    yield Failing.short_name
    _registry._FAMILIES["objective"].pop("failing")
    objects.clear()
    objects.update(before)


def test_a_training_that_fails_leaves_nothing_behind(failing_objective, place, tmp_path):
    config = runs.Config(
        str(place / "vectors.npy"), network="dense:widths=[8]", objective=failing_objective
    )
    there = tmp_path / "there"
    there.mkdir()
    for folder in (there, tmp_path / "not" / "there"):
        with pytest.raises(ValueError, match="'failing' returned the terms"):
            runs.train(config, folder)
    assert list(tmp_path.rglob("*")) == [there]


def test_a_training_that_fails_gives_the_terminal_back(failing_objective, place, tmp_path):
    config = runs.Config(
        str(place / "vectors.npy"), network="dense:widths=[8]", objective=failing_objective
    )
    file = io.StringIO()
    before = sys.stdout, sys.stderr
    try:
        with pytest.raises(ValueError, match="'failing' returned the terms"):
            runs.train(
                config, tmp_path / "run", rich.console.Console(file=file, force_terminal=True)
            )
        after = sys.stdout, sys.stderr
    finally:
        sys.stdout, sys.stderr = before
    assert after == before
    assert file.getvalue().count("\x1b[?25l") == file.getvalue().count("\x1b[?25h")


# Functions behind the commands


@pytest.mark.parametrize(
    ("objective", "beta", "expected"),
    [
        ("elbo", "4", kv.objectives.ELBO(4.0)),
        ("elbo", 0.5, kv.objectives.ELBO(0.5)),
        ("elbo:samples=3", "2", kv.objectives.ELBO(2.0, samples=3)),
        ("elbo(samples=3)", "cosine(steps=9)", kv.objectives.ELBO("cosine:steps=9", samples=3)),
        ("elbo:beta=7", None, kv.objectives.ELBO(7.0)),
    ],
)
def test_beta_is_put_into_the_objective(objective, beta, expected):
    made = _registry.get("objective", configs.objective_with_beta(objective, beta))
    assert (made.beta, made.samples) == (expected.beta, expected.samples)


BETA_7 = keras.saving.serialize_keras_object(kv.objectives.ELBO(7.0, samples=3))


@pytest.mark.parametrize(
    ("objective", "beta", "expected"),
    [
        ("elbo:beta=2,samples=3", "4", kv.objectives.ELBO(4.0, samples=3)),
        ("elbo", "linear:steps=9,start=0.5", kv.objectives.ELBO("linear(steps=9,start=0.5)")),
        (BETA_7, "4", kv.objectives.ELBO(4.0, samples=3)),
        (BETA_7, "linear(steps=9)", kv.objectives.ELBO("linear(steps=9)", samples=3)),
    ],
)
def test_beta_replaces_that_of_a_file(objective, beta, expected):
    config = runs.Config(objective=objective).override({"beta": beta})
    assert json.loads(json.dumps(dataclasses.asdict(config))) == dataclasses.asdict(config)
    made = _registry.get("objective", config.objective)
    assert (made.beta, made.samples) == (expected.beta, expected.samples)
    with pytest.raises(ValueError, match="or the value inside the objective"):
        runs.Config().override({"beta": beta, "objective": "elbo:beta=2"})


@pytest.mark.parametrize(
    ("file", "given", "expected"),
    [
        ((False, "dynamic"), {"dequantize": True}, (True, None)),
        ((False, "dynamic"), {"dequantize": True, "binarize": "static"}, (True, "static")),
        ((True, None), {"dequantize": False}, (False, None)),
        ((True, None), {"binarize": "static"}, (False, "static")),
        ((True, None), {"binarize": "none"}, (True, None)),
        ((False, "none"), {}, (False, None)),
        ((True, "auto"), {"epochs": 3}, (True, "auto")),
    ],
)
def test_of_binarize_and_dequantize_the_one_given_wins(file, given, expected):
    config = runs.Config(dequantize=file[0], binarize=file[1]).override(given)
    assert (config.dequantize, config.binarize) == expected


@pytest.mark.slow
def test_options_turn_off_and_replace_what_a_config_says(place, tmp_path):
    objective = keras.saving.serialize_keras_object(kv.objectives.ELBO(2.0))
    config = {"dequantize": True, "skip_corrupt": True, "objective": objective, "epochs": 1}
    (tmp_path / "c.json").write_text(json.dumps(config), "utf-8-sig")
    base = ("train", "--config", tmp_path / "c.json", "--data", place / "vectors.npy", *TINY)
    options = ("--no-dequantize", "--no-skip-corrupt", "--beta", "4")
    output = succeed(*base, *options, "--output", tmp_path / "run")
    assert "objective {'module'" in " ".join(output.split())
    written = read_json(tmp_path / "run" / "config.json")
    assert (written["dequantize"], written["skip_corrupt"]) == (False, False)
    assert written["objective"]["config"]["beta"] == 4
    assert float(runs.read(tmp_path / "run")[2].objective.beta.value) == 4.0


def test_no_beta_leaves_every_objective():
    assert configs.objective_with_beta("reconstruction", None) == "reconstruction"


def test_a_config_reads_what_it_wrote(tmp_path):
    config = runs.Config(data="x.npy", binarize=None, epochs=3, objective="elbo:beta=4")
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    assert runs.Config.read(tmp_path / "config.json") == config
    (tmp_path / "part.json").write_text('{"epochs": 3}')
    assert runs.Config.read(str(tmp_path / "part.json")) == runs.Config(epochs=3)


def test_training_seconds_are_unknown_without_a_history(tmp_path):
    assert runs.training_seconds(tmp_path) is None
    (tmp_path / "history.csv").write_text("epoch,loss\n0,1.5\n")
    assert runs.training_seconds(tmp_path) is None
    (tmp_path / "history.csv").write_text("epoch,loss,seconds\n0,1.5,2.5\n1,1.4,4.25\n")
    assert runs.training_seconds(tmp_path) == 4.25


@pytest.mark.parametrize("rest", [b"1,1.4,4.2", b"1,1", b"1,1.4,\n", b"1,1.4,x\n", b"\xff\x00\n"])
def test_a_history_cut_within_a_row_does_not_say_how_long_it_took(rest, tmp_path):
    (tmp_path / "history.csv").write_bytes(b"epoch,loss,seconds\n0,1.5,2.5\n" + rest)
    assert runs.training_seconds(tmp_path) is None
