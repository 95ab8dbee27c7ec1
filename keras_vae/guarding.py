"""Steps that would break a model: found, counted and left out, without a look from outside."""

import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_vae import distribute, optimizing
from keras_vae._types import Tensor

Gradients = list[tuple[Any, Any]]
#: Steps in a row that may be left out for the norm of their gradient alone.
MOST_LIMITED = 10


class Guard:
    """Counts the steps of one model that were left out, in variables that its graph updates.

    Args:
        limit: Of the norm of the whole gradient, or None.

    Attributes:
        skipped: Steps left out since `compile` for a loss or gradient that was not finite.
        in_a_row: How many of them were the last ones.
        longest: How many there were in a row at most, since it was set to 0.
        limited: How many of the last steps were left out for the norm of their gradient.
        watcher: Called with the batch x of a step that was left out, or None.
    """

    def __init__(self, limit: float | None = None) -> None:
        self.limit = limit
        names = ("skipped", "in_a_row", "longest", "limited")
        self.skipped, self.in_a_row, self.longest, self.limited = map(_counter, names)
        self.watcher: Callable[[np.ndarray], None] | None = None

    @property
    def variables(self) -> list[tf.Variable]:
        """The counters, which belong to the state of a training."""
        return [self.skipped, self.in_a_row, self.longest, self.limited]

    def judge(
        self, loss: Tensor, gradients: Gradients, optimizer: keras.optimizers.Optimizer
    ) -> tuple[Tensor, Gradients]:
        """Returns whether to take a step, the same on all replicas, and its gradients.

        A gradient above the limit is left out, but not more than 10 in a row: the next is taken,
        scaled down to the limit. So a limit that is too low slows a training and does not end it.

        Args:
            loss: (B,).
            gradients: With their variables.
            optimizer: Where it scales the loss, it leaves out gradients that overflow by itself.
        """
        scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        given = [tf.convert_to_tensor(g) for g, _ in gradients if g is not None]
        if scaled:
            gradients, given = _lost_together(optimizer, gradients), []
        finite = tf.math.is_finite(tf.add_n([_sum(each) for each in (loss, *given)]))
        if distribute.num_replicas() > 1:
            finite = tf.equal(distribute.global_sum(tf.cast(finite, tf.float32)), _replicas())
        take = finite
        if self.limit is not None:
            take, gradients = self._limited(
                finite, gradients, optimizer.dynamic_scale if scaled else None
            )
        lost = 1 - tf.cast(finite, tf.int64)
        self.skipped.assign_add(lost)
        in_a_row = (self.in_a_row + 1) * lost
        self.in_a_row.assign(in_a_row)
        self.longest.assign(tf.maximum(self.longest, in_a_row))
        return take, gradients

    def _limited(
        self, finite: Tensor, gradients: Gradients, scale: Any
    ) -> tuple[Tensor, Gradients]:
        """Returns whether to take a step for the norm of its gradients, and what to take.

        Gradients of a scaled loss that overflow are left to the optimiser, which lowers the scale.
        """
        given = [tf.convert_to_tensor(g) for g, _ in gradients if g is not None]
        norm = _norm(given)
        if scale is not None:
            norm /= tf.cast(scale, tf.float32)
            overflows = tf.logical_not(tf.math.is_finite(norm))
        else:
            overflows = tf.constant(False)
        take = finite & ((norm <= self.limit) | (self.limited >= MOST_LIMITED) | overflows)
        self.limited.assign(
            tf.where(take, tf.constant(0, tf.int64), self.limited + tf.cast(finite, tf.int64))
        )
        share = tf.minimum(1.0, self.limit / tf.where(take & ~overflows, norm, 1.0))
        share = tf.where(overflows, 1.0, share)
        dense = iter(given)
        return take, [
            (g if g is None else _times(next(dense), share), variable) for g, variable in gradients
        ]

    def lost(self) -> bool:
        """Returns whether the last step was left out because it was not finite."""
        return int(self.in_a_row.numpy()) > 0

    def report(self, x: Tensor) -> None:
        """Shows a batch that was left out to the watcher."""
        own = weakref.ref(self)  # TensorFlow keeps such a function for ever

        def show(values: np.ndarray) -> None:
            guard = own()
            if guard is not None and guard.watcher is not None:
                guard.watcher(values)

        tf.numpy_function(show, [x], [])


def _lost_together(optimizer: Any, gradients: Gradients) -> Gradients:
    """Returns gradients that overflow on every replica where they do on one of several.

    Keras asks each replica, or the first one, whether a scaled loss overflowed, and then takes the
    step or leaves it: as if gradients were summed by then, which they are not.
    """
    given = [gradient for gradient, _ in gradients if gradient is not None]
    if not given or distribute.num_replicas() == 1:
        return gradients
    finite = tf.cast(optimizer.check_finite(given), tf.float32)
    lost = distribute.global_sum(1.0 - finite) > 0.0
    poison = tf.where(lost, float("nan"), 0.0)
    return [
        (g if g is None else tf.convert_to_tensor(g) + tf.cast(poison, g.dtype), v)
        for g, v in gradients
    ]


def _norm(gradients: list[Tensor]) -> Tensor:
    """Returns the norm of all gradients, which does not overflow where they do not."""
    wide = [tf.cast(gradient, tf.float32) for gradient in gradients]
    most = tf.reduce_max(tf.stack([tf.reduce_max(tf.abs(each)) for each in wide]))
    return most * tf.linalg.global_norm([tf.math.divide_no_nan(each, most) for each in wide])


def _sum(values: Tensor) -> Tensor:
    """Returns the sum of values, which is finite where all are, in one pass over the cache.

    By products with ones, which take TensorFlow's CPU kernels a third of the time of its sums.
    """
    wide = tf.cast(values, tf.float32)
    if (wide.shape.rank or 0) > 1 and wide.shape[-1]:
        rows = wide if wide.shape.rank == 2 else tf.reshape(wide, [-1, wide.shape[-1]])
        wide = tf.matmul(rows, tf.ones([wide.shape[-1], 1]))
    return tf.reduce_sum(wide)


def _times(gradient: Tensor, factor: Tensor) -> Tensor:
    return gradient * tf.cast(factor, gradient.dtype)


def _counter(name: str) -> tf.Variable:
    return tf.Variable(
        tf.zeros([], tf.int64),
        trainable=False,
        name=name,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


def _replicas() -> Tensor:
    return tf.constant(distribute.num_replicas(), tf.float32)


def step_if(
    take: Tensor,
    optimizer: keras.optimizers.Optimizer,
    gradients: Gradients,
    then: Callable[[], None],
    otherwise: Callable[[], None],
) -> None:
    """Applies gradients and calls `then` where a step is to be taken, and else calls `otherwise`.

    Without a strategy that is one branch. One that merges replicas, be it only one, does not allow
    that in a branch of a replica, so it is asked to branch itself, and the replicas branch again.
    """
    values = [gradient for gradient, _ in gradients]
    variables = [variable for _, variable in gradients]

    def apply(*tensors: Tensor) -> None:
        with optimizing.fused(optimizer):
            optimizer.apply_gradients(zip(tensors, variables))

    def both() -> None:
        if gradients:
            apply(*values)
        then()

    if not distribute.merges():
        tf.cond(take, lambda: _done(both), lambda: _done(otherwise))
        return

    def across(strategy: Any, take: Any, *tensors: Any) -> None:
        first = strategy.experimental_local_results(take)[0]

        def every() -> Tensor:
            strategy.extended.call_for_each_replica(apply, args=tensors)
            return tf.constant(0)

        tf.cond(first, every, lambda: tf.constant(0))

    if gradients:
        tf.distribute.get_replica_context().merge_call(across, args=(take, *values))
    tf.cond(take, lambda: _done(then), lambda: _done(otherwise))


def _done(function: Callable[[], None]) -> Tensor:
    function()
    return tf.constant(0)


def put_back(take: Tensor, variables: list[Any], before: list[Tensor]) -> None:
    """Gives variables their values of before where a step was not taken."""
    for variable, value in zip(variables, before):
        now = tf.convert_to_tensor(variable)
        variable.assign(tf.where(take, now, value))
