"""Whether a change has lost speed: a few ratios within one process, each with a bar, in 3 minutes.

    python benchmarks/check.py [--rounds 7]

Trains epochs in turns with a plain Keras `train_step` (`contenders.py`), so that what else the
machine does falls on both, and prints the median of the ratios of neighbouring turns. The bars are
set below what was measured (docs/performance.md) by the noise of a busy machine. Ends with status 1
if one is missed.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import contenders
import tensorflow as tf
import typer
from turns import Clock, training

import keras_vae as kv

EXAMPLES = {"dense": 10000, "conv": 1500, "residual": 600}


def ratio(one: Callable[[], float], other: Callable[[], float], rounds: int) -> float:
    """Returns how many times longer `other` takes than `one`: a median over turns."""
    for _ in range(2):
        one(), other()
    return statistics.median(other() / one() for _ in range(rounds))


def to_plain(workload: str, batch: int, rounds: int) -> float:
    """Returns the speed of `fit` relative to that of a plain step."""
    x = contenders.images(workload)[: EXAMPLES[workload]]
    vae = contenders.vae_model(workload)
    plain = contenders.plain_model(workload, jit_compile=False)
    return ratio(training(vae, x, batch_size=batch), training(plain, x, batch_size=batch), rounds)


def watched() -> float:
    """Returns the time of an epoch with TensorBoard's values and Divergence, to one without.

    In the middle of fits of 10 epochs that take turns; what their first and last do is left out.
    """
    x, folder = contenders.images("dense"), tempfile.mkdtemp()
    seconds: dict[str, list[float]] = {"bare": [], "watched": []}
    models = {name: contenders.vae_model("dense") for name in seconds}
    for turn in range(3):
        for name, model in models.items():
            board = kv.callbacks.TensorBoard(f"{folder}/{turn}", image_freq=0)
            callbacks = [board, kv.callbacks.Divergence()] if name == "watched" else []
            clock = Clock()
            model.fit(x, batch_size=100, epochs=10, verbose=0, callbacks=[*callbacks, clock])
            seconds[name] += clock.took[2:-1]
    return statistics.median(seconds["watched"]) / statistics.median(seconds["bare"])


def operations() -> float:
    """Returns how many operations the graph of a step of the dense model has."""
    vae = contenders.vae_model("dense")
    vae.optimizer.build(vae.trainable_variables)
    step = tf.function(lambda x: vae.train_step((x,)), autograph=False)
    graph = step.get_concrete_function(tf.TensorSpec((None, 28, 28, 1))).graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    passive = ("Const", "Placeholder", "Identity", "NoOp")
    return float(sum(node.op not in passive for node in nodes))


def sampling() -> float:
    """Returns the median milliseconds of one sample from a SavedModel."""
    folder, took = tempfile.mkdtemp(), []
    kv.export.saved_model(contenders.vae_model("dense"), f"{folder}/model")
    loaded = tf.saved_model.load(f"{folder}/model")
    for turn in range(205):
        begun = time.perf_counter()
        loaded.sample(tf.constant(1), tf.constant([0, turn]))["x"].numpy()
        took.append(time.perf_counter() - begun)
    return 1000.0 * statistics.median(took[5:])


def main(rounds: int = 7) -> None:
    started, missed = time.perf_counter(), 0
    print(f"{os.cpu_count()} cores, medians of {rounds} turns")
    for words, measure, bar, more_is_better in (
        ("operations of a dense step", operations, 480.0, False),
        ("one sample from a SavedModel, ms", sampling, 3.0, False),
        ("dense, batch 100, to a plain step", lambda: to_plain("dense", 100, rounds), 1.1, True),
        ("dense, batch 512, to a plain step", lambda: to_plain("dense", 512, rounds), 1.0, True),
        ("conv, batch 100, to a plain step", lambda: to_plain("conv", 100, rounds), 1.1, True),
        ("residual, batch 100, to a plain step", lambda: to_plain("residual", 100, 5), 1.05, True),
        ("an epoch that is watched, to a bare one", watched, 1.2, False),
    ):
        value = measure()
        met = value >= bar if more_is_better else value <= bar
        missed += not met
        sign = "at least" if more_is_better else "at most"
        print(f"{'ok' if met else 'MISSED':7s}{words}: {value:.2f}, {sign} {bar:g}", flush=True)
    print(f"{time.perf_counter() - started:.0f} s")
    sys.exit(missed > 0)


if __name__ == "__main__":
    typer.run(main)
