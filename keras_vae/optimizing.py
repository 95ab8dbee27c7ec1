"""Adam's update as one operation per weight, where Keras takes two dozen for the same numbers."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_vae import distribute
from keras_vae._types import Tensor


@contextlib.contextmanager
def fused(optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Has Keras's Adam and AdamW update each weight by TensorFlow's one operation for it.

    The numbers are the same, to rounding: both compute in the order that the end of the paper's
    section 2 gives, with epsilon where Keras has it. What else an optimiser does (clipping, decay,
    averages, scaling) stays Keras's. Others, `amsgrad`, weights that are not float32, and several
    replicas are left as they are.

    Reference: Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015, algorithm 1.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if not _is_adam(inner) or distribute.num_replicas() > 1:
        yield
        return
    inner.__dict__["update_step"] = _Update(inner)  # in place of the method of the class
    try:
        yield
    finally:
        del inner.__dict__["update_step"]


def _is_adam(optimizer: Any) -> bool:
    parts = ("update_step", "assign_add", "assign_sub")
    plain = all(getattr(type(optimizer), p) is getattr(keras.optimizers.Adam, p) for p in parts)
    return plain and not optimizer.amsgrad


class _Update:
    """`update_step` of an Adam, for the weights of one step."""

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer
        self._powers: tuple[Tensor, ...] | None = None

    def __call__(self, gradient: Any, variable: tf.Variable, learning_rate: Any) -> None:
        optimizer = self._optimizer
        index = optimizer._get_variable_index(variable)
        momentum, velocity = optimizer._momentums[index].value, optimizer._velocities[index].value
        if isinstance(gradient, tf.IndexedSlices) or variable.dtype != tf.float32:
            type(optimizer).update_step(optimizer, gradient, variable, learning_rate)
            return
        if self._powers is None:
            step = tf.cast(optimizer.iterations + 1, tf.float32)
            betas = (optimizer.beta_1, optimizer.beta_2)
            self._powers = tuple(tf.pow(tf.cast(beta, tf.float32), step) for beta in betas)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=momentum.handle,
            v=velocity.handle,
            beta1_power=self._powers[0],
            beta2_power=self._powers[1],
            lr=tf.cast(learning_rate, tf.float32),
            beta1=tf.cast(optimizer.beta_1, tf.float32),
            beta2=tf.cast(optimizer.beta_2, tf.float32),
            epsilon=tf.cast(optimizer.epsilon, tf.float32),
            grad=tf.cast(gradient, tf.float32),
        )
