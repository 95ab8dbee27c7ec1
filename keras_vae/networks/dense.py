"""Fully connected bodies, for events of any rank."""

from collections.abc import Sequence

import keras

from keras_vae import _checks
from keras_vae._registry import register
from keras_vae.networks import base
from keras_vae.networks.base import Network, Shape, dense_stack, dense_widths, parameters, style

Widths = int | Sequence[int] | None


def dense_encoder(
    event_shape: Shape,
    widths: Widths = None,
    activation: str = "silu",
    normalization: str | None = None,
    condition_size: int = 0,
) -> keras.Model:
    """Returns a fully connected encoder: (B, E) -> (B, widths[-1]); options as in `Dense`."""
    inputs, x, condition = base.inputs(event_shape, condition_size, "x")
    hidden = keras.layers.Flatten(name="encoder_flatten")(x)
    hidden = base.beside(hidden, condition, "encoder_condition")
    units = _units(widths, event_shape)
    hidden = dense_stack(hidden, units, style(activation, normalization), "encoder")
    return keras.Model(inputs, hidden, name="encoder")


def dense_decoder(
    input_dim: int,
    output_shape: Shape,
    widths: Widths = None,
    activation: str = "silu",
    normalization: str | None = None,
    condition_size: int = 0,
) -> keras.Model:
    """Returns a fully connected decoder: (B, input_dim) -> (B, *output_shape), float32."""
    chosen = style(activation, normalization)
    inputs, z, condition = base.inputs((input_dim,), condition_size, "z")
    hidden = base.beside(z, condition, "decoder_condition")
    hidden = dense_stack(hidden, _units(widths, output_shape), chosen, "decoder")
    return keras.Model(inputs, parameters(hidden, output_shape, (), chosen), name="decoder")


def _units(widths: Widths, shape: Shape) -> tuple[int, ...]:
    if widths is None:
        return dense_widths(shape)
    return _checks.integers("widths", widths, fewest=0)


@register("network", "dense")
class Dense(Network):
    """Fully connected bodies for events of any rank; see `dense_encoder` and `dense_decoder`.

    Args:
        widths: Units of each hidden layer of the encoder; the decoder has them in reverse. None
            makes two layers, each as wide as the power of two at or above four times the number of
            elements, but 64 to 512: (512, 512) for 28 x 28 pixels. A decoder counts the parameters
            that it returns.
        activation: Name of a Keras activation.
        normalization: None, "batch", "layer" or "group", before each activation but that of the
            decoder's first layer.
    """

    def __init__(
        self,
        widths: Widths = None,
        activation: str = "silu",
        normalization: str | None = None,
    ) -> None:
        self.widths = None if widths is None else _checks.integers("widths", widths, fewest=0)
        self.activation, self.normalization = style(activation, normalization)

    def encoder(self, event_shape: Shape, condition_size: int = 0) -> keras.Model:
        """Returns `dense_encoder` with these options."""
        return dense_encoder(event_shape, **self._options(), condition_size=condition_size)

    def decoder(self, input_dim: int, output_shape: Shape, condition_size: int = 0) -> keras.Model:
        """Returns `dense_decoder` with these options, widths reversed."""
        widths = None if self.widths is None else self.widths[::-1]
        options = {**self._options(), "widths": widths, "condition_size": condition_size}
        return dense_decoder(input_dim, output_shape, **options)
