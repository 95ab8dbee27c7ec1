"""How fast models train, in `keras_vae` and its peers, taking turns on one machine.

    pip install -e ".[bench]"
    python benchmarks/throughput.py [--workload dense] [--batch 100] [--rounds 5] [--contender ...]

Each contender runs in a process of its own (`contenders.py`) and trains one epoch when it is its
turn, so that what else the machine does falls on all of them. Prints medians and ranges of examples
per second, the share of the limit that matrix products set, ratios to the fastest peer in the same
round, the seconds from the start to the end of the first epoch, and the peak of memory. With
`--output`, adds the lines to a JSON file, with machine, versions and command.
"""

import importlib.metadata
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import contenders
import growth
import typer

HERE = Path(__file__).parent


def flops(workload: str) -> float:
    """Returns multiplications and additions of a training step per example: three times forwards.

    Only layers with kernels count, the two that make mean and variance of q(z|x) among them.
    """
    return 2.0 * growth.of_step(contenders.vae_model(workload), batch=1)


class Process:
    """A contender, ready for its turns."""

    def __init__(self, name: str, workload: str, batch: int) -> None:
        command = [sys.executable, str(HERE / "contenders.py"), name, workload, str(batch)]
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        pipe = subprocess.PIPE
        self.running = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=self.log, text=True, env=environment()
        )

    def turn(self) -> dict[str, float]:
        """Has one epoch trained; returns what it took."""
        print("epoch", file=self.running.stdin, flush=True)
        line = self.running.stdout.readline()
        if not line:
            self.log.seek(0)
            raise RuntimeError(f"A contender ended: {self.log.read()[-2000:]}")
        return json.loads(line)

    def end(self) -> None:
        """Ends the process."""
        self.running.stdin.close()
        self.running.wait()
        self.log.close()


def environment() -> dict[str, str]:
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(sys.path)}


def machine() -> dict[str, Any]:
    """Returns what the numbers depend on."""
    packages = ("tensorflow", "keras", "torch", "jax", "optax", "numpy")
    versions = {}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    model = "unknown"
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((each.split(":")[1].strip() for each in lines if "model name" in each), model)
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
    }


def measure(workload: str, batch: int, names: list[str], rounds: int) -> dict[str, Any]:
    """Returns what each contender took: seconds of each epoch but the first, start, memory."""
    running: dict[str, Process] = {}
    found: dict[str, Any] = {}
    for name in names:  # one after the other, since starting takes both cores
        process = Process(name, workload, batch)
        try:
            first = process.turn()
        except RuntimeError as error:
            print(f"{name}: left out: {str(error).splitlines()[-1]}")
            continue
        process.turn()  # what is left of warming up
        running[name] = process
        found[name] = {"start": first["since_start"], "seconds": []}
    for number in range(rounds):
        order = list(running) if number % 2 == 0 else list(running)[::-1]
        for name in order:
            running[name].turn()  # back into caches and memory
            took = running[name].turn()
            found[name]["seconds"].append(took["seconds"])
            found[name]["gib"] = took["gib"]
    for process in running.values():
        process.end()
    return found


def report(workload: str, batch: int, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Prints a table; returns its rows."""
    limit = found.pop("matrix products", None)
    peak = contenders.PRODUCTS / statistics.median(limit["seconds"]) if limit else None
    each, count = flops(workload), contenders.WORKLOADS[workload].examples
    print(f"\n{workload}, batch {batch}, {each / 1e6:.2f} MFLOP per example")
    if peak:
        print(f"matrix products: {peak / 1e9:.0f} GFLOP/s, {peak / each:,.0f} examples per second")
    peers = [name for name in found if not name.startswith("keras_vae")]
    speed = {name: [count / s for s in taken["seconds"]] for name, taken in found.items()}
    best = max(peers, key=lambda name: statistics.median(speed[name])) if peers else None
    rows = []
    for name, rates in speed.items():
        median = statistics.median(rates)
        row = {
            "workload": workload,
            "batch": batch,
            "contender": name,
            "examples_per_second": round(median),
            "range": [round(min(rates)), round(max(rates))],
            "start_seconds": round(found[name]["start"], 1),
            "peak_gib": round(found[name]["gib"], 2),
        }
        if peak:
            row["share_of_products"] = round(median * each / peak, 3)
        if best:
            ratios = [mine / other for mine, other in zip(rates, speed[best])]
            row["to_fastest_peer"] = round(statistics.median(ratios), 3)
        rows.append(row)
        words = ", ".join(f"{key} {value}" for key, value in list(row.items())[3:])
        print(f"  {name:36s} {words}", flush=True)
    return rows


def main(
    workload: Annotated[list[str], typer.Option(help="dense, conv, residual")] = ["dense"],  # noqa: B006
    batch: Annotated[list[int], typer.Option(help="Examples per step")] = [100],  # noqa: B006
    contender: Annotated[list[str] | None, typer.Option(help="Some; all by default")] = None,
    rounds: int = 5,
    output: Path | None = None,
) -> None:
    rows, names = [], contender or list(contenders.CONTENDERS)
    for each in workload:
        for size in batch:
            rows += report(each, size, measure(each, size, names, rounds))
    if output is not None:
        kept = json.loads(output.read_text()) if output.exists() else []
        place = ("--output", str(output), f"--output={output}")
        words = [word for word in sys.argv[1:] if word not in place]
        command = "python benchmarks/throughput.py " + shlex.join(words)
        kept.append({"command": command, "machine": machine(), "rows": rows})
        output.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
