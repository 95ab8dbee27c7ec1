"""Starting processes that train together on this machine, with an end to their time."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_vae.launching import free_ports

ROOT = Path(__file__).parents[1]


def start(arguments: Sequence[str], workers: int, **environ: str) -> list[subprocess.Popen]:
    """Starts `python ARGUMENTS` as so many workers of one group."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    processes = []
    for index in range(workers):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        # Where the tests are among the packages, and one thread each.
        base = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests")))}
        base |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        if workers > 1:
            base["TF_CONFIG"] = json.dumps(task)
        processes.append(
            subprocess.Popen(
                [sys.executable, *arguments],
                env={**os.environ, **base, **environ},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    return processes


def finish(processes: Sequence[subprocess.Popen], seconds: float) -> list[tuple[int, str]]:
    """Returns the exit status of each and what it said; kills all when the time is over."""
    try:
        said = [process.communicate(timeout=seconds)[0] for process in processes]
        return [(process.returncode, text) for process, text in zip(processes, said)]
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stdout.close()


def run(arguments: Sequence[str], workers: int, seconds: float, **environ: str) -> list[Any]:
    """Starts workers, waits for them, and fails with what they said unless all end well."""
    ended = finish(start(arguments, workers, **environ), seconds)
    assert [status for status, _ in ended] == [0] * workers, "\n".join(text for _, text in ended)
    return ended
