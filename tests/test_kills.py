"""Processes that are killed at random, and commands that signals end, go on as if undisturbed."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import workers
from resume_job import EPOCHS, STEPS

from keras_vae import _checkpoints

JOB = str(workers.ROOT / "tests" / "resume_job.py")
PATIENCE = 240


def end_of(folder, end, processes, **environ):
    workers.run([JOB, str(folder), str(end)], processes, PATIENCE, **environ)
    return dict(np.load(end))


def kill_after(steps, delay, folder, end, processes, **environ):
    """Starts the job and kills it, -9, so many steps and seconds later; waits for its end."""
    started = workers.start([JOB, str(folder), str(end)], processes, **environ)
    try:
        for _ in range(steps):
            line = started[0].stdout.readline()
            while line and line != "step\n":
                line = started[0].stdout.readline()
        time.sleep(delay)
    finally:
        for process in started:
            process.kill()
            process.wait()
            process.stdout.close()


def damage(folder, kind, rng):
    """Damages the newest checkpoint."""
    path = list(_checkpoints.written(folder).values())[-1]
    whole = bytearray(path.read_bytes())
    if kind == "cut short":
        del whole[rng.integers(len(whole)) :]
    else:
        whole[rng.integers(len(whole) // 2)] ^= 1 << int(rng.integers(8))
    path.write_bytes(whole)


def assert_kills_change_nothing(tmp_path, kills, seed, kind=None, processes=1, **environ):
    expected = end_of(tmp_path / "whole", tmp_path / "whole.npz", processes, **environ)
    rng = np.random.default_rng(seed)
    folder, end = tmp_path / "cut", tmp_path / "cut.npz"
    most = max(2, EPOCHS * STEPS // (kills + 1))
    for _ in range(kills):
        steps, delay = int(rng.integers(1, most)), float(rng.random() * 0.05)
        kill_after(steps, delay, folder, end, processes, **environ)
        if kind is not None and len(_checkpoints.written(folder)) > 1:
            damage(folder, kind, rng)
    assert not end.exists()
    received = end_of(folder, end, processes, **environ)
    assert received.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(received[name], array, err_msg=name)


def test_three_kills_change_nothing(tmp_path):
    assert_kills_change_nothing(tmp_path, 3, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_twenty_kills_change_nothing(seed, tmp_path):
    assert_kills_change_nothing(tmp_path, 4, seed=seed + 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cut short", "bit-flipped"])
def test_a_damaged_checkpoint_changes_nothing(kind, tmp_path):
    assert_kills_change_nothing(tmp_path, 3, seed=3, kind=kind)


@pytest.mark.slow
@pytest.mark.parametrize("data", ["ours", "arrays"])
@pytest.mark.parametrize(("processes", "replicas"), [(1, 2), (2, 1)], ids=["mirrored", "2-workers"])
def test_kills_of_several_replicas_change_nothing(processes, replicas, data, tmp_path):
    where = {"REPLICAS": str(replicas), "DATA": data}
    assert_kills_change_nothing(tmp_path, 2, 5, None, processes, **where)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_command_with_a_checkpoint(number, status, tmp_path):
    command = [sys.executable, "-m", "keras_vae", "train", "--data", "digits", "--epochs", "400"]
    command += [
        "--network",
        "dense:widths=[8]",
        "--latent-dim",
        "2",
        "--output",
        str(tmp_path / "r"),
    ]
    environ = {**os.environ, "PYTHONPATH": str(workers.ROOT)}
    process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    deadline = time.monotonic() + PATIENCE
    while not list((tmp_path / "r").glob("checkpoint/epoch-*.npz")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status, said
    assert b"go on with: keras-vae train --resume" in said and b"Traceback" not in said
    found = _checkpoints.last_checkpoint(tmp_path / "r" / "checkpoint")
    assert found.position > (0, 0)
