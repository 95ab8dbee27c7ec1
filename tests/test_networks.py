"""Encoder and decoder bodies have exact shapes, explicit names and float32 ends."""

import keras
import numpy as np
import pytest

from keras_vae import networks
from keras_vae.networks import Conv, Dense

IMAGES = [(28, 28, 1), (37, 53, 2), (1, 17, 1), (64, 64, 3)]
EVENTS = [*IMAGES, (5,), (2, 3, 4)]
CASES = [(Dense((8,)), shape) for shape in EVENTS] + [
    (Conv(filters, 8), shape)
    for shape in [*IMAGES, (2, 3, 4)]
    for filters in ([3] * len(networks.conv_levels(shape)), (3, 4), (2,), (2, 3, 2, 3, 2, 3, 2))
]
every_case = pytest.mark.parametrize(
    ("network", "shape"),
    CASES,
    ids=[f"{n.short_name}{getattr(n, 'filters', '')}-{s}" for n, s in CASES],
)


def layers_of(*bodies, kind=keras.layers.Layer):
    return [layer for body in bodies for layer in body.layers if isinstance(layer, kind)]


def numbers(layers, attribute):
    return [getattr(layer, attribute) for layer in layers]


# shapes


@every_case
def test_bodies_return_exactly_the_shapes_asked_for(network, shape):
    encoder, decoder = network.encoder(shape), network.decoder(3, shape)
    assert encoder.input_shape == (None, *shape)
    assert encoder.output_shape == (None, 8)
    assert decoder.input_shape == (None, 3)
    assert decoder.output_shape == (None, *shape)
    features = encoder(np.zeros((2, *shape), np.float32))
    assert features.shape == (2, 8)
    assert decoder(np.zeros((2, 3), np.float32)).shape == (2, *shape)


@pytest.mark.parametrize("shape", IMAGES)
def test_a_decoder_may_return_two_numbers_per_element(shape):
    params = (*shape[:-1], 2 * shape[-1])
    assert Conv((2, 3), 4).decoder(2, params).output_shape == (None, *params)
    assert Dense((4,)).decoder(2, params).output_shape == (None, *params)


@pytest.mark.parametrize(
    ("shape", "filters"),
    [
        ((28, 28, 1), (32, 64)),
        ((8, 8, 1), (32,)),
        ((7, 7, 3), (32,)),
        ((1, 17, 1), (32, 64)),
        ((14, 15, 2), (32, 64)),
        ((37, 53, 2), (32, 64, 128)),
        ((64, 64, 3), (32, 64, 128, 256)),
        ((500, 1, 1), (32, 64, 128, 256, 256, 256, 256)),
    ],
)
def test_default_filters_halve_until_no_side_is_above_7(shape, filters):
    assert networks.conv_levels(shape) == filters
    side = max(shape[:2])
    for _ in filters:
        side = -(-side // 2)
    assert side <= 7


def test_the_default_conv_network_follows_the_shape():
    encoder, decoder = Conv(width=8).encoder((9, 20, 1)), Conv(width=8).decoder(2, (9, 20, 1))
    down = layers_of(encoder, kind=keras.layers.Conv2D)
    assert numbers(down, "filters") == [32, 64]
    assert down[-1].output.shape == (None, 3, 5, 64)
    (start,) = layers_of(decoder, kind=keras.layers.Reshape)
    assert start.output.shape == (None, 3, 5, 64)
    assert len(layers_of(decoder, kind=keras.layers.Conv2DTranspose)) == 2
    assert decoder.output_shape == (None, 9, 20, 1)


def test_a_side_of_one_is_not_halved():
    down = layers_of(Conv((2, 3), 4).encoder((1, 17, 1)), kind=keras.layers.Conv2D)
    assert numbers(down, "strides") == [(1, 2), (1, 2)]
    assert down[-1].output.shape == (None, 1, 5, 3)


# names


@every_case
def test_every_name_is_explicit(network, shape):
    first = layers_of(network.encoder(shape), network.decoder(3, shape))
    second = layers_of(network.encoder(shape), network.decoder(3, shape))
    assert [layer.name for layer in first] == [layer.name for layer in second]
    paths = [
        [weight.path for layer in layers for weight in layer.weights] for layers in (first, second)
    ]
    assert paths[0] == paths[1]


@every_case
def test_no_two_layers_of_a_model_share_a_name(network, shape):
    names = numbers(layers_of(network.encoder(shape), network.decoder(3, shape)), "name")
    assert len(set(names)) == len(names)


def test_bodies_and_inputs_are_called_by_their_roles():
    for network in (Dense((4,)), Conv((2,), 4)):
        encoder, decoder = network.encoder((8, 8, 1)), network.decoder(2, (8, 8, 1))
        assert (encoder.name, encoder.inputs[0].name) == ("encoder", "x")
        assert (decoder.name, decoder.inputs[0].name) == ("decoder", "z")


# precision


@pytest.mark.parametrize("network", [Dense((8,)), Conv((3,), 8)])
def test_the_last_layer_is_float32_under_a_mixed_policy(network, policy):
    policy("mixed_bfloat16")
    encoder, decoder = network.encoder((8, 8, 1)), network.decoder(3, (8, 8, 1))
    assert {layer.compute_dtype for layer in encoder.layers} == {"bfloat16"}
    weighty = [layer for layer in layers_of(decoder) if layer.weights]
    assert {layer.compute_dtype for layer in weighty[:-1]} == {"bfloat16"}
    assert weighty[-1].compute_dtype == "float32"
    assert decoder.layers[-1].compute_dtype == "float32"
    assert decoder.output.dtype == "float32"
    assert decoder(np.ones((2, 3), np.float32)).dtype == "float32"
    assert {weight.dtype for weight in decoder.weights} == {"float32"}


# options


def test_dense_options_reach_the_layers():
    network = Dense((8, 4), "tanh")
    bodies = network.encoder((6,)), network.decoder(2, (6,))
    layers = layers_of(*bodies, kind=keras.layers.Dense)
    assert numbers(layers, "units") == [8, 4, 4, 8, 6]
    tanh, linear = keras.activations.tanh, keras.activations.linear
    assert numbers(layers, "activation") == [tanh, tanh, tanh, tanh, linear]


def test_conv_options_reach_the_layers():
    network = Conv([3, 5], 7, "relu")
    encoder, decoder = network.encoder((8, 8, 1)), network.decoder(2, (8, 8, 1))
    assert numbers(layers_of(encoder, kind=keras.layers.Conv2D), "filters") == [3, 5]
    assert numbers(layers_of(encoder, kind=keras.layers.Dense), "units") == [7]
    assert numbers(layers_of(decoder, kind=keras.layers.Dense), "units") == [7, 2 * 2 * 5]
    assert numbers(layers_of(decoder, kind=keras.layers.Conv2D), "filters") == [1]
    *hidden, last = [layer for layer in layers_of(encoder, decoder) if layer.weights]
    assert {layer.activation for layer in hidden} == {keras.activations.relu}
    assert last.activation is keras.activations.linear


def test_a_dense_network_may_have_no_hidden_layer():
    assert Dense(()).encoder((2, 3)).output_shape == (None, 6)
    assert Dense([]).decoder(4, (2, 3)).output_shape == (None, 2, 3)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: Dense((0,)).encoder((6,)),
            ValueError,
            r"widths\[0\] is 0; expected a whole number",
        ),
        (lambda: Dense((8, -1)).decoder(2, (6,)), ValueError, r"widths\[1\] is -1"),
        (lambda: Dense((8.5,)).encoder((6,)), TypeError, r"widths\[0\] is 8.5"),
        (lambda: Dense(-8), ValueError, r"widths\[0\] is -8"),
        (lambda: Dense(None), TypeError, "widths is None"),
        (lambda: Dense((8,), "sillu").encoder((6,)), ValueError, "sillu"),
        (lambda: Conv((0,)).encoder((8, 8, 1)), ValueError, r"filters\[0\] is 0"),
        (lambda: Conv((2.5,)).encoder((8, 8, 1)), TypeError, r"filters\[0\] is 2.5"),
        (lambda: Conv("8"), TypeError, "filters is '8'"),
        (lambda: Conv(()).decoder(2, (8, 8, 1)), TypeError, "filters is \\(\\)"),
        (lambda: Conv(width=0), ValueError, "width is 0"),
        (lambda: Conv(width="8"), TypeError, "width is '8'"),
    ],
)
def test_bad_options_are_refused_by_name(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize("shape", [(5,), (8, 8), (2, 8, 8, 1)])
def test_conv_refuses_events_of_another_rank_and_names_the_way_out(shape):
    for build in (lambda: Conv((2,)).encoder(shape), lambda: Conv((2,)).decoder(2, shape)):
        with pytest.raises(ValueError, match="received the event shape") as caught:
            build()
        message = str(caught.value)
        assert str(shape) in message
        assert "expected (height, width, channels)" in message
        assert "network='dense'" in message


# get


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((28, 28, 1), Conv),
        ((8, 8, 1), Conv),
        ((37, 53, 2), Conv),
        ((7, 28, 1), Dense),
        ((28, 7, 1), Dense),
        ((1, 17, 1), Dense),
        ((2, 3, 4), Dense),
        ((28, 28), Dense),
        ((5,), Dense),
        ((9, 9, 9, 1), Dense),
    ],
)
def test_the_choice_follows_the_shape(shape, kind):
    assert type(networks.get(None, shape)) is kind


def test_a_name_an_instance_and_a_config_overrule_the_shape():
    dense = networks.get("dense:widths=[8,4]", (28, 28, 1))
    assert type(dense) is Dense
    assert dense.widths == (8, 4)
    assert networks.get(dense, (28, 28, 1)) is dense
    again = networks.get(keras.saving.serialize_keras_object(dense), (28, 28, 1))
    assert (type(again), again.widths, again.activation) == (Dense, (8, 4), "silu")


def test_an_unknown_network_is_refused_with_a_near_match():
    with pytest.raises(ValueError, match="Unknown network 'cnov'.*Did you mean 'conv'"):
        networks.get("cnov", (8, 8, 1))
