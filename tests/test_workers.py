"""Processes that train together: the same as one, and an end in words when one is lost."""

import json
import time

import distributed_job
import numpy as np
import pytest
import tensorflow as tf
import workers

import keras_vae as kv

JOB = str(workers.ROOT / "tests" / "distributed_job.py")
#: Seconds after which a job counts as hanging. It takes a tenth of that on an idle machine.
PATIENCE = 400
EPOCHS = 12
TRAIN = ["-m", "keras_vae", "train", "--data", "digits", "--network", "dense:widths=[8]"]
#: One case for each member of the table, with the numbers of examples and optimisers in turn.
MEMBERS = list(dict.fromkeys(case.partition("/")[0] for case in distributed_job.CASES))
EVERY = [
    f"{cases[place % len(cases)]}@{('sgd', 'adam')[place % 2]}"
    for place, cases in enumerate(
        [case for case in distributed_job.CASES if case.partition("/")[0] == member]
        for member in MEMBERS
    )
]


def assert_equals_one_device(report, cases, sgd=1e-6):
    """Holds what a job reported against the same trainings on one device."""
    found = {key.replace("%", "/"): value for key, value in np.load(report).items()}
    for case in cases:
        name, _, optimizer = case.partition("@")
        expected = distributed_job.run(tf.distribute.get_strategy(), name, optimizer or "sgd")
        prefix, tolerance = f"{case}|", 1e-5 if optimizer == "adam" else sgd
        received = {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}
        assert received.keys() == expected.keys()
        for key, value in expected.items():
            scale = max(1.0, float(np.abs(value[np.isfinite(value)]).max(initial=0.0)))
            np.testing.assert_allclose(
                received[key], value, rtol=0, atol=tolerance * scale, err_msg=f"{case} {key}"
            )


def test_two_workers_equal_one_device(tmp_path):
    cases = [
        "objective-elbo/30",
        "likelihood-normal-optimal/259@adam",
        "posterior-point/257",
    ]
    workers.run([JOB, str(tmp_path / "report.npz"), *cases, "callbacks"], 2, PATIENCE)
    assert_equals_one_device(tmp_path / "report.npz", cases)
    found = {path.name for path in (tmp_path / "worker-0").iterdir()}
    assert {"log.csv", "best.keras", "checkpoint", "tensorboard"} <= found
    assert {path.name for path in (tmp_path / "worker-1").iterdir()} == {"log.csv", "best.keras"}
    logs = [(tmp_path / f"worker-{i}" / "log.csv").read_text() for i in (0, 1)]
    assert logs[0] == logs[1]
    loaded = kv.load(tmp_path / "worker-0" / "best.keras")
    assert loaded.sample(3, seed=0).x.shape == (3, 6)
    exported = tf.saved_model.load(str(tmp_path / "worker-0" / "exported"))
    assert "sample" in exported.signatures


@pytest.mark.slow
def test_a_group_may_be_of_one_worker(tmp_path):
    (port,) = workers.free_ports(1)
    only = json.dumps({"cluster": {"worker": [f"127.0.0.1:{port}"]}, "task": {"index": 0}})
    for strategy in ("multi_worker", "one"):
        command = [*TRAIN, "--epochs", "1", "--strategy", strategy]
        workers.run([*command, "--output", str(tmp_path / strategy)], 1, PATIENCE, TF_CONFIG=only)
    group, alone = (kv.load(tmp_path / name / "model.keras") for name in ("multi_worker", "one"))
    for one, other in zip(alone.weights, group.weights):
        np.testing.assert_allclose(other.numpy(), one.numpy(), atol=1e-6, err_msg=one.path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "replicas"),
    [(1, 4), (2, 1), (4, 1)],
    ids=["4-replicas", "2-workers", "4-workers"],
)
def test_every_member_equals_one_device(processes, replicas, tmp_path):
    cases = EVERY[:: {(1, 4): 1, (2, 1): 3, (4, 1): 9}[processes, replicas]]
    report = tmp_path / "report.npz"
    workers.run([JOB, str(report), *cases], processes, 3 * PATIENCE, REPLICAS=str(replicas))
    assert np.load(report)["replicas"] == processes * replicas
    assert_equals_one_device(report, cases, sgd=1e-5)  # sums of many terms in another order


@pytest.mark.slow
def test_a_killed_worker_ends_the_group_and_the_group_goes_on(tmp_path):
    def command(name, *more):
        return [*TRAIN, "--epochs", str(EPOCHS), "--output", str(tmp_path / name), *more]

    workers.run(command("whole"), 2, PATIENCE)

    processes = workers.start(command("cut"), 2)
    deadline = time.monotonic() + PATIENCE
    while not list((tmp_path / "cut").glob("checkpoint/epoch-*.npz")):
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)
    processes[1].kill()
    (status, said), (killed, _) = workers.finish(processes, 60)
    assert (status, killed) == (75, -9)
    sentences = [line for line in said.splitlines() if line.startswith("keras-vae: ")]
    assert "Another worker was lost" in sentences[-1]
    assert "--resume" in sentences[-2]
    assert "Traceback" not in said
    assert not (tmp_path / "cut" / "model.keras").exists()

    workers.run(command("cut", "--resume"), 2, PATIENCE)
    whole, cut = (kv.load(tmp_path / name / "model.keras") for name in ("whole", "cut"))
    for one, other in zip(whole.weights, cut.weights):
        np.testing.assert_allclose(other.numpy(), one.numpy(), atol=1e-6, err_msg=one.path)
    histories = [(tmp_path / name / "history.csv").read_text() for name in ("whole", "cut")]
    columns = [np.genfromtxt(text.splitlines(), delimiter=",", names=True) for text in histories]
    np.testing.assert_array_equal(columns[1]["epoch"], np.arange(EPOCHS))
    np.testing.assert_allclose(columns[1]["val_elbo"], columns[0]["val_elbo"], atol=1e-4)
    assert not (tmp_path / "cut" / "checkpoint").exists()


@pytest.mark.slow
def test_launch_starts_a_group_and_tells_of_a_mistake_once(tmp_path):
    output = str(tmp_path / "run")
    launch = ["-m", "keras_vae", "launch", "--workers", "2", "--"]
    train = [*TRAIN[2:], "--epochs", "2", "--output", output]
    workers.run([*launch, *train], 1, PATIENCE)
    assert (tmp_path / "run" / "model.keras").is_file()
    ((status, said),) = workers.finish(workers.start([*launch, *train], 1), PATIENCE)
    assert status == 2
    assert said.count("is not empty") == 1
