"""Reusable Keras layers: `Sampling`, `MaskedDense`."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_vae import _checks, distribute
from keras_vae._registry import PACKAGE
from keras_vae._types import Tensor


def reparameterize(mean: Tensor, log_stddev: Tensor, noise: Tensor) -> Tensor:
    """Returns mean + exp(log_stddev) * noise; gradients pass to mean and log_stddev.

    Reference: Kingma and Welling, Auto-Encoding Variational Bayes, 2014, section 2.4.
    """
    return mean + tf.exp(log_stddev) * noise


@keras.saving.register_keras_serializable(PACKAGE)
class Sampling(keras.layers.Layer):
    """Draws z = mean + exp(log_stddev) * epsilon with epsilon ~ N(0, I): the reparameterisation.

    The noise is a pure function of (seed, step, replica): it differs on every step and replica and
    is the same when a run is repeated. The layer counts its steps in a weight, which is saved with
    the model. A `VAE` owns one; it also serves a model of your own.

    Args:
        seed: Whole number or pair of them. Defaults to 0. Two layers of one seed draw equal noise,
            so give each layer of a model its own.

    Call arguments:
        inputs: `(mean, log_stddev)`, two float tensors of one shape (B, D).
        training: Without effect on the value; outside training the step is not counted.

    Returns: z (B, D), float32.

    Example:
    >>> import keras, keras_vae
    >>> x = keras.Input((784,))
    >>> mean, log_stddev = keras.layers.Dense(2)(x), keras.layers.Dense(2)(x)
    >>> keras_vae.layers.Sampling()((mean, log_stddev)).shape
    (None, 2)

    Reference: Kingma and Welling, Auto-Encoding Variational Bayes, 2014, section 2.4.
    """

    def __init__(self, seed: int | tuple[int, int] = 0, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **{k: v for k, v in kwargs.items() if k != "dtype"})
        self.seed = tuple(int(part) for part in _checks.seed_pair(seed))

    def build(self, input_shape: Any) -> None:
        """Makes the counter of steps."""
        self.step = self.add_weight(
            name="step",
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
        )

    def call(self, inputs: tuple[Tensor, Tensor], training: bool = False) -> Tensor:
        """Returns z for one batch of (mean, log_stddev)."""
        mean, log_stddev = inputs
        noise = self.noise(tf.shape(mean), self.step.value)
        if training:
            self.step.assign_add(1)
        return reparameterize(mean, log_stddev, noise)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the mean."""
        return input_shape[0]

    def seed_at(self, step: Tensor | int) -> Tensor:
        """Returns the int32[2] seed of `step` on this replica."""
        seed = tf.random.experimental.stateless_fold_in(
            tf.constant(self.seed, tf.int32), tf.cast(step, tf.int32)
        )
        return tf.random.experimental.stateless_fold_in(
            seed, tf.cast(distribute.replica_id(), tf.int32)
        )

    def noise(self, shape: Any, step: Tensor | int) -> Tensor:
        """Returns standard normal noise of `shape` for one training step, float32."""
        return tf.random.stateless_normal(shape, self.seed_at(step))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "seed": self.seed}


@keras.saving.register_keras_serializable(PACKAGE)
class MaskedDense(keras.layers.Layer):
    """A dense layer whose output j sees input i only where out_degrees[j] >= in_degrees[i].

    Layers in a row, inputs of degrees 1 to D and outputs of degrees 0 to D - 1, make output d a
    function of inputs 0 to d - 1 alone: an autoregressive network in one pass.

    Args:
        in_degrees: Whole numbers, one for each input.
        out_degrees: Whole numbers, one for each output.
        kernel_initializer: As in `keras.layers.Dense`.
        bias_initializer: As there.

    Call arguments:
        inputs: (..., I). Returns (..., O).

    Reference: Germain et al., MADE: Masked Autoencoder for Distribution Estimation, 2015, eq. 8.
    """

    def __init__(
        self,
        in_degrees: Sequence[int],
        out_degrees: Sequence[int],
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.in_degrees = tuple(int(degree) for degree in in_degrees)
        self.out_degrees = tuple(int(degree) for degree in out_degrees)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, input_shape: Any = None) -> None:
        """Makes kernel (I, O) and bias (O,)."""
        sizes = len(self.in_degrees), len(self.out_degrees)
        self.kernel = self.add_weight(
            name="kernel", shape=sizes, initializer=self.kernel_initializer
        )
        self.bias = self.add_weight(name="bias", shape=sizes[1:], initializer=self.bias_initializer)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        """Returns (..., O) for inputs (..., I)."""
        kernel = tf.convert_to_tensor(self.kernel)
        mask = tf.constant(np.less_equal.outer(self.in_degrees, self.out_degrees))
        return tf.tensordot(inputs, tf.where(mask, kernel, 0.0), 1) + self.bias

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the inputs with O in place of I."""
        return (*input_shape[:-1], len(self.out_degrees))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "in_degrees": list(self.in_degrees),
            "out_degrees": list(self.out_degrees),
            "kernel_initializer": serialize(self.kernel_initializer),
            "bias_initializer": serialize(self.bias_initializer),
        }
