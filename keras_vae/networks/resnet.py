"""Residual bodies: convolutional for images and sequences, dense for vectors."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import keras

from keras_vae import _checks
from keras_vae._registry import register
from keras_vae.networks import base
from keras_vae.networks.base import Network, Shape, Style

Filters = int | Sequence[int] | None


def resnet_encoder(
    event_shape: Shape,
    filters: Filters = None,
    blocks: int = 1,
    width: int | None = None,
    activation: str = "silu",
    normalization: str | None = "group",
    condition_size: int = 0,
) -> keras.Model:
    """Returns a residual encoder: (B, E) -> (B, width); options as in `ResNet`."""
    sides, filters, width = _levels(event_shape, filters, width)
    chosen = base.style(activation, normalization)
    inputs, x, condition = base.inputs(event_shape, condition_size, "x")
    hidden = base.as_image(x, "encoder_image") if sides[0] else x
    hidden = base.beside(hidden, condition, "encoder_condition")
    for level, count in enumerate(filters):
        make = base.down(count, sides[level])
        hidden = make(use_bias=chosen.bias, name=f"encoder_down_{level}")(hidden)
        hidden = _blocks(hidden, blocks, sides[level + 1], chosen, f"encoder_level_{level}")
    if sides[0]:
        hidden = keras.layers.Flatten(name="encoder_flatten")(hidden)
    return keras.Model(inputs, base.dense_stack(hidden, [width], chosen, "encoder"), name="encoder")


def resnet_decoder(
    input_dim: int,
    output_shape: Shape,
    filters: Filters = None,
    blocks: int = 1,
    width: int | None = None,
    activation: str = "silu",
    normalization: str | None = "group",
    condition_size: int = 0,
) -> keras.Model:
    """Returns the mirror image of `resnet_encoder`: (B, input_dim) -> (B, *output_shape), float32.

    Sizes that a transposed convolution would overshoot are cropped, so any H x W comes back.
    """
    sides, filters, width = _levels(output_shape, filters, width)
    chosen = base.style(activation, normalization)
    inputs, z, condition = base.inputs((input_dim,), condition_size, "z")
    hidden = base.beside(z, condition, "decoder_condition")
    hidden = base.dense_stack(hidden, [width], chosen, "decoder")
    hidden = _seed(hidden, (*sides[-1], filters[-1]), chosen)
    for level in reversed(range(len(filters))):
        hidden = _blocks(hidden, blocks, sides[level + 1], chosen, f"decoder_level_{level}")
        if level:
            make = base.up(filters[level - 1], sides[level])
            hidden = make(use_bias=chosen.bias, name=f"decoder_up_{level}")(hidden)
        elif sides[0]:  # of a vector, the layer of the parameters is the last way up
            hidden = chosen.apply(base.up(filters[0], sides[0]), hidden, "decoder_up_0")
        hidden = base.crop(hidden, sides[level], f"decoder_crop_{level}")
    outputs = base.parameters(hidden, output_shape, sides[0], chosen)
    return keras.Model(inputs, outputs, name="decoder")


def _blocks(hidden: Any, count: int, sides: Shape, style: Style, name: str) -> Any:
    """Returns residual blocks, then normalisation and activation."""
    for place in range(count):
        hidden = _block(hidden, sides, style, f"{name}_block_{place}")
    return style.finish(hidden, name)


def _block(hidden: Any, sides: Shape, style: Style, name: str) -> Any:
    """Returns a residual block that activates first and starts as the identity.

    So a body of any depth starts as one without blocks, and the first loss does not depend on it.
    """
    make = base.linear(hidden.shape[-1], sides)
    last = functools.partial(make, kernel_initializer="zeros", use_bias=style.bias)
    inner = style.apply(make, style.finish(hidden, f"{name}_start"), f"{name}_first")
    return keras.layers.Add(name=f"{name}_sum")([hidden, last(name=f"{name}_last")(inner)])


def _seed(hidden: Any, shape: Shape, style: Style) -> Any:
    """Returns where the decoder's levels start, a vector or the smallest image."""
    image = len(shape) > 1
    # The bias of an image is one number per pixel, which batch normalisation does not take away.
    dense = keras.layers.Dense(math.prod(shape), use_bias=image or style.bias, name="decoder_seed")
    hidden = dense(hidden)
    return keras.layers.Reshape(shape, name="decoder_seed_image")(hidden) if image else hidden


def _levels(
    event_shape: Shape, filters: Filters, width: int | None
) -> tuple[list[Shape], tuple[int, ...], int]:
    """Returns the sides at each level (none for a vector), the filters and the width."""
    rank = len(event_shape)
    if rank not in (1, 2, 3):
        raise ValueError(
            f"The resnet network received the event shape {event_shape}; expected (height, width, "
            "channels), (length, channels) or (features,). Use network='dense'."
        )
    sides = base.image_sides(event_shape) if rank > 1 else ()
    if filters is None:
        counts = base.conv_levels(sides) if sides else base.dense_widths(event_shape)[:1]
    else:
        counts = _checks.integers("filters", filters)
    width = (256 if sides else counts[-1]) if width is None else width
    return base.halvings(sides, len(counts)), counts, width


@register("network", "resnet")
class ResNet(Network):
    """Residual bodies for images H x W x C, sequences L x C and vectors, of any size.

    Each level is a strided convolution (of a vector: a dense layer) and residual blocks of two
    convolutions of 3 x 3 (of a vector: two dense layers), which activate first and start as the
    identity. The decoder is the mirror image. See `resnet_encoder` and `resnet_decoder`.

    Args:
        filters: Channels of each level, outermost first. None derives them: of images and sequences
            as `conv` does, one level per halving; of a vector one level, as wide as a layer of
            `dense`.
        blocks: Residual blocks of each level.
        width: Units of the dense layer next to the latents; None makes 256, or for a vector as many
            as the last level has.
        activation: Name of a Keras activation.
        normalization: None, "batch", "layer" or "group", before each activation but that of the
            decoder's first layer. "group" is the default because a few hundred steps on MNIST
            were 8 nats better with it than without, and it does not couple the examples of a batch.

    Reference: He, Zhang, Ren and Sun, Identity Mappings in Deep Residual Networks, 2016.
    """

    def __init__(
        self,
        filters: Filters = None,
        blocks: int = 1,
        width: int | None = None,
        activation: str = "silu",
        normalization: str | None = "group",
    ) -> None:
        self.filters = None if filters is None else _checks.integers("filters", filters)
        self.blocks = _checks.integer("blocks", blocks, maximum=_checks.DEEPEST)
        self.width = (
            None if width is None else _checks.integer("width", width, maximum=_checks.WIDEST)
        )
        self.activation, self.normalization = base.style(activation, normalization)

    def encoder(self, event_shape: Shape, condition_size: int = 0) -> keras.Model:
        """Returns `resnet_encoder` with these options."""
        return resnet_encoder(event_shape, **self._options(), condition_size=condition_size)

    def decoder(self, input_dim: int, output_shape: Shape, condition_size: int = 0) -> keras.Model:
        """Returns `resnet_decoder` with these options."""
        options = {**self._options(), "condition_size": condition_size}
        return resnet_decoder(input_dim, output_shape, **options)
