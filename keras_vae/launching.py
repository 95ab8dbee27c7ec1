"""Several workers on this machine, each a process of its own that finds the others by TF_CONFIG."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TypeAlias

from keras_vae import _checks

Process: TypeAlias = subprocess.Popen[bytes]
#: Seconds between two looks at the workers, and how long they may take to end when asked to.
LOOK, GRACE = 0.1, 10.0
#: The status of a user's mistake, which all workers make, and the seconds the chief has to say it.
MISTAKE, SAY = 2, 3.0
#: How much of what a worker said is shown when it fails.
SHOWN = 4000
#: How many one machine may have.
MOST_WORKERS = 256


def launch(command: Sequence[str], workers: int, say: Callable[[str], object]) -> int:
    """Runs `keras-vae` in several processes that train one model, and waits for them.

    The first one is the chief, and what it says is seen. What the others say is kept, and shown of
    the one that fails first. When one fails the others are stopped, and all are when this process
    gets SIGTERM. At Ctrl-C, of which a terminal tells them too, they have some seconds to tidy up.

    Args:
        command: `train` and its options.
        workers: How many.
        say: Called with a sentence on how it went wrong.

    Returns: the exit status: 0, or that of the first worker that failed (128 + the number of the
        signal that killed it).

    Raises:
        ValueError, TypeError: for another command than `train`, or no whole number of workers.
    """
    _checks.integer("workers", workers, maximum=MOST_WORKERS)
    if not command or command[0] != "train":
        raise ValueError(
            f"launch received the command {' '.join(command)!r}; expected train and its options, "
            "such as: keras-vae launch --workers 2 -- train --data digits --output runs/digits."
        )
    with contextlib.ExitStack() as stack:
        kept = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(1, workers)]
        outputs = [None, *kept]
        stack.enter_context(_terminable())
        processes = _start(command, outputs)
        try:
            failed = _wait(processes)
        except KeyboardInterrupt:
            _await(processes)
            raise
        finally:
            _stop(processes)
        if failed is None:
            return 0
        status = processes[failed].returncode
        status = 128 - status if status < 0 else status
        say(_told(failed, outputs[failed], status, workers))
        return status


def _start(command: Sequence[str], outputs: Sequence[IO[bytes] | None]) -> list[Process]:
    count = len(outputs)
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    threads = str(max((os.cpu_count() or 1) // count, 1))
    processes = []
    for index, output in enumerate(outputs):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environ = {"TF_NUM_INTRAOP_THREADS": threads, **os.environ, "TF_CONFIG": json.dumps(task)}
        program = [sys.executable, "-m", "keras_vae", *command]
        processes.append(subprocess.Popen(program, env=environ, stdout=output, stderr=output))
    return processes


def free_ports(count: int) -> list[int]:
    """Returns ports of 127.0.0.1 that nothing listens at."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def _wait(processes: Sequence[Process]) -> int | None:
    """Returns the worker that tells how it went wrong, or None when all have ended well."""
    while True:
        statuses = [process.poll() for process in processes]
        for index, status in enumerate(statuses):
            if status:
                return _teller(processes[0], index, status)
        if None not in statuses:
            return None
        time.sleep(LOOK)


def _teller(chief: Process, failed: int, status: int) -> int:
    """Returns the worker that failed first, or 0 where the chief has come upon the same mistake."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        chief.wait(SAY if status == MISTAKE else 0.0)
    return 0 if chief.returncode == status == MISTAKE else failed


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Makes SIGTERM an exit of Python's, with what is to be done at the end."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield  # signals are of the main thread alone
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _await(processes: Sequence[Process]) -> None:
    """Gives all processes their time to end."""
    end = time.monotonic() + GRACE
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(end - time.monotonic(), 0.0))


def _stop(processes: Sequence[Process]) -> None:
    """Ends what still runs, by force where asking is not enough."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    _await(processes)
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()


def _told(failed: int, output: IO[bytes] | None, status: int, workers: int) -> str:
    """Returns what a failed worker said and how it ended."""
    said = ""
    if output is not None:
        output.seek(0)
        said = output.read()[-SHOWN:].decode(errors="replace")
    name = signal.Signals(status - 128).name if status > 128 else f"status {status}"
    rest = f", and the other {workers - 1} were stopped" if workers > 1 else ""
    return f"{said}keras-vae: worker {failed} of {workers} ended with {name}{rest}.\n"
