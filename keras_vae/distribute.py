"""Choosing a `tf.distribute` strategy, and sums that mean the same on one replica or many."""

import functools
from typing import Any

import tensorflow as tf

from keras_vae import _checks
from keras_vae._types import Tensor


def strategy(name: str = "auto") -> tf.distribute.Strategy:
    """Returns the strategy called `name`; build the model under its `scope()`.

    Args:
        name: "one" (no distribution), "mirrored" (all local accelerators, or all logical CPU
            devices where there is none) or "auto" (mirrored where there are two or more
            accelerators, else one).

    The object is cached per set of devices, because a second MirroredStrategy in one process fails
    on CPU devices.

    Raises:
        ValueError: for another name.
    """
    _checks.one_of("strategy", name, ("auto", "one", "mirrored"))
    accelerators = tf.config.list_logical_devices("GPU")
    if name == "one" or (name == "auto" and len(accelerators) < 2):
        return tf.distribute.get_strategy()
    devices = accelerators or tf.config.list_logical_devices("CPU")
    return mirrored(tuple(device.name for device in devices))


@functools.cache
def mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    """Returns the one MirroredStrategy over these devices."""
    return tf.distribute.MirroredStrategy(devices)


def primary(variable: Any) -> Any:
    """Returns the copy of a Keras variable on this process's first replica, a `tf.Variable`."""
    return getattr(variable.value, "_primary", variable.value)


def num_replicas() -> int:
    """Returns how many replicas work in step."""
    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def replica_id() -> Tensor | int:
    """Returns the index of the current replica, 0 outside a replica."""
    context = tf.distribute.get_replica_context()
    return 0 if context is None or num_replicas() == 1 else context.replica_id_in_sync_group


def is_multi_worker(strategy: tf.distribute.Strategy | None = None) -> bool:
    """Returns whether a strategy, by default the current one, spans several processes."""
    strategy = tf.distribute.get_strategy() if strategy is None else strategy
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def global_sum(value: Any) -> Any:
    """Returns the sum of a tensor (or nest of tensors) over the replicas.

    In a replica context this is an all-reduce; with one replica it is the value itself.
    """
    context = tf.distribute.get_replica_context()
    if context is None or num_replicas() == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def global_mean(per_example: Tensor, weights: Tensor | None = None) -> Tensor:
    """Returns this replica's share of the mean over the *global* batch, a scalar.

    The shares add up to the mean, as the gradients that the optimiser sums over replicas must.

    Args:
        per_example: (B,), any B, 0 included.
        weights: (B,) or None. The mean is sum(w * value) / sum(w) over the global batch, so that
            weight 2 counts like the example twice; 0 where all weights are 0.
    """
    if weights is None:
        weights = tf.ones_like(per_example)
    total = global_sum(tf.reduce_sum(weights))
    return tf.math.divide_no_nan(tf.reduce_sum(weights * per_example), total)
