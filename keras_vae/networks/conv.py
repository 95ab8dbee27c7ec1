"""Convolutional bodies, for images and sequences of any size."""

import math
from collections.abc import Sequence
from typing import Any

import keras

from keras_vae import _checks
from keras_vae._registry import register
from keras_vae.networks import base
from keras_vae.networks.base import Network, Shape, Style

Filters = int | Sequence[int] | None


def conv_encoder(
    event_shape: Shape,
    filters: Filters = None,
    width: int = 256,
    activation: str = "silu",
    normalization: str | None = None,
    condition_size: int = 0,
) -> keras.Model:
    """Returns a convolutional encoder: (B, H, W, C) or (B, L, C) -> (B, width).

    Args:
        event_shape: (H, W, C) or (L, C), any sizes.
        filters: One number per halving of the image; by default from the shape, see `conv_levels`.
        width: Units of the dense layer at the end.
        activation: Name of a Keras activation.
        normalization: None, "batch", "layer" or "group".
        condition_size: How many numbers of a condition come as a second input, (B, C); 0 for none.
    """
    sides, filters = _levels(event_shape, filters)
    chosen = base.style(activation, normalization)
    inputs, x, condition = base.inputs(event_shape, condition_size, "x")
    hidden = base.beside(base.as_image(x, "encoder_image"), condition, "encoder_condition")
    for level, count in enumerate(filters):
        hidden = chosen.apply(base.down(count, sides[level]), hidden, f"encoder_conv_{level}")
    hidden = keras.layers.Flatten(name="encoder_flatten")(hidden)
    hidden = base.dense_stack(hidden, [width], chosen, "encoder")
    return keras.Model(inputs, hidden, name="encoder")


def conv_decoder(
    input_dim: int,
    output_shape: Shape,
    filters: Filters = None,
    width: int = 256,
    activation: str = "silu",
    normalization: str | None = None,
    condition_size: int = 0,
) -> keras.Model:
    """Returns the mirror image of `conv_encoder`: (B, input_dim) -> (B, *output_shape), float32.

    Sizes that a transposed convolution would overshoot are cropped, so any H x W comes back.
    """
    sides, filters = _levels(output_shape, filters)
    chosen = base.style(activation, normalization)
    inputs, z, condition = base.inputs((input_dim,), condition_size, "z")
    hidden = base.beside(z, condition, "decoder_condition")
    hidden = base.dense_stack(hidden, [width], chosen, "decoder")
    hidden = _seed(hidden, (*sides[-1], filters[-1]), chosen)
    for level in reversed(range(len(filters))):
        make = base.up(filters[max(level - 1, 0)], sides[level])
        hidden = chosen.apply(make, hidden, f"decoder_deconv_{level}")
        hidden = base.crop(hidden, sides[level], f"decoder_crop_{level}")
    outputs = base.parameters(hidden, output_shape, sides[0], chosen)
    return keras.Model(inputs, outputs, name="decoder")


def _seed(hidden: Any, shape: Shape, style: Style) -> Any:
    """Returns the smallest image. It is normalised as an image, whose channels share statistics."""
    plain = style.normalization is None
    dense = keras.layers.Dense(
        math.prod(shape), activation=style.activation if plain else None, name="decoder_seed"
    )
    hidden = keras.layers.Reshape(shape, name="decoder_seed_image")(dense(hidden))
    return hidden if plain else style.finish(hidden, "decoder_seed")


def _levels(event_shape: Shape, filters: Filters) -> tuple[list[Shape], tuple[int, ...]]:
    if len(event_shape) not in (2, 3):
        remedy = "Use network='dense'."
        if len(event_shape) == 1:
            remedy = (
                f"Add a channel axis, ({event_shape[0]}, 1), or use network='dense' or 'resnet'."
            )
        raise ValueError(
            f"The conv network received the event shape {event_shape}; expected (height, width, "
            f"channels) or (length, channels). {remedy}"
        )
    sides = base.image_sides(event_shape)
    counts = base.conv_levels(sides) if filters is None else _checks.integers("filters", filters)
    return base.halvings(sides, len(counts)), counts


@register("network", "conv")
class Conv(Network):
    """Convolutional bodies for images of any H x W x C and sequences of any L x C.

    See `conv_encoder` and `conv_decoder`. A side of 1 is neither halved nor convolved along.

    Args:
        filters: One number per halving of the image, outermost first; None derives them.
        width: Units of the dense layer next to the latents.
        activation: Name of a Keras activation.
        normalization: None, "batch", "layer" or "group", before each activation but that of the
            decoder's first layer.
    """

    def __init__(
        self,
        filters: Filters = None,
        width: int = 256,
        activation: str = "silu",
        normalization: str | None = None,
    ) -> None:
        self.filters = None if filters is None else _checks.integers("filters", filters)
        self.width = _checks.integer("width", width, maximum=_checks.WIDEST)
        self.activation, self.normalization = base.style(activation, normalization)

    def encoder(self, event_shape: Shape, condition_size: int = 0) -> keras.Model:
        """Returns `conv_encoder` with these options."""
        return conv_encoder(event_shape, **self._options(), condition_size=condition_size)

    def decoder(self, input_dim: int, output_shape: Shape, condition_size: int = 0) -> keras.Model:
        """Returns `conv_decoder` with these options."""
        options = {**self._options(), "condition_size": condition_size}
        return conv_decoder(input_dim, output_shape, **options)
