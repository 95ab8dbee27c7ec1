"""Encoder and decoder bodies for events of any shape. They know no probability.

An encoder maps (B, E) to features of any shape; the posterior projects them. A decoder maps (B, F)
to the parameters of the likelihood, whose shape it is told. Every layer has an explicit name:
automatic ones change the order in which sums are evaluated, and with it the last bits.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_vae import _checks, _registry
from keras_vae._registry import register

Shape = tuple[int, ...]


def dense_encoder(
    event_shape: Shape, widths: int | Sequence[int] = (512, 512), activation: str = "silu"
) -> keras.Model:
    """Returns a fully connected encoder: (B, E) -> (B, widths[-1])."""
    inputs = keras.Input(event_shape, name="x")
    hidden = keras.layers.Flatten(name="encoder_flatten")(inputs)
    return keras.Model(inputs, _dense_stack(hidden, widths, activation, "encoder"), name="encoder")


def dense_decoder(
    input_dim: int,
    output_shape: Shape,
    widths: int | Sequence[int] = (512, 512),
    activation: str = "silu",
) -> keras.Model:
    """Returns a fully connected decoder: (B, input_dim) -> (B, *output_shape), float32."""
    inputs = keras.Input((input_dim,), name="z")
    hidden = _dense_stack(inputs, widths, activation, "decoder")
    flat = keras.layers.Dense(math.prod(output_shape), dtype="float32", name="decoder_parameters")(
        hidden
    )
    outputs = keras.layers.Reshape(output_shape, dtype="float32", name="decoder_event")(flat)
    return keras.Model(inputs, outputs, name="decoder")


def conv_encoder(
    event_shape: Shape,
    filters: int | Sequence[int] | None = None,
    width: int = 256,
    activation: str = "silu",
) -> keras.Model:
    """Returns a convolutional encoder: (B, H, W, C) -> (B, width).

    Args:
        event_shape: (H, W, C), any sizes.
        filters: One number per halving of the image; by default from the shape, see `conv_levels`.
        width: Units of the dense layer at the end.
        activation: Name of a Keras activation.
    """
    filters = _filters(event_shape, filters)
    inputs = keras.Input(event_shape, name="x")
    hidden = inputs
    for level, (count, sizes) in enumerate(zip(filters, _sizes(event_shape, len(filters)))):
        hidden = keras.layers.Conv2D(
            count, 3, _strides(sizes), "same", activation=activation, name=f"encoder_conv_{level}"
        )(hidden)
    hidden = keras.layers.Flatten(name="encoder_flatten")(hidden)
    return keras.Model(inputs, _dense_stack(hidden, [width], activation, "encoder"), name="encoder")


def conv_decoder(
    input_dim: int,
    output_shape: Shape,
    filters: int | Sequence[int] | None = None,
    width: int = 256,
    activation: str = "silu",
) -> keras.Model:
    """Returns the mirror image of `conv_encoder`: (B, input_dim) -> (B, H, W, C), float32.

    Sizes that a transposed convolution would overshoot are cropped, so any H x W comes back.
    """
    filters = _filters(output_shape, filters)
    sizes = _sizes(output_shape, len(filters) + 1)
    inputs = keras.Input((input_dim,), name="z")
    hidden = _dense_stack(inputs, [width], activation, "decoder")
    start = (*sizes[-1], filters[-1])
    hidden = keras.layers.Dense(math.prod(start), activation=activation, name="decoder_seed")(
        hidden
    )
    hidden = keras.layers.Reshape(start, name="decoder_seed_image")(hidden)
    for level in reversed(range(len(filters))):
        strides = _strides(sizes[level])
        hidden = keras.layers.Conv2DTranspose(
            filters[max(level - 1, 0)],
            3,
            strides,
            "same",
            activation=activation,
            name=f"decoder_deconv_{level}",
        )(hidden)
        excess = [n * s - m for n, s, m in zip(sizes[level + 1], strides, sizes[level])]
        if any(excess):
            hidden = keras.layers.Cropping2D(
                ((0, excess[0]), (0, excess[1])), name=f"decoder_crop_{level}"
            )(hidden)
    outputs = keras.layers.Conv2D(
        output_shape[-1], 3, padding="same", dtype="float32", name="decoder_parameters"
    )(hidden)
    return keras.Model(inputs, outputs, name="decoder")


def conv_levels(event_shape: Shape) -> tuple[int, ...]:
    """Returns default filter counts: one halving at a time until no side is above 7, 32 to 256."""
    sides, levels = event_shape[:2], 1
    while max(sides) > 14:
        sides, levels = tuple(-(-side // 2) for side in sides), levels + 1
    return tuple(min(32 * 2**level, 256) for level in range(levels))


def set_output(decoder: keras.Model, outputs: np.ndarray) -> bool:
    """Sets the bias of a decoder's last layer, so that outputs start near these.

    Args:
        decoder: Any model that ends in a linear layer with a bias.
        outputs: Shape of the decoder's outputs without the batch axis. A convolution, whose bias is
            one number per channel, gets their mean over the pixels.

    Returns: whether there was such a layer.
    """
    with_weights = [layer for layer in decoder.layers if layer.weights]
    last = with_weights[-1] if with_weights else None
    bias = getattr(last, "bias", None)
    linear = getattr(last, "activation", None) in (None, keras.activations.linear)
    if bias is None or not linear:
        return False
    per_channel = outputs.reshape(-1, outputs.shape[-1]).mean(0)
    fitting = [each for each in (outputs.ravel(), per_channel) if each.shape == bias.shape]
    if fitting:
        bias.assign(fitting[0])
    return bool(fitting)


def _filters(event_shape: Shape, filters: int | Sequence[int] | None) -> tuple[int, ...]:
    if len(event_shape) != 3:
        raise ValueError(
            f"The conv network received the event shape {event_shape}; expected (height, width, "
            "channels). Add a channel axis, or use network='dense'."
        )
    if filters is None:
        return conv_levels(event_shape)
    return _checks.integers("filters", filters)


def _strides(sides: Shape) -> Shape:
    return tuple(2 if side > 1 else 1 for side in sides)


def _sizes(event_shape: Shape, levels: int) -> list[Shape]:
    """Returns the height and width at the entrance of each level."""
    sizes = [tuple(event_shape[:2])]
    while len(sizes) < levels:
        sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
    return sizes


def _dense_stack(hidden: Any, widths: int | Sequence[int], activation: str, role: str) -> Any:
    for level, units in enumerate(_checks.integers("widths", widths, fewest=0)):
        hidden = keras.layers.Dense(units, activation=activation, name=f"{role}_dense_{level}")(
            hidden
        )
    return hidden


class Network(_registry.Configurable):
    """A pair of bodies with shared options. A new one writes `encoder` and `decoder`."""

    def encoder(self, event_shape: Shape) -> keras.Model:
        """Returns a model from (B, E) to features."""
        raise NotImplementedError

    def decoder(self, input_dim: int, output_shape: Shape) -> keras.Model:
        """Returns a model from (B, input_dim) to (B, *output_shape), float32."""
        raise NotImplementedError


@register("network", "dense")
class Dense(Network):
    """Fully connected bodies for events of any rank; see `dense_encoder` and `dense_decoder`.

    Args:
        widths: Units of each hidden layer of the encoder; the decoder has them in reverse.
        activation: Name of a Keras activation.
    """

    def __init__(self, widths: int | Sequence[int] = (512, 512), activation: str = "silu") -> None:
        self.widths = _checks.integers("widths", widths, fewest=0)
        self.activation = activation

    def encoder(self, event_shape: Shape) -> keras.Model:
        """Returns `dense_encoder` with these options."""
        return dense_encoder(event_shape, self.widths, self.activation)

    def decoder(self, input_dim: int, output_shape: Shape) -> keras.Model:
        """Returns `dense_decoder` with these options, widths reversed."""
        return dense_decoder(input_dim, output_shape, self.widths[::-1], self.activation)


@register("network", "conv")
class Conv(Network):
    """Convolutional bodies for images of any H x W x C; see `conv_encoder` and `conv_decoder`.

    Args:
        filters: One number per halving of the image, outermost first; None derives them.
        width: Units of the dense layer next to the latents.
        activation: Name of a Keras activation.
    """

    def __init__(
        self, filters: int | Sequence[int] | None = None, width: int = 256, activation: str = "silu"
    ) -> None:
        self.filters = None if filters is None else _checks.integers("filters", filters)
        self.width = _checks.integer("width", width)
        self.activation = activation

    def encoder(self, event_shape: Shape) -> keras.Model:
        """Returns `conv_encoder` with these options."""
        return conv_encoder(event_shape, self.filters, self.width, self.activation)

    def decoder(self, input_dim: int, output_shape: Shape) -> keras.Model:
        """Returns `conv_decoder` with these options."""
        return conv_decoder(input_dim, output_shape, self.filters, self.width, self.activation)


def get(identifier: Any, event_shape: Shape) -> Network:
    """Returns a network from a name, config or instance; None picks by the event's shape.

    Images with both sides of at least 8 get "conv", everything else "dense".
    """
    if identifier is None:
        image = len(event_shape) == 3 and min(event_shape[:2]) >= 8
        identifier = "conv" if image else "dense"
    network: Network = _registry.get("network", identifier)
    return network
