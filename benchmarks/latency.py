"""What starting costs, and how long a sample from a SavedModel takes, in milliseconds.

    python benchmarks/latency.py [--runs 7] [--repeats 300] [--batch 1 --batch 1000] [--profile]

First processes of their own, by turns: `import tensorflow, keras`; `import keras_vae`;
`keras-vae --help`; and TensorFlow alone loading a SavedModel to draw one sample. Prints medians and
ranges of their seconds, and of the last how long loading and the first sample took.

Then, by turns in one process, one draw of a batch: the decoder alone as a compiled function of z,
the loaded model's method `sample`, its signature of that name, and `vae.sample`, each until its
outputs are NumPy arrays. Prints the median and the 95th percentile, samples per second, and the
median of the ratios to the decoder in the same turn. The model is dense, 784-200-200-50, untrained.
`--profile` adds which operations the exported function holds, and what parts of it take.
"""

import collections
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import typer

NETWORK, EVENT, LATENT_DIM = "dense:widths=[200,200],activation=relu", (28, 28, 1), 50
IMPORTS = ("import tensorflow, keras", "import keras_vae")
LOADING = """
import json, sys, time
import tensorflow as tf
started = time.perf_counter()
model = tf.saved_model.load(sys.argv[1])
loaded = time.perf_counter()
model.sample(tf.constant(1), tf.constant([0, 1]))["x"].numpy()
print(json.dumps([loaded - started, time.perf_counter() - loaded]))
"""

# Processes of their own


def process(arguments: list[str]) -> tuple[float, str]:
    """Returns how many seconds a Python took from start to end, and what it printed."""
    command = [sys.executable, *arguments]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started, done.stdout.decode()


def cold_starts(model: str, runs: int) -> None:
    """Prints what processes take that start, load and sample."""
    commands = {code: ["-c", code] for code in IMPORTS}
    commands["keras-vae --help"] = ["-m", "keras_vae", "--help"]
    commands["load a SavedModel, draw 1"] = ["-c", LOADING, model]
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    parts = []
    for run in range(runs + 1):
        for name, arguments in commands.items():
            took, printed = process(arguments)
            if run:  # the first fills the disk cache
                seconds[name].append(took)
                parts += [json.loads(printed)] if LOADING in arguments else []
    base = seconds[IMPORTS[0]]
    for name, took in seconds.items():
        ratio = statistics.median(mine / theirs for mine, theirs in zip(took, base))
        print(f"{name:<26} {spread(took)} s, {ratio:.2f} of the first")
    for name, took in zip(("loading", "the first sample"), zip(*parts)):
        print(f"  of which {name:<17} {spread(list(took))} s")


def spread(values: list[float]) -> str:
    return f"median {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


# Turns within one process


def in_turns(functions: dict[str, Callable[[int], Any]], repeats: int) -> dict[str, list[float]]:
    """Returns the seconds of each call of functions of the number of the turn."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 5):
        for name, function in functions.items():
            started = time.perf_counter()
            function(turn)
            if turn >= 5:  # traced, and memory found
                seconds[name].append(time.perf_counter() - started)
    return seconds


def report(seconds: dict[str, list[float]], batch: int) -> None:
    """Prints a line for each function, with ratios to the first."""
    base = next(iter(seconds.values()))
    for name, took in seconds.items():
        median, late = 1000.0 * np.percentile(took, [50, 95])
        ratio = statistics.median(mine / theirs for mine, theirs in zip(took, base))
        print(
            f"  {name:<24} median {median:.3f} ms, 95 % within {late:.3f} ms, "
            f"{1000.0 * batch / median:,.0f} samples per second, {ratio:.2f} of the decoder",
            flush=True,
        )


def samplers(vae: Any, loaded: Any, batch: int, turns: int) -> dict[str, Callable[[int], Any]]:
    """Returns the ways to a batch of samples, the decoder alone first."""
    import tensorflow as tf

    z = tf.random.stateless_normal([batch, LATENT_DIM], [0, 0])
    spec = tf.TensorSpec([None, LATENT_DIM], tf.float32)
    decode = tf.function(lambda z: vae.decoder(z, training=False), input_signature=[spec])
    count = tf.constant(batch)
    seeds = [tf.constant([0, turn]) for turn in range(turns)]
    signature = loaded.signatures["sample"]
    return {
        "decoder alone": lambda turn: decode(z).numpy(),
        "SavedModel's method": lambda turn: arrays(loaded.sample(count, seeds[turn])),
        "SavedModel's signature": lambda turn: arrays(signature(n=count, seed=seeds[turn])),
        "vae.sample": lambda turn: vae.sample(batch, seed=turn),
    }


def arrays(outputs: dict[str, Any]) -> list[np.ndarray]:
    return [tensor.numpy() for tensor in outputs.values()]


# Where the time goes


def operations(signature: Any) -> None:
    """Prints how many operations of which kind an exported function holds."""
    functions = signature.graph.as_graph_def().library.function
    for function in functions:
        if "inference_sample" in function.signature.name:
            counts = collections.Counter(node.op for node in function.node_def)
            kinds = ", ".join(f"{count} {op}" for op, count in counts.most_common())
            print(f"operations of `sample`: {sum(counts.values())}: {kinds}")


def parts(vae: Any, batch: int, repeats: int) -> None:
    """Prints what parts of a sample take, each as a compiled function by itself."""
    import tensorflow as tf

    z = tf.random.stateless_normal([batch, LATENT_DIM], [0, 0])
    logits = vae.decoder(z)
    normal, uniform = tf.random.stateless_normal, tf.random.stateless_uniform
    drawn: dict[str, Any] = {
        "decoder alone": lambda seed: vae.decoder(z, training=False),
        "nothing": lambda seed: seed,
        "seeds split": lambda seed: tf.random.experimental.stateless_split(seed, 2),
        "normal noise of z": lambda seed: normal(z.shape, seed),
        "mean: a sigmoid": lambda seed: tf.sigmoid(logits),
        "uniform noise of x": lambda seed: uniform(logits.shape, seed),
        "x of p(x|z)": lambda seed: vae.likelihood.sample(logits, seed),
        "all of it": lambda seed: vae.graph.sample(batch, seed),
    }
    spec = [tf.TensorSpec([2], tf.int32)]
    compiled = {name: tf.function(each, input_signature=spec) for name, each in drawn.items()}
    seed = tf.constant([0, 1])
    calls = {name: lambda _, each=each: each(seed) for name, each in compiled.items()}
    print("parts:")
    report(in_turns(calls, repeats), batch)


def main(
    runs: int = 7,
    repeats: int = 300,
    batch: Annotated[list[int], typer.Option(help="Samples of one call")] = [1, 1000],  # noqa: B006
    profile: bool = False,
) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf

    import keras_vae as kv

    keras.utils.set_random_seed(0)
    vae = kv.VAE(EVENT, LATENT_DIM, network=NETWORK)
    path = str(kv.export.saved_model(vae, f"{tempfile.mkdtemp()}/model"))
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, seed 0, {runs} runs of each")
    if runs:
        cold_starts(path, runs)
    loaded = tf.saved_model.load(path)
    if profile:
        operations(loaded.signatures["sample"])
    for each in batch:
        print(f"batch {each}, {repeats} turns")
        report(in_turns(samplers(vae, loaded, each, repeats + 5), repeats), each)
        if profile:
            parts(vae, each, repeats)


if __name__ == "__main__":
    typer.run(main)
