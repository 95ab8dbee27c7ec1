"""Choosing a `tf.distribute` strategy, and sums that mean the same on one replica or many."""

import functools
import os
from typing import Any

import tensorflow as tf

from keras_vae import _checks, _cluster, _registry
from keras_vae._types import Tensor

#: The names of strategies, and the options that some have.
STRATEGIES = ("auto", "one", "mirrored", "multi_worker")
OPTIONS = {"multi_worker": ("join_seconds",), "auto": ("join_seconds",)}
#: How long a worker waits for the others to come.
JOIN_SECONDS = 300.0
LOST = (
    "Another worker was lost, so that this one cannot go on; its messages tell why. Start all of "
    "them again: from the last checkpoint, if there are checkpoints."
)


def strategy(name: str = "auto") -> tf.distribute.Strategy:
    """Returns the strategy called `name`; build the model under its `scope()`.

    Args:
        name: "one" (no distribution), "mirrored" (all local accelerators, or all logical CPU
            devices where there is none), "multi_worker" (this process and the others that TF_CONFIG
            or the Slurm step name, with the accelerators of each), or "auto" (multi_worker where
            TF_CONFIG names two or more, mirrored where there are two or more accelerators, else
            one). "multi_worker:join_seconds=60" waits so long for the other workers, by default
            300 seconds.

    The object is cached, because a second strategy over the same devices fails in one process.

    Raises:
        ValueError: for another name, for "multi_worker" where no workers are named, or where
            TensorFlow was used before, which it must not be.
        TimeoutError: if a worker does not come in time.
        OSError: if this worker's port is taken.

    Example:
    >>> import keras_vae as kv
    >>> with kv.distribute.strategy("auto").scope():
    ...     vae = kv.VAE((6,), 2)
    ...     vae.compile("adam")
    """
    name, options = _registry.parse(name)
    _checks.one_of("strategy", name, STRATEGIES)
    _checks.options(f"The strategy {name!r}", options, OPTIONS.get(name, ()))
    if name == "multi_worker" or (name == "auto" and _workers_named()):
        seconds = options.get("join_seconds", JOIN_SECONDS)
        return multi_worker(_checks.number("join_seconds", seconds, 0.0, above=True))
    accelerators = tf.config.list_logical_devices("GPU")
    if name == "one" or (name == "auto" and len(accelerators) < 2):
        return tf.distribute.get_strategy()
    devices = accelerators or tf.config.list_logical_devices("CPU")
    return mirrored(tuple(device.name for device in devices))


@functools.cache
def mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    """Returns the one MirroredStrategy over these devices."""
    return tf.distribute.MirroredStrategy(devices)


@functools.cache
def multi_worker(join_seconds: float) -> tf.distribute.Strategy:
    """Returns this process's MultiWorkerMirroredStrategy, once every worker has come.

    When a worker is lost later, the others' next step raises within half a minute: TensorFlow's
    workers tell its coordination service every few seconds that they are alive.
    """
    found = _cluster.cluster()
    if found is None:
        raise ValueError(
            "The strategy is 'multi_worker', and neither TF_CONFIG nor a Slurm step names the "
            f"workers; expected TF_CONFIG such as {_cluster.EXAMPLE}. On one machine `keras-vae "
            "launch --workers 2 -- train ...` sets it."
        )
    _cluster.gather(found, join_seconds)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(found.jobs),
        task_type=found.job,
        task_id=found.task,
        rpc_layer="grpc",
    )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(resolver)
    except RuntimeError as error:
        if "program startup" not in str(error):
            raise
        raise ValueError(
            "The strategy is 'multi_worker', but TensorFlow has made tensors or listed devices "
            "already; expected the strategy to be made first. Call "
            "keras_vae.distribute.strategy('multi_worker') at the start of the program."
        ) from error


def _workers_named() -> bool:
    found = _cluster.cluster({"TF_CONFIG": os.environ.get("TF_CONFIG", "")})
    return found is not None and found.num_workers > 1


def check(strategy: tf.distribute.Strategy) -> None:
    """Raises a ValueError for a strategy that Keras 3 does not train under."""
    if isinstance(strategy, tf.distribute.ParameterServerStrategy):
        raise ValueError(
            f"The strategy is a {type(strategy).__name__}, and Keras 3 does not train with "
            "parameter servers; expected a MirroredStrategy or a MultiWorkerMirroredStrategy. Use "
            "keras_vae.distribute.strategy('multi_worker')."
        )


def merges() -> bool:
    """Returns whether the current strategy merges its replicas, be it one, to update weights."""
    return not tf.__internal__.distribute.strategy_supports_no_merge_call()


def is_chief(strategy: tf.distribute.Strategy | None = None) -> bool:
    """Returns whether this process is the one that writes, of a strategy or the current one."""
    strategy = tf.distribute.get_strategy() if strategy is None else strategy
    return bool(strategy.extended.should_save_summary)


def worker_was_lost(error: tf.errors.OpError) -> bool:
    """Returns whether an error of a step says that another worker has gone."""
    return isinstance(error, tf.errors.UnavailableError) or "Collective ops is aborted" in (
        error.message or ""
    )


def primary(variable: Any) -> Any:
    """Returns the copy of a Keras variable on this process's first replica, a `tf.Variable`."""
    return getattr(variable.value, "_primary", variable.value)


def parts(variable: Any) -> tuple[Any, ...]:
    """Returns the copies of a Keras variable on this process's replicas, each a `tf.Variable`."""
    return tuple(getattr(variable.value, "values", None) or (variable.value,))


def worker(strategy: tf.distribute.Strategy) -> int:
    """Returns the number of this process among those of a strategy; 0 is the chief."""
    if is_chief(strategy):
        return 0
    resolver = strategy.cluster_resolver
    chiefs = len(resolver.cluster_spec().as_dict().get("chief", ()))
    return int(resolver.task_id or 0) + chiefs


def workers(strategy: tf.distribute.Strategy) -> int:
    """Returns how many processes train together."""
    if not is_multi_worker(strategy) or strategy.cluster_resolver is None:
        return 1
    jobs = strategy.cluster_resolver.cluster_spec().as_dict()
    return max(1, sum(len(jobs.get(job, ())) for job in ("chief", "worker")))


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


def never_empty(network: Any, x: Any, training: bool) -> Tensor:
    """Returns network(x), (B, ...), for x (B, ...), or several of these; empty on some replica.

    TensorFlow's fused convolutions fail on an empty batch on CPUs, so there the network then gets a
    row of zeros, whose output is dropped.
    """
    if num_replicas() == 1 or tf.config.list_physical_devices("GPU"):
        return network(x, training=training)
    rows = tf.shape(tf.nest.flatten(x)[0])[0]
    spare = tf.cast(rows == 0, tf.int32)

    def pad(one: Tensor) -> Tensor:
        return tf.concat([one, tf.zeros([spare, *one.shape[1:]], one.dtype)], 0)

    return network(tf.nest.map_structure(pad, x), training=training)[:rows]


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
