"""What `import keras_vae` costs on top of `import tensorflow, keras`.

    python benchmarks/import_time.py [--runs 7]

Each run is a process of its own; the two kinds take turns, so that a drift of the machine's speed
meets both. The ratio of the medians is to stay at or below 1.10.
"""

import os
import statistics
import subprocess
import sys
import time

import typer

BASE, PACKAGE = "import tensorflow, keras", "import tensorflow, keras, keras_vae"


def seconds(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def main(runs: int = 7) -> None:
    times: dict[str, list[float]] = {BASE: [], PACKAGE: []}
    for run in range(runs + 1):
        for code, measured in times.items():
            took = seconds(code)
            if run:  # the first fills the disk cache
                measured.append(took)
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {runs} runs of each")
    for code, measured in times.items():
        spread = f"{min(measured):.2f} to {max(measured):.2f}"
        print(f"{code:<40} median {statistics.median(measured):.2f} s ({spread})")
    ratios = [b / a for a, b in zip(times[BASE], times[PACKAGE])]
    print(f"ratio, pair by pair: median {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    typer.run(main)
