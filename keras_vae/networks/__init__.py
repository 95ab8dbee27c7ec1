"""Encoder and decoder bodies for events of any shape. They know no probability.

An encoder maps (B, E) to features of any shape; the posterior projects them. A decoder maps (B, F)
to the parameters of the likelihood, whose shape it is told. Every layer has an explicit name:
automatic ones change the order in which sums are evaluated, and with it the last bits.
"""

from typing import Any

from keras_vae import _registry
from keras_vae.networks.base import (
    NORMALIZATIONS,
    Network,
    Shape,
    conv_levels,
    dense_widths,
    set_output,
)
from keras_vae.networks.conv import Conv, conv_decoder, conv_encoder
from keras_vae.networks.dense import Dense, dense_decoder, dense_encoder
from keras_vae.networks.resnet import ResNet, resnet_decoder, resnet_encoder

__all__ = [
    "NORMALIZATIONS",
    "Conv",
    "Dense",
    "Network",
    "ResNet",
    "Shape",
    "conv_decoder",
    "conv_encoder",
    "conv_levels",
    "dense_decoder",
    "dense_encoder",
    "dense_widths",
    "get",
    "resnet_decoder",
    "resnet_encoder",
    "set_output",
]


def get(identifier: Any, event_shape: Shape) -> Network:
    """Returns a network from a name, config or instance; None picks by the event's shape.

    Images with both sides of at least 8 get "conv", everything else "dense".
    """
    if identifier is None:
        image = len(event_shape) == 3 and min(event_shape[:2]) >= 8
        identifier = "conv" if image else "dense"
    network: Network = _registry.get("network", identifier)
    return network
