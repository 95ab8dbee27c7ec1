"""Invertible maps with known log-determinants, for posteriors and priors. All are float32.

A map has `forward(x, ...)` and `inverse(y, ...)`, each of which returns its result (..., D) and the
log-determinant of the *forward* map there, (...).
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_vae._types import Tensor
from keras_vae.layers import MaskedDense

#: Standard deviation, relative to the usual, of the last kernel: maps start near the identity.
_SMALL = 0.01


class AutoregressiveNetwork(keras.layers.Layer):
    """Two numbers for each dimension, those of dimension d from x_0 to x_{d-1} and the context.

    Args:
        size: D.
        context_size: C.
        widths: Units of the hidden layers; at least D of each are made.
        activation: Of the hidden layers.
        second_bias: Where the second number starts.
        name: Of the layer.
    """

    def __init__(
        self,
        size: int,
        context_size: int,
        widths: Sequence[int],
        activation: str,
        second_bias: float,
        name: str,
    ) -> None:
        super().__init__(dtype="float32", name=name)
        self.activation = keras.activations.get(activation)
        degrees = [np.arange(1, size + 1), *(_spread(size, max(width, size)) for width in widths)]
        self.hidden = [
            MaskedDense(before, after, dtype="float32", name=f"hidden_{level}")
            for level, (before, after) in enumerate(zip(degrees, degrees[1:]))
        ]
        small = keras.initializers.VarianceScaling(_SMALL**2)
        self.outputs = [
            MaskedDense(degrees[-1], np.arange(size), small, bias, dtype="float32", name=name)
            for name, bias in (
                ("first", "zeros"),
                ("second", keras.initializers.Constant(second_bias)),
            )
        ]
        self.context = [
            keras.layers.Dense(
                len(layer.out_degrees),
                use_bias=False,
                dtype="float32",
                name=f"context_{layer.name}",
            )
            for layer in self.hidden
        ]
        for layer in (*self.hidden, *self.outputs):
            layer.build()
        for layer in self.context:
            layer.build((None, context_size))
        self.built = True

    def conditions(self, context: Tensor) -> list[Tensor]:
        """Returns what the context (..., C) adds to each hidden layer; found once for many x."""
        return [layer(context) for layer in self.context]

    def call(self, x: Tensor, conditions: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns both numbers, each (..., D), for x (..., D)."""
        for layer, condition in zip(self.hidden, conditions):
            x = self.activation(layer(x) + condition)
        first, second = self.outputs
        return first(x), second(x)


def _spread(size: int, width: int) -> np.ndarray:
    """Returns degrees 0 to D - 1 spread evenly over the units of a hidden layer."""
    return np.arange(width) * size // width


class GatedAutoregressive(keras.layers.Layer):
    """y = g x + (1 - g) m, with the gate g = sigmoid(s), and (m, s) autoregressive in x.

    One pass forward; D passes back, one dimension after the other.

    Args:
        size: D.
        context_size: C.
        widths: Units of the network's hidden layers.
        activation: Of the hidden layers.
        gate_bias: Where s starts; the larger, the nearer to the identity.
        name: Of the layer.

    Reference: Kingma et al., Improved Variational Inference with Inverse Autoregressive Flow, 2016,
    eq. 14 and algorithm 1.
    """

    def __init__(
        self,
        size: int,
        context_size: int,
        widths: Sequence[int],
        activation: str,
        gate_bias: float,
        name: str,
    ) -> None:
        super().__init__(dtype="float32", name=name)
        self.size = size
        self.network = AutoregressiveNetwork(
            size, context_size, widths, activation, gate_bias, "network"
        )
        self.built = True

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Returns y (..., D) and log |dy/dx| (...)."""
        mean, gate = self.network(x, self.network.conditions(context))
        y = tf.sigmoid(gate) * x + tf.sigmoid(-gate) * mean
        return y, tf.reduce_sum(tf.math.log_sigmoid(gate), -1)

    def inverse(self, y: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Returns x (..., D) and log |dy/dx| (...), for y whose shape is that of the result."""
        conditions = self.network.conditions(context)

        def solve(turn: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
            mean, gate = self.network(x, conditions)
            solved = (y - tf.sigmoid(-gate) * mean) / tf.sigmoid(gate)
            return turn + 1, tf.where(tf.range(self.size) == turn, solved, x)

        _, x = tf.while_loop(
            lambda turn, _: turn < self.size,
            solve,
            (tf.constant(0), tf.zeros_like(y)),
            maximum_iterations=self.size,
        )
        gate = self.network(x, conditions)[1]
        return x, tf.reduce_sum(tf.math.log_sigmoid(gate), -1)


class AffineCoupling(keras.layers.Layer):
    """y = x on every second dimension; on the others y = x exp(s) + t, with (s, t) of the first.

    Args:
        size: D.
        parity: 0 or 1, which dimensions stay.
        widths: Units of the network's hidden layers.
        bound: Of |s|, by a hyperbolic tangent.
        name: Of the layer.

    Reference: Dinh, Sohl-Dickstein and Bengio, Density Estimation Using Real NVP, 2017, eq. 7 to 9.
    """

    def __init__(
        self, size: int, parity: int, widths: Sequence[int], bound: float, name: str
    ) -> None:
        super().__init__(dtype="float32", name=name)
        self.bound = bound
        self.kept = (np.arange(size) % 2 == parity).astype(np.float32)
        self.network = []
        units = [size, *widths, 2 * size]
        for level, (before, after) in enumerate(zip(units, units[1:])):
            last = level == len(widths)
            layer = keras.layers.Dense(
                after,
                activation=None if last else "silu",
                kernel_initializer="zeros" if last else "glorot_uniform",
                dtype="float32",
                name=f"dense_{level}",
            )
            layer.build((None, before))
            self.network.append(layer)
        self.built = True

    def _scale_and_shift(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns s and t, each (..., D) and 0 on the dimensions that stay."""
        hidden = x * self.kept
        for layer in self.network:
            hidden = layer(hidden)
        raw, shift = tf.split(hidden, 2, axis=-1)
        moved = 1.0 - self.kept
        return moved * self.bound * tf.tanh(raw / self.bound), moved * shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns y (..., D) and log |dy/dx| (...)."""
        log_scale, shift = self._scale_and_shift(x)
        return x * tf.exp(log_scale) + shift, tf.reduce_sum(log_scale, -1)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Returns x (..., D) and log |dy/dx| (...)."""
        log_scale, shift = self._scale_and_shift(y)
        return (y - shift) * tf.exp(-log_scale), tf.reduce_sum(log_scale, -1)


def forward(steps: Sequence[Any], x: Tensor, *context: Tensor) -> tuple[Tensor, Tensor]:
    """Returns y (..., D) and log |dy/dx| (...) of steps, the dimensions reversed between them."""
    total = tf.zeros(tf.shape(x)[:-1])
    for number, step in enumerate(steps):
        x = tf.reverse(x, [-1]) if number else x
        x, log_determinant = step.forward(x, *context)
        total += log_determinant
    return x, total


def inverse(steps: Sequence[Any], y: Tensor, *context: Tensor) -> tuple[Tensor, Tensor]:
    """Returns x (..., D) and log |dy/dx| (...) of steps, the dimensions reversed between them."""
    total = tf.zeros(tf.shape(y)[:-1])
    for number, step in reversed(list(enumerate(steps))):
        y, log_determinant = step.inverse(y, *context)
        y = tf.reverse(y, [-1]) if number else y
        total += log_determinant
    return y, total
