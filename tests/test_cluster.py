"""Who trains together: TF_CONFIG, Slurm, and the wait for workers."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from keras_vae import _cluster, distribute, launching

pytestmark = pytest.mark.quick


def config(jobs, **task):
    return json.dumps({"cluster": jobs, "task": task})


def slurm(nodes, counts, rank, **more):
    names = {"STEP_NODELIST": nodes, "STEP_TASKS_PER_NODE": counts, "PROCID": str(rank)}
    return {f"SLURM_{name}": value for name, value in {**names, **more}.items()}


def test_tf_config_names_workers():
    workers = ["a:1", "b:2"]
    found = _cluster.cluster({"TF_CONFIG": config({"worker": workers}, type="worker", index=1)})
    assert found == ({"worker": workers}, "worker", 1)
    assert found.num_workers == 2
    found = _cluster.from_tf_config(config({"chief": ["a:1"], "worker": ["b:2"]}, type="chief"))
    assert (found.job, found.task, found.num_workers) == ("chief", 0, 2)
    assert _cluster.from_tf_config("{}") is None
    assert _cluster.cluster({"TF_CONFIG": ""}) is None
    assert _cluster.cluster({}) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "could not be read"),
        ("[]", "could not be read"),
        (config({"worker": ["a"]}, index=0), "'a' is not host:port"),
        (config({"worker": [1]}, index=0), "1 is not host:port"),
        (config({"worker": 3}, index=0), "could not be read"),
        (config({"worker": ["a:1"]}, index="x"), "could not be read"),
        (config({"worker": ["a:1"]}, index=1), "task 1 of the job 'worker', which has 1"),
        (config({"worker": ["a:1"]}, index=-1), "task -1"),
        (config({"worker": ["a:1"]}, type="chief", index=0), "which has 0"),
        (config({"worker": ["a:1"], "ps": ["b:1"]}, index=0), "Parameter servers"),
        (config({"worker": ["a:1"]}, type="evaluator"), "'evaluator'"),
        (config({"worker": ["a:1", "a:1"]}, index=1), "one address to several tasks"),
    ],
)
def test_a_tf_config_that_cannot_be_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        _cluster.from_tf_config(text)


def test_slurm_names_tasks_in_the_order_of_ranks():
    found = _cluster.cluster(slurm("node[9-10],gpu03", "2,1(x2)", 3, JOB_ID="8017"))
    assert found.jobs == {"worker": ["node9:12017", "node9:12018", "node10:12017", "gpu03:12017"]}
    assert (found.job, found.task) == ("worker", 3)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        ("n[01-03]", ["n01", "n02", "n03"]),
        ("n[1,3-4]x,m", ["n1x", "n3x", "n4x", "m"]),
        ("rack1-n[098-101]", ["rack1-n098", "rack1-n099", "rack1-n100", "rack1-n101"]),
    ],
)
def test_lists_of_hosts(text, hosts):
    assert list(_cluster._hosts(text)) == hosts


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        (slurm("a,b", "1", 0), "could not be read"),
        (slurm("a", "x", 0), "could not be read"),
        (slurm("a", "1", 1), "could not be read"),
        ({"SLURM_STEP_NODELIST": "a"}, "Start it with srun"),
        (slurm("a", "2", 0, DISTRIBUTION="cyclic"), "'cyclic'.*block"),
    ],
)
def test_a_slurm_step_that_cannot_be_is_refused(environ, said):
    with pytest.raises(ValueError, match=said):
        _cluster.cluster(environ)


def test_workers_wait_for_one_another_and_leave_their_ports_free():
    ports = launching.free_ports(3)
    jobs = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    gathered, everyone = [], threading.Event()

    def work(task):
        _cluster.gather(_cluster.Cluster(jobs, "worker", task), 20.0)
        with socket.create_server(("", ports[task])):  # as TensorFlow's server does then
            gathered.append(task)
            everyone.wait(20.0)

    threads = [threading.Thread(target=work, args=(task,)) for task in range(3)]
    for thread in threads[:2]:
        thread.start()
    time.sleep(0.5)
    assert not gathered
    threads[2].start()
    deadline = time.monotonic() + 20.0
    while len(gathered) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    everyone.set()
    assert sorted(gathered) == [0, 1, 2]


def test_a_worker_that_never_comes_is_named():
    own, absent = launching.free_ports(2)
    jobs = {"chief": [f"127.0.0.1:{own}"], "worker": [f"127.0.0.1:{absent}"]}
    with pytest.raises(TimeoutError, match=rf"0.3 seconds for worker 0 \(127.0.0.1:{absent}\)"):
        _cluster.gather(_cluster.Cluster(jobs, "chief", 0), 0.3)


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        jobs = {"worker": [f"127.0.0.1:{port}", "127.0.0.1:1"]}
        with pytest.raises(OSError, match=f"port {port} cannot be taken"):
            _cluster.gather(_cluster.Cluster(jobs, "worker", 0), 0.3)


def test_the_strategy_wants_workers_and_known_options(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match=r"neither TF_CONFIG nor a Slurm step.*launch"):
        distribute.strategy("multi_worker")
    with pytest.raises(ValueError, match="no option 'join'.*join_seconds"):
        distribute.strategy("multi_worker:join=3")
    with pytest.raises(ValueError, match="no option 'join_seconds'"):
        distribute.strategy("one:join_seconds=3")
    monkeypatch.setenv("TF_CONFIG", config({"worker": ["127.0.0.1:1"]}, index=0))
    assert distribute.strategy("auto").num_replicas_in_sync == 1


def test_launch_takes_training_alone():
    with pytest.raises(ValueError, match="'evaluate runs/a'; expected train"):
        launching.launch(["evaluate", "runs/a"], 2, print)
    with pytest.raises(ValueError, match="workers is 0"):
        launching.launch(["train"], 0, print)


#: Says that it is there, and takes a moment to tidy up after Ctrl-C.
WORKER = """
import pathlib, sys, time
place = pathlib.Path(sys.argv[1])
try:
    (place / "begun").touch()
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)
    (place / "tidy").touch()
"""


def launched(number, to_worker, monkeypatch, folder):
    """Launches one worker, sends a signal to this process, as a terminal does, and returns it."""
    started = []

    def start(command, outputs):
        started.append(subprocess.Popen([sys.executable, "-c", WORKER, str(folder)]))
        return started

    def send():
        while not (folder / "begun").exists():
            time.sleep(0.02)
        if to_worker:
            started[0].send_signal(number)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(launching, "_start", start)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        launching.launch(["train"], 1, print)
    finally:
        sender.join()
        ended = started[0].poll()
        started[0].kill()
        (folder / "status").write_text(str(ended))


def test_workers_tidy_up_at_ctrl_c(monkeypatch, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        launched(signal.SIGINT, True, monkeypatch, tmp_path)
    assert (tmp_path / "tidy").exists()
    assert (tmp_path / "status").read_text() == "0"


def test_workers_end_with_what_launched_them(monkeypatch, tmp_path):
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # else a failure ends the tests
    try:
        with pytest.raises(SystemExit) as caught:
            launched(signal.SIGTERM, False, monkeypatch, tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value.code == 143
    assert (tmp_path / "status").read_text() == str(-signal.SIGTERM)
