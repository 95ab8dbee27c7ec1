"""Noise: `Sampling` draws latents, reparameterised."""

from typing import Any

import keras
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
