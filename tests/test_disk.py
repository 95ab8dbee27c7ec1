"""Disks that are full, folders that cannot be written, and data that is gone in mid-run."""

import contextlib
import dataclasses
import json
import os
import resource
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from test_runs_cli import command, tree

import keras_vae as kv
from keras_vae import configs, evaluation

pytestmark = pytest.mark.filterwarnings("ignore:batch_size is")
#: Commands that write, and what they would leave.
COMMANDS = {
    "sample": "sample {run} --n 400 --output {new}.npz",
    "sample picture": "sample {run} --n 4 --output {new}.png",
    "reconstruct": "reconstruct {run} --n 3 --output {new}.npz",
    "interpolate": "interpolate {run} --n 1 --steps 40 --output {new}.npz",
    "export": "export {run} --output {new}",
    "score": "score {run} --data {run}/../holes.npy --by elbo --false-positive-rate 0.2 "
    "--output {new}.csv",
    "impute": "impute {run} --data {run}/../holes.npy --num-samples 5 --output {new}.npz",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run of 8 x 8 images without its figures, and the data it was trained on."""
    place = tmp_path_factory.mktemp("disk")
    x = (np.random.default_rng(0).random((80, 8, 8, 1)) < 0.5).astype("float32")
    np.save(place / "x.npy", x)
    x[::3, 2, 2] = np.nan
    np.save(place / "holes.npy", x)
    vae = kv.VAE((8, 8, 1), 2, network="dense:widths=[8]", missing=True)
    run = place / "run"
    run.mkdir()
    vae.save(run / "model.keras")
    kv.export.saved_model(vae, run / "saved_model")
    config = configs.Config(
        data=str(place / "x.npy"), batch_size=20, latent_dim=2, missing=True, binarize=None
    )
    (run / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    return place


@pytest.fixture
def full_disk(place, tmp_path):
    """A file system of its own that holds the run, and no byte more."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        shutil.copytree(place / "run", disk / "run")
        with contextlib.suppress(OSError), (disk / "filling").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 512)
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@contextlib.contextmanager
def limited(most):
    """Makes writes beyond so many bytes of a file fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def refused(line, words):
    """Runs a command that must end in one sentence, with nothing new or changed."""
    status, _, err = command(*line.split())
    assert status == 2, err
    assert err.startswith("keras-vae: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert words in err


@pytest.mark.parametrize("name", COMMANDS)
def test_on_a_full_disk_a_command_leaves_nothing(name, place, full_disk):
    before = tree(full_disk)
    refused(COMMANDS[name].format(run=place / "run", new=full_disk / "new"), "new")
    assert tree(full_disk) == before


def test_evaluate_on_a_full_disk_keeps_the_run_as_it_was(full_disk):
    before = tree(full_disk)
    refused(f"evaluate {full_disk / 'run'} --num-samples 5", "metrics.json could not be written")
    assert tree(full_disk) == before


def test_a_training_on_a_full_disk_leaves_nothing(place, full_disk):
    before = tree(full_disk)
    line = f"train --data {place / 'x.npy'} --missing --epochs 1 --output {full_disk / 'new'}"
    status, _, err = command(*line.split(), "--network", "dense:widths=[4]", "--latent-dim", "2")
    assert status == 2
    assert "Traceback" not in err
    assert tree(full_disk) == before


def test_a_file_that_may_not_grow_is_not_left_in_part(place):
    before = tree(place)
    with limited(5000):
        refused(COMMANDS["sample"].format(run=place / "run", new=place / "new"), "new")
    assert tree(place) == before


@pytest.mark.parametrize("name", COMMANDS)
def test_where_nothing_can_be_written_a_command_says_so_first(name, place, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    folder = locked if os.geteuid() else Path("/proc")  # permissions do not bind root
    new = folder / "new"
    refused(COMMANDS[name].format(run=place / "run", new=new), f"{new}")
    locked.chmod(0o700)


def test_on_a_full_disk_a_model_is_saved_whole_or_not_at_all(full_disk):
    path = full_disk / "run" / "model.keras"
    kept, before = path.read_bytes(), tree(full_disk)
    vae = kv.load(path)
    with pytest.raises(OSError, match=r"model\.keras could not be written: No space left"):
        vae.save(path)
    with pytest.raises(OSError, match="other"):
        vae.save(full_disk / "other.keras")
    with pytest.raises(OSError, match="weights"):
        vae.save_weights(full_disk / "vae.weights.h5")
    with pytest.raises((OSError, tf.errors.OpError)):
        kv.export.saved_model(vae, full_disk / "exported")
    assert tree(full_disk) == before
    assert path.read_bytes() == kept


def test_a_model_saves_over_another_and_beside_nothing(place, tmp_path):
    vae = kv.load(place / "run" / "model.keras")
    (tmp_path / "vae.keras").write_text("what was there")
    with limited(2000), pytest.raises(OSError, match=r"vae\.keras could not be written"):
        vae.save(tmp_path / "vae.keras")
    assert (tmp_path / "vae.keras").read_text() == "what was there"
    vae.save(str(tmp_path / "vae.keras"))
    assert [path.name for path in tmp_path.iterdir()] == ["vae.keras"]
    kv.load(tmp_path / "vae.keras")
    with pytest.raises(OSError, match="nowhere"):
        vae.save(tmp_path / "nowhere" / "vae.keras")


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(40):
        pixels = (rng.random((8, 8)) < 0.5).astype(np.uint8) * 255
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_a_folder_that_vanishes_in_training_is_named(images):
    data = kv.data.load(images, 8)
    vae = kv.VAE((8, 8, 1), 2, network="dense:widths=[4]")
    vae.compile("adam")
    vae.fit(data.train, verbose=0)
    shutil.rmtree(images)
    with pytest.raises(ValueError, match=r"png could no longer be read .*Put it back") as caught:
        vae.fit(data.train, verbose=0)
    assert "Traceback" not in str(caught.value)


def test_a_folder_that_vanishes_under_a_command_is_named(place, images, monkeypatch):
    whole = evaluation.evaluate

    def vanish(*arguments):
        shutil.rmtree(images)
        return whole(*arguments)

    monkeypatch.setattr(evaluation, "evaluate", vanish)
    line = f"evaluate {place / 'run'} --num-samples 5 --data {images}"
    refused(line, "could no longer be read")


def test_a_table_that_vanishes_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_vae.data.base.IN_MEMORY", 10)
    path = tmp_path / "table.csv"
    np.savetxt(path, np.eye(30), delimiter=",", header=",".join(map(str, range(30))), comments="")
    data = kv.data.load(path, 4)
    vae = kv.VAE((30,), 2, network="dense:widths=[4]")
    vae.compile("adam")
    path.unlink()
    with pytest.raises(ValueError, match=r"table\.csv could no longer be read"):
        vae.fit(data.train, verbose=0)


def test_data_that_is_gone_before_a_command_is_named(place, tmp_path):
    run = shutil.copytree(place / "run", tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "data": str(tmp_path / "gone.npy")}))
    refused(f"evaluate {run} --num-samples 5", "gone.npy")
    (run / "model.keras").unlink()
    refused(f"evaluate {run} --num-samples 5", "holds no run")
