"""Files of every format there was open, and answer as they did when they were made."""

import json
import runpy
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import keras_vae as kv
from keras_vae._version import FORMAT

GOLDEN = Path(__file__).parent / "golden"
FORMATS = sorted(path.name for path in GOLDEN.iterdir() if path.name.isdigit())
MAKE = runpy.run_path(str(GOLDEN / "make.py"))
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
FILES = [(one, path.stem) for one in FORMATS for path in sorted((GOLDEN / one).glob("*.keras"))]


def test_there_are_files_of_this_format():
    assert str(FORMAT) in FORMATS
    names = {name for one, name in FILES if one == str(FORMAT)}
    assert names == set(MAKE["MODELS"])


@pytest.mark.parametrize(("written", "name"), FILES)
def test_a_model_of_then_answers_as_then_and_trains_on(written, name):
    folder = GOLDEN / written
    vae = kv.load(folder / f"{name}.keras")
    x, condition = MAKE["examples"](name)
    found = MAKE["answers"](vae, x, condition)
    found["next_loss"] = vae.fit(x, condition, verbose=0, shuffle=False).history["loss"][0]
    with np.load(folder / f"{name}.npz") as expected:
        assert set(expected.files) == set(found)
        for key in expected.files:
            np.testing.assert_allclose(found[key], expected[key], err_msg=key, **CLOSE)


@pytest.mark.parametrize(
    ("written", "name"), [each for each in FILES if (GOLDEN / each[0] / f"{each[1]}.zip").is_file()]
)
def test_a_saved_model_of_then_answers_as_then(written, name, tmp_path):
    folder = GOLDEN / written
    shutil.unpack_archive(folder / f"{name}.zip", tmp_path)
    call = tf.saved_model.load(str(tmp_path / name)).signatures
    x, seed = tf.constant(MAKE["examples"](name)[0]), tf.constant(MAKE["SEED"])
    code = call["encode"](x=x)
    found = dict(code)
    found["decoded"] = call["decode"](z=code["mean"])["mean"]
    found["reconstructed"] = call["reconstruct"](x=x)["mean"]
    found["elbo"] = call["elbo"](x=x, seed=seed)["elbo"]
    scored = call["log_likelihood"](x=x, num_samples=tf.constant(20), seed=seed)
    found["log_likelihood"] = scored["log_likelihood"]
    drawn = call["sample"](n=tf.constant(8), seed=seed)
    found |= {f"sample_{key}": value for key, value in drawn.items()}
    with np.load(folder / f"{name}.npz") as expected:
        for key, value in found.items():
            np.testing.assert_allclose(value, expected[key], err_msg=key, **CLOSE)


def test_a_file_says_its_format_and_one_without_is_older_and_opens(tmp_path):
    path = GOLDEN / str(FORMAT) / "plain.keras"
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    assert config["config"].pop("format") == FORMAT
    assert config["config"].pop("written_by") == kv.__version__
    parts["config.json"] = json.dumps(config)
    with zipfile.ZipFile(tmp_path / "older.keras", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    x, _ = MAKE["examples"]("plain")
    older, newer = kv.load(tmp_path / "older.keras"), kv.load(path)
    np.testing.assert_array_equal(older.reconstruct(x), newer.reconstruct(x))


def test_a_config_of_a_newer_version_is_refused_where_keras_reads_it():
    config = {**kv.VAE((6,), 2, network="dense:widths=[4]").get_config(), "format": FORMAT + 1}
    with pytest.raises(ValueError, match=f"reads formats up to {FORMAT}. Upgrade"):
        kv.VAE.from_config(config)


def test_a_model_of_then_opens_under_a_strategy(two_replicas):
    x, _ = MAKE["examples"]("plain")
    path = GOLDEN / str(FORMAT) / "plain.keras"
    alone = kv.load(path)
    with two_replicas.scope():
        vae = kv.load(path)
    for one, other in zip(alone.weights, vae.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    vae.fit(x, batch_size=4, verbose=0)
