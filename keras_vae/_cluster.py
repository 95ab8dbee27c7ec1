"""Which processes train together, and which of them this one is: from TF_CONFIG or from Slurm."""

import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from keras_vae import _checks

#: What TF_CONFIG looks like.
EXAMPLE = '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, "task": {"index": 0}}'
#: The jobs whose tasks train: with a chief, it is the one that writes; else worker 0 is.
JOBS = ("chief", "worker")
#: The most tasks of a job; longer lists are mistakes.
MOST_TASKS = 100_000
#: The first port that workers listen at under Slurm, and how many ports jobs spread over.
FIRST_PORT, PORTS = 12_000, 8_000
#: Seconds between two calls at the other workers' ports, and how long one call may take.
PAUSE, PATIENCE = 0.2, 5.0
#: The orders of tasks over nodes under Slurm in which the first node has the first tasks.
IN_BLOCKS = ("block", "unset", "")


class Cluster(NamedTuple):
    """The processes that train one model.

    Attributes:
        jobs: The addresses host:port of the tasks of each job, "worker" and perhaps "chief".
        job: The job of this process.
        task: Its place among the tasks of its job.
    """

    jobs: dict[str, list[str]]
    job: str
    task: int

    @property
    def num_workers(self) -> int:
        """How many processes there are."""
        return sum(map(len, self.jobs.values()))


def cluster(environ: Mapping[str, str] = os.environ) -> Cluster | None:
    """Returns the processes that this one trains with, or None where it is told of none.

    TF_CONFIG says so where it is set, else the step of a Slurm job.

    Args:
        environ: The environment's variables.

    Raises:
        ValueError: if what they say cannot be.
    """
    if environ.get("TF_CONFIG"):
        return from_tf_config(environ["TF_CONFIG"])
    return from_slurm(environ) if "SLURM_STEP_NODELIST" in environ else None


def from_tf_config(text: str) -> Cluster | None:
    """Returns the cluster that the text of TF_CONFIG says, or None for one without a cluster.

    Raises:
        ValueError: for anything but jobs "worker" and "chief" and a task of one of them.
    """
    try:
        said = json.loads(text)
        jobs = {job: list(map(_address, tasks)) for job, tasks in said.get("cluster", {}).items()}
        task = said.get("task", {})
        job, index = task.get("type", "worker"), int(task.get("index", 0))
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise _unreadable(text, error) from error
    if not jobs:
        return None
    for name in (*jobs, job):
        if name not in JOBS:
            raise ValueError(
                f"TF_CONFIG has the job {name!r}; expected {' and '.join(map(repr, JOBS))} alone. "
                "Parameter servers and evaluators are not supported: Keras 3 trains by all-reduce."
            )
    if not 0 <= index < len(jobs.get(job, ())):
        raise ValueError(
            f"TF_CONFIG says task {index} of the job {job!r}, which has {len(jobs.get(job, ()))} "
            "task(s); expected an index below their number. Give each process its own."
        )
    addresses = [address for tasks in jobs.values() for address in tasks]
    if len(set(addresses)) < len(addresses):
        raise ValueError(
            f"TF_CONFIG gives {_checks.brief(', '.join(addresses))}, one address to several tasks; "
            "expected another for each. Name another host or port."
        )
    return Cluster(jobs, job, index)


def _address(address: Any) -> str:
    if not isinstance(address, str) or not re.fullmatch(r"\S+:\d+", address):
        raise ValueError(f"the address {address!r} is not host:port")
    return address


def _unreadable(text: str, error: Exception) -> ValueError:
    return ValueError(
        f"TF_CONFIG is {_checks.brief(repr(text))}, which could not be read "
        f"({_checks.brief(error)}); expected JSON such as {EXAMPLE}."
    )


def from_slurm(environ: Mapping[str, str]) -> Cluster:
    """Returns the tasks of the Slurm step that this process is one of, in the order of their ranks.

    Tasks of one node listen at ports that follow one another; the first one is a function of the
    job, so that two jobs on one node seldom meet. TensorFlow's own resolver orders hosts by
    spelling (node10 before node9) while ranks follow Slurm's order, and fails without GPUs.

    Raises:
        ValueError: if a variable is missing or cannot be read, or tasks are not in blocks.
    """
    order = environ.get("SLURM_DISTRIBUTION", "").partition(":")[0].partition(",")[0]
    if order not in IN_BLOCKS:
        raise ValueError(
            f"Slurm spreads the tasks by {order!r}; expected blocks, so that ranks tell nodes. Run "
            "srun --distribution=block."
        )
    try:
        hosts = list(_hosts(environ["SLURM_STEP_NODELIST"]))
        counts = list(_counts(environ["SLURM_STEP_TASKS_PER_NODE"]))
        rank = int(environ["SLURM_PROCID"])
        first = FIRST_PORT + int(environ.get("SLURM_JOB_ID", 0)) % PORTS
        addresses = [
            f"{host}:{first + task}"
            for host, count in zip(hosts, counts, strict=True)
            for task in range(count)
        ]
        addresses[rank]
    except (LookupError, ValueError) as error:
        names = ("SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE")
        said = {name: environ.get(name) for name in names}
        raise ValueError(
            f"Slurm's variables could not be read ({error!r} in {said}, SLURM_PROCID="
            f"{environ.get('SLURM_PROCID')!r}); expected those of a step. Start it with srun, or "
            "set TF_CONFIG."
        ) from error
    return Cluster({"worker": addresses}, "worker", rank)


def gather(found: Cluster, seconds: float) -> None:
    """Waits until every worker of a cluster listens at its address, each for the others.

    TensorFlow's own servers would wait for ever for one that never comes. When this returns, the
    port is free again for them.

    Args:
        found: The cluster, and this process's place in it.
        seconds: How long to wait.

    Raises:
        TimeoutError: naming those that did not come.
        OSError: if this worker's own port is taken.
    """
    own = found.jobs[found.job][found.task]
    others = {
        address: f"{job} {index} ({address})"
        for job, addresses in found.jobs.items()
        for index, address in enumerate(addresses)
        if address != own
    }
    try:
        listener = socket.create_server(("", _port(own)), backlog=found.num_workers)
    except OSError as error:
        raise OSError(
            f"{found.job} {found.task} is to listen at {own}, and the port {_port(own)} cannot be "
            f"taken ({error.strerror or error}); expected a free one. End what listens there, or "
            "name another port."
        ) from error
    with listener:
        end = time.monotonic() + seconds
        while others and time.monotonic() < end:
            for address in [address for address in others if _answers(address)]:
                del others[address]
            time.sleep(PAUSE if others else 0.0)
    if others:
        raise TimeoutError(
            f"Waited {seconds:g} seconds for {', '.join(others.values())}; expected every worker "
            "of TF_CONFIG or the Slurm step to be started, and to reach the others' ports. Look at "
            "their messages, or wait longer: --strategy multi_worker:join_seconds=600."
        )


def _answers(address: str) -> bool:
    with contextlib.suppress(OSError):
        host = address.rpartition(":")[0].strip("[]")
        socket.create_connection((host, _port(address)), timeout=PATIENCE).close()
        return True
    return False


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _hosts(text: str) -> Iterator[str]:
    """Yields the hosts of a list such as `gpu[01-03,7],login`, in its order."""
    for prefix, ranges, suffix in re.findall(r"([^,\[\]]*)(?:\[([^\]]+)\])?([^,\[\]]*)", text):
        if not prefix + ranges + suffix:
            continue
        for part in ranges.split(",") if ranges else [""]:
            first, _, last = part.partition("-")
            numbers = range(int(first or 0), int(last or first or 0) + 1)
            if len(numbers) > MOST_TASKS:
                raise ValueError(f"{part!r} is more than {MOST_TASKS} hosts")
            for number in numbers:
                yield prefix + (str(number).zfill(len(first)) if first else "") + suffix


def _counts(text: str) -> Iterator[int]:
    """Yields the tasks on each node of a list such as `4(x2),1`."""
    for part in text.split(","):
        matched = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if matched is None:
            raise ValueError(f"{part!r} is no number of tasks")
        if int(matched[1]) * int(matched[2] or 1) > MOST_TASKS:
            raise ValueError(f"{part!r} is more than {MOST_TASKS} tasks")
        yield from [int(matched[1])] * int(matched[2] or 1)
