"""What the bodies share: the contract, normalisation, the geometry of levels, the last layer."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_vae import _checks, _registry, layers

Shape = tuple[int, ...]
Make = Callable[..., Any]
NORMALIZATIONS = (None, "batch", "layer", "group")
#: Keras's 0.99 follows the weights so slowly that the first hundreds of validations mislead.
BATCH_MOMENTUM = 0.9
MOST_GROUPS, LEAST_CHANNELS = 8, 4
NARROWEST, WIDEST = 64, 512
#: Of a condition beside an image.
MOST_CHANNELS = 16


class Network(_registry.Configurable):
    """A pair of bodies with shared options. A new one writes `encoder` and `decoder`."""

    def encoder(self, event_shape: Shape, condition_size: int = 0) -> keras.Model:
        """Returns a model from (B, E) to features; from [(B, E), (B, C)] for C of at least 1."""
        raise NotImplementedError

    def decoder(self, input_dim: int, output_shape: Shape, condition_size: int = 0) -> keras.Model:
        """Returns a model from (B, input_dim) to (B, *output_shape), float32.

        For a condition of C numbers it is from [(B, input_dim), (B, C)].
        """
        raise NotImplementedError

    def _options(self) -> dict[str, Any]:
        """Returns the constructor's arguments, by name."""
        return {key: getattr(self, key) for key in self.get_config()}


# What a body is fed


def inputs(shape: Shape, condition_size: int, name: str) -> tuple[Any, Any, Any]:
    """Returns a body's inputs, and of these what it is fed and the condition, or None."""
    fed = keras.Input(shape, name=name)
    if not condition_size:
        return fed, fed, None
    condition = keras.Input((condition_size,), name="condition")
    return [fed, condition], fed, condition


def beside(hidden: Any, condition: Any, name: str) -> Any:
    """Returns hidden values (B, ..., C) with the condition on the last axis, if there is one.

    Every pixel of an image gets all of it, or a projection to 16 numbers where it has more.
    """
    if condition is None:
        return hidden
    sides = hidden.shape[1:-1]
    if sides:
        if condition.shape[-1] > MOST_CHANNELS:
            condition = keras.layers.Dense(MOST_CHANNELS, name=f"{name}_projected")(condition)
        condition = keras.layers.RepeatVector(math.prod(sides), name=f"{name}_repeated")(condition)
        shape = (*sides, condition.shape[-1])
        condition = keras.layers.Reshape(shape, name=f"{name}_image")(condition)
    return keras.layers.Concatenate(name=name)([hidden, condition])


# What follows a linear layer


class Style(NamedTuple):
    """What follows the linear layers of a body: a normalisation, then an activation.

    Attributes:
        activation: Name of a Keras activation.
        normalization: One of `NORMALIZATIONS`.
    """

    activation: Any
    normalization: str | None

    @property
    def bias(self) -> bool:
        """Whether a layer that only normalisations read has a bias of its own.

        Batch normalisation takes it away again. The others do not, and without it they would lose
        the scale of what they see: of one latent dimension, all but the sign.
        """
        return self.normalization != "batch"

    def apply(self, make: Make, hidden: Any, name: str) -> Any:
        """Returns normalisation and activation after the layer `make(name=..., ...)`."""
        if self.normalization is None:
            return make(activation=self.activation, name=name)(hidden)
        return self.finish(make(use_bias=self.bias, name=name)(hidden), name)

    def finish(self, hidden: Any, name: str) -> Any:
        """Returns normalisation and activation of what a linear layer gave."""
        if self.normalization is not None:
            hidden = _normalization(self.normalization, hidden.shape[-1], f"{name}_norm")(hidden)
        return keras.layers.Activation(self.activation, name=f"{name}_activation")(hidden)


def style(activation: Any, normalization: str | None) -> Style:
    """Returns the style of two options.

    Raises:
        ValueError: for an unknown name, naming a near one.
    """
    _checks.one_of("normalization", normalization, NORMALIZATIONS)
    try:
        keras.activations.get(activation)
    except (ValueError, TypeError) as error:
        known = [name for name in dir(keras.activations) if not name.startswith("_")]
        raise ValueError(
            f"activation is {activation!r}; expected the name of a Keras activation, such as "
            f"'silu', 'relu' or 'tanh'.{_checks.near(activation, known)}"
        ) from error
    return Style(activation, normalization)


def _normalization(kind: str, channels: int, name: str) -> Any:
    if kind == "batch":
        several = tf.distribute.get_strategy().num_replicas_in_sync > 1  # then over all of them
        return keras.layers.BatchNormalization(
            momentum=BATCH_MOMENTUM, synchronized=several, name=name
        )
    if kind == "layer":
        return keras.layers.LayerNormalization(name=name)
    return layers.GroupNormalization(groups(channels), name=name)


def groups(channels: int) -> int:
    """Returns into how many groups channels are normalised: at most 8, of at least 4 channels.

    A group of one channel of a vector would be normalised to 0, whatever it held.
    """
    fitting = [n for n in range(1, MOST_GROUPS + 1) if channels % n == 0]
    return max(n for n in fitting if n == 1 or channels // n >= LEAST_CHANNELS)


def dense_stack(hidden: Any, widths: Sequence[int], style: Style, role: str) -> Any:
    """Returns hidden dense layers of these widths, one after the other.

    The first layer of a decoder is not normalised: how far a latent is from 0 would be lost.
    """
    for level, units in enumerate(widths):
        plain = role == "decoder" and level == 0
        kept = style._replace(normalization=None) if plain else style
        make = functools.partial(keras.layers.Dense, units)
        hidden = kept.apply(make, hidden, f"{role}_dense_{level}")
    return hidden


# The geometry of levels. Sides are (height, width), or () for a vector.


def dense_widths(shape: Shape) -> tuple[int, int]:
    """Returns two default widths: the power of two at or above 4 units per element, 64 to 512.

    That is 512 from 65 elements on, 256 for 8 x 8 pixels, 64 for up to 16 elements.
    """
    power = 2 ** math.ceil(math.log2(4 * math.prod(shape)))
    width = min(max(power, NARROWEST), WIDEST)
    return width, width


def conv_levels(event_shape: Shape) -> tuple[int, ...]:
    """Returns default filter counts: one halving at a time until no side is above 7, 32 to 256."""
    sides, levels = event_shape[:2], 1
    while max(sides) > 14:
        sides, levels = tuple(-(-side // 2) for side in sides), levels + 1
    return tuple(min(32 * 2**level, 256) for level in range(levels))


def halvings(sides: Shape, levels: int) -> list[Shape]:
    """Returns the sides at the entrance of each level, and behind the last one."""
    sizes = [tuple(sides)]
    while len(sizes) <= levels:
        sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
    return sizes


def image_sides(event_shape: Shape) -> Shape:
    """Returns (height, width) of an image (H, W, C) or a sequence (L, C), which is L x 1."""
    return (event_shape[0], event_shape[1] if len(event_shape) == 3 else 1)


def as_image(hidden: Any, name: str) -> Any:
    """Returns a sequence (B, L, C) as images (B, L, 1, C), and images as they are."""
    if len(hidden.shape) == 4:
        return hidden
    length, channels = hidden.shape[1:]
    return keras.layers.Reshape((length, 1, channels), name=name)(hidden)


def linear(count: int, sides: Shape) -> Make:
    """Returns what makes a layer that keeps the sides: a convolution, or dense for a vector."""
    if not sides:
        return functools.partial(keras.layers.Dense, count)
    return functools.partial(layers.Conv2D, count, _kernel(sides), padding="same")


def down(count: int, sides: Shape) -> Make:
    """Returns what makes a layer that halves the sides, but for those of 1."""
    return functools.partial(linear(count, sides), **_strides(sides))


def up(count: int, sides: Shape) -> Make:
    """Returns what makes the mirror image of `down`; `crop` what it returns to the same sides."""
    if not sides:
        return linear(count, sides)
    return functools.partial(
        keras.layers.Conv2DTranspose, count, _kernel(sides), padding="same", **_strides(sides)
    )


def crop(hidden: Any, sides: Shape, name: str) -> Any:
    """Returns images (B, H, W, C) cut to these sides."""
    excess = [received - side for received, side in zip(hidden.shape[1:], sides)]
    if not any(excess):
        return hidden
    return keras.layers.Cropping2D([(0, more) for more in excess], name=name)(hidden)


def _kernel(sides: Shape) -> Shape:
    return tuple(3 if side > 1 else 1 for side in sides)


def _strides(sides: Shape) -> dict[str, Shape]:
    return {"strides": tuple(2 if side > 1 else 1 for side in sides)} if sides else {}


# The last layer


def parameters(hidden: Any, output_shape: Shape, sides: Shape, style: Style) -> Any:
    """Returns what the likelihood takes, (B, *output_shape), float32, of a linear layer.

    After normalisation, which makes hidden values large, its kernel starts small, so that the first
    loss is nearly that of parameters of 0.
    """
    count = output_shape[-1] if sides else math.prod(output_shape)
    options = {"dtype": "float32", "name": "decoder_parameters"}
    if style.normalization is not None:
        options["kernel_initializer"] = keras.initializers.VarianceScaling(0.1)
    outputs = linear(count, sides)(**options)(hidden)
    if outputs.shape[1:] == output_shape:
        return outputs
    return keras.layers.Reshape(output_shape, dtype="float32", name="decoder_event")(outputs)


def set_output(decoder: keras.Model, outputs: np.ndarray) -> bool:
    """Sets the bias of a decoder's last layer, so that outputs start near these.

    Args:
        decoder: A functional or sequential model that ends in a trainable linear layer with a bias,
            perhaps reshaped or cropped; others are left as they are.
        outputs: Shape of the decoder's outputs without the batch axis. A convolution, whose bias is
            one number per channel, gets their mean over the pixels.

    Returns: whether there was such a layer.
    """
    known = keras.layers.Reshape, keras.layers.Flatten, keras.layers.Cropping2D
    layers = decoder.layers if getattr(decoder, "outputs", None) else []
    last = next((layer for layer in reversed(layers) if not isinstance(layer, known)), None)
    bias = getattr(last, "bias", None) if last is not None and last.trainable else None
    linear = getattr(last, "activation", None) in (None, keras.activations.linear)
    if bias is None or not linear:
        return False
    per_channel = outputs.reshape(-1, outputs.shape[-1]).mean(0)
    fitting = [each for each in (outputs.ravel(), per_channel) if each.shape == bias.shape]
    if fitting:
        bias.assign(fitting[0])
    return bool(fitting)
