"""Dense layers with masks: `MaskedDense`."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_vae._registry import PACKAGE
from keras_vae._types import Tensor


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
