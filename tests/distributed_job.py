"""A training that several replicas or workers share, run by the tests as processes of its own.

    python tests/distributed_job.py REPORT CASE [CASE ...]

Every process trains the cases one after another under the strategy that TF_CONFIG or REPLICAS (a
number of logical CPU devices) says; the chief writes weights and logs to REPORT, an .npz file.
`run` is what the tests call for the same on one device.
"""

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from strategies import TABLE, compose, events

import keras_vae as kv
from keras_vae import _sides

BATCH, EPOCHS = 32, 2
#: Adam's epsilon: with the usual one, gradients of rounding's size move weights by whole steps.
EPSILON = 1e-3


def counts(member: Any) -> tuple[int, ...]:
    """Returns how many examples a member is tried on; the last batch leaves some replicas none.

    Batch normalisation would count the row of zeros that a network gets there on CPUs.
    """
    instance = member.make()
    return (30,) if getattr(instance, "normalization", None) == "batch" else (257, 259, 30)


#: What is trained: a member of the table, and how many examples.
CASES = {
    f"{member.id}/{count}": (member, count)
    for member in TABLE
    if member.family in ("objective", "network", "likelihood", "posterior", "prior", "latent")
    for count in counts(member)
    if not getattr(member.make(), "per_replica", False)
}


def fed(shape: Any, step: Any) -> Any:
    """Returns noise that is the same for every example, wherever it is, and differs by step."""
    row = tf.cos(tf.cast(step, tf.float32) + tf.range(shape[-1], dtype=tf.float32))
    return tf.broadcast_to(row, shape)


def run(strategy: tf.distribute.Strategy, case: str, optimizer: str = "sgd") -> dict[str, Any]:
    """Returns the weights and the logs of a training of a case under a strategy, with fed noise."""
    member, count = CASES[case]
    keras.utils.set_random_seed(0)
    with strategy.scope():
        vae = compose(member)
        adam = keras.optimizers.Adam(0.01, epsilon=EPSILON)
        vae.compile(keras.optimizers.SGD(0.01) if optimizer == "sgd" else adam)
    vae.sampling.noise = fed
    x = events(member, count)
    last, first = _sides.rows(x, slice(None, -34, -1)), _sides.rows(x, slice(11))
    history = vae.fit(batches(x), validation_data=batches(last), epochs=EPOCHS, verbose=0)
    scores = vae.evaluate(batches(x), return_dict=True, verbose=0)
    found = {f"log {name}": np.array(values) for name, values in history.history.items()}
    found |= {f"score {name}": np.array(value) for name, value in scores.items()}
    weights = {f"weight {v.path}": kv.distribute.primary(v).numpy() for v in vae.weights}
    return {**found, **weights, "predicted": vae.predict(batches(first), verbose=0)}


def batches(x: Any) -> tf.data.Dataset:
    """Returns the examples in batches that every worker takes its part of."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return tf.data.Dataset.from_tensor_slices(x).batch(BATCH).with_options(options)


def with_callbacks(strategy: tf.distribute.Strategy, folder: Path) -> None:
    """Trains with every kind of callback, and fills a folder for each worker."""
    own = folder / f"worker-{strategy.cluster_resolver.task_id}"
    own.mkdir()
    with strategy.scope():
        vae = compose(TABLE[0])
        vae.compile("adam")
    x = batches(events(TABLE[0], 40))
    backup = keras.callbacks.BackupAndRestore(own / "backup.weights.h5")
    watchers = [
        kv.callbacks.TensorBoard(own / "tensorboard"),
        kv.callbacks.Checkpoint(own / "checkpoint", share=1.0),
        kv.callbacks.CollapseWarning(),
        keras.callbacks.CSVLogger(own / "log.csv"),
        keras.callbacks.ModelCheckpoint(own / "best.keras", "val_elbo", mode="max"),
        keras.callbacks.EarlyStopping("val_elbo", mode="max", patience=5),
        backup,
    ]
    vae.fit(x, validation_data=x, epochs=3, callbacks=watchers, verbose=0)
    if kv.distribute.is_chief(strategy):
        kv.export.saved_model(vae, own / "exported")


def main(report: str, cases: list[str]) -> None:
    """Trains the cases and writes the report."""
    replicas = int(os.environ.get("REPLICAS", 1))
    if replicas > 1:
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * replicas,
        )
    strategy = kv.distribute.strategy("mirrored" if replicas > 1 else "multi_worker")
    found = {}
    for case in cases:
        if case == "callbacks":
            with_callbacks(strategy, Path(report).parent)
            continue
        name, _, optimizer = case.partition("@")
        for key, value in run(strategy, name, optimizer or "sgd").items():
            found[f"{case}|{key}".replace("/", "%")] = value
    if kv.distribute.is_chief(strategy):
        found["replicas"] = np.array(strategy.num_replicas_in_sync)
        np.savez(Path(report), **found)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
