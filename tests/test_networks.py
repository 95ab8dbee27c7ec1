"""Encoder and decoder bodies have exact shapes, explicit names and float32 ends."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_vae as kv
from keras_vae import networks
from keras_vae.networks import Conv, Dense, ResNet

IMAGES = [(28, 28, 1), (37, 53, 2), (1, 17, 1), (64, 64, 3), (128, 96, 3)]
SEQUENCES = [(7, 2), (1, 3), (17, 1)]
EVENTS = [*IMAGES, *SEQUENCES, (5,), (2, 3, 4), (2, 3, 2, 3)]
CASES = (
    [(Dense((8,)), shape) for shape in EVENTS]
    + [
        (Conv(filters, 8), shape)
        for shape in [*IMAGES, (2, 3, 4)]
        for filters in ([3] * len(networks.conv_levels(shape)), (3, 4), (2,), (2, 3, 2, 3, 2, 3, 2))
    ]
    + [(Conv((3, 4), 8), shape) for shape in SEQUENCES]
    + [(ResNet((3, 4), 1, 8), shape) for shape in [*IMAGES, *SEQUENCES, (5,), (2, 3, 4)]]
    + [(ResNet((2, 3, 2, 3, 2), 1, 8), (9, 13, 2)), (ResNet(3, 3, 8), (5, 6, 2))]
    + [
        (network, shape)
        for kind in networks.NORMALIZATIONS[1:]
        for network, shape in [
            (Dense((4, 8), normalization=kind), (5,)),
            (Conv((3, 4), 8, normalization=kind), (5, 6, 2)),
            (ResNet((3, 4), 2, 8, normalization=kind), (5, 6, 2)),
            (ResNet((3, 4), 2, 8, normalization=kind), (5,)),
        ]
    ]
)
every_case = pytest.mark.parametrize(
    ("network", "shape"),
    CASES,
    ids=[f"{n.short_name}-{getattr(n, 'filters', '')}-{n.normalization}-{s}" for n, s in CASES],
)
#: Every network with its defaults, wherever it takes the event.
DEFAULTS = [
    (name, shape)
    for shape in [*IMAGES, *SEQUENCES, (5,), (200,)]
    for name in ("dense", "conv", "resnet")
    if name != "conv" or len(shape) > 1
]
every_normalization = pytest.mark.parametrize("normalization", networks.NORMALIZATIONS)


def layers_of(*bodies, kind=keras.layers.Layer):
    return [layer for body in bodies for layer in body.layers if isinstance(layer, kind)]


def numbers(layers, attribute):
    return [getattr(layer, attribute) for layer in layers]


# the start at given outputs


def test_only_a_trainable_linear_last_layer_is_started():
    outputs = np.arange(1.0, 5.0, dtype=np.float32)

    def body(*layers):
        return keras.Sequential([keras.Input((2,)), *layers])

    dense = keras.layers.Dense
    plain = body(dense(3), dense(4), keras.layers.Reshape((4,)))
    assert networks.set_output(plain, outputs)
    np.testing.assert_array_equal(plain.layers[1].bias, outputs)
    frozen = body(dense(4))
    frozen.trainable = False
    for other in (
        frozen,
        body(dense(4), keras.layers.Rescaling(10.0)),
        body(dense(4, activation="tanh")),
        body(dense(4), keras.layers.Activation("tanh")),
        dense(4),
    ):
        assert not networks.set_output(other, outputs)


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


@pytest.mark.parametrize("shape", [*IMAGES, *SEQUENCES])
def test_a_decoder_may_return_two_numbers_per_element(shape):
    params = (*shape[:-1], 2 * shape[-1])
    for network in (Conv((2, 3), 4), Dense((4,)), ResNet((2, 3), 1, 4)):
        assert network.decoder(2, params).output_shape == (None, *params)


@pytest.mark.parametrize(
    ("shape", "width"),
    [((1,), 64), ((16,), 64), ((17,), 128), ((8, 8, 1), 256), ((65,), 512), ((28, 28, 1), 512)],
)
def test_default_widths_follow_the_number_of_elements(shape, width):
    assert networks.dense_widths(shape) == (width, width)
    assert numbers(layers_of(Dense().encoder(shape), kind=keras.layers.Dense), "units") == [
        width,
        width,
    ]
    decoder = layers_of(Dense().decoder(2, shape), kind=keras.layers.Dense)
    assert numbers(decoder, "units") == [width, width, math.prod(shape)]


def test_the_default_resnet_follows_the_shape():
    image, vector = ResNet().encoder((9, 20, 1)), ResNet().encoder((64,))
    assert numbers(layers_of(image, kind=keras.layers.Conv2D), "filters") == [32] * 3 + [64] * 3
    assert image.output_shape == (None, 256)
    assert numbers(layers_of(vector, kind=keras.layers.Dense), "units") == [256] * 4
    assert ResNet(8).encoder((6,)).output_shape == (None, 8)


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


@pytest.mark.parametrize("network", [Conv((2, 3), 4), ResNet((2, 3), 1, 4)])
@pytest.mark.parametrize("shape", [(1, 17, 1), (17, 1)])
def test_nothing_is_convolved_along_a_side_of_one(network, shape):
    kinds = (keras.layers.Conv2D, keras.layers.Conv2DTranspose)
    layers = layers_of(network.encoder(shape), network.decoder(2, shape), kind=kinds)
    along = (1, 3) if len(shape) == 3 else (3, 1)
    assert set(numbers(layers, "kernel_size")) == {along}


# names


@every_case
def test_every_name_is_explicit_and_unique(network, shape):
    first = layers_of(network.encoder(shape), network.decoder(3, shape))
    second = layers_of(network.encoder(shape), network.decoder(3, shape))
    names = numbers(first, "name")
    assert names == numbers(second, "name")
    assert len(set(names)) == len(names)
    paths = [
        [weight.path for layer in layers for weight in layer.weights] for layers in (first, second)
    ]
    assert paths[0] == paths[1]


def test_bodies_and_inputs_are_called_by_their_roles():
    for network in (Dense((4,)), Conv((2,), 4), ResNet((2,), 1, 4)):
        encoder, decoder = network.encoder((8, 8, 1)), network.decoder(2, (8, 8, 1))
        assert (encoder.name, encoder.inputs[0].name) == ("encoder", "x")
        assert (decoder.name, decoder.inputs[0].name) == ("decoder", "z")


# precision


@pytest.mark.parametrize("kind", networks.NORMALIZATIONS)
@pytest.mark.parametrize("make", [Dense, Conv, ResNet])
def test_the_last_layer_is_float32_under_a_mixed_policy(make, kind, policy):
    policy("mixed_bfloat16")
    network = make(8, normalization=kind)
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
        (lambda: Dense("8"), TypeError, "widths is '8'"),
        (
            lambda: Dense((8,), "sillu"),
            ValueError,
            "activation is 'sillu'; expected .* Did you mean 'silu'",
        ),
        (lambda: Conv(activation=3), ValueError, "activation is 3; expected the name"),
        (
            lambda: Dense(normalization="bach"),
            ValueError,
            "normalization is 'bach'; expected one of None, 'batch', .* Did you mean 'batch'",
        ),
        (lambda: Conv(normalization="Layer"), ValueError, "Did you mean 'layer'"),
        (lambda: ResNet(normalization=1), ValueError, "normalization is 1"),
        (lambda: ResNet(blocks=0), ValueError, "blocks is 0"),
        (lambda: ResNet(width=0), ValueError, "width is 0"),
        (lambda: ResNet((4, 0)), ValueError, r"filters\[1\] is 0"),
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


@pytest.mark.parametrize(
    ("network", "shape", "words"),
    [
        (Conv((2,)), (17,), r"Add a channel axis, \(17, 1\), or use network='dense' or 'resnet'"),
        (Conv((2,)), (2, 8, 8, 1), "Use network='dense'"),
        (ResNet((2,)), (2, 8, 8, 1), "Use network='dense'"),
    ],
)
def test_events_of_another_rank_are_refused_with_the_way_out(network, shape, words):
    for build in (lambda: network.encoder(shape), lambda: network.decoder(2, shape)):
        with pytest.raises(ValueError, match=words) as caught:
            build()
        assert f"received the event shape {shape}" in str(caught.value)
        assert "expected (height, width, channels)" in str(caught.value)


# normalisation


@pytest.mark.parametrize(
    ("channels", "groups"), [(1, 1), (3, 1), (8, 2), (12, 3), (14, 2), (17, 1), (32, 8), (256, 8)]
)
def test_groups_divide_the_channels_and_hold_several(channels, groups):
    assert networks.base.groups(channels) == groups
    layer = keras.layers.GroupNormalization(groups)
    assert layer(np.zeros((2, channels), np.float32)).shape == (2, channels)


@pytest.mark.parametrize("make", [Dense, Conv, ResNet])
def test_each_normalisation_reaches_the_layers(make):
    kinds = {
        "batch": keras.layers.BatchNormalization,
        "layer": keras.layers.LayerNormalization,
        "group": keras.layers.GroupNormalization,
    }
    plain = make(4, normalization=None)
    bodies = [plain.encoder((8, 8, 1)), plain.decoder(2, (8, 8, 1))]
    assert not layers_of(*bodies, kind=tuple(kinds.values()))
    for name, kind in kinds.items():
        network = make(4, normalization=name)
        bodies = [network.encoder((8, 8, 1)), network.decoder(2, (8, 8, 1))]
        assert layers_of(bodies[0], kind=kind)
        others = tuple(other for other in kinds.values() if other is not kind)
        assert not layers_of(*bodies, kind=others)


@every_normalization
@pytest.mark.parametrize("make", [Dense, Conv, ResNet])
def test_the_distance_of_a_latent_from_zero_is_not_normalised_away(make, normalization):
    for shape in [(8, 8, 1), (16, 2)]:
        decoder = make((8, 8), normalization=normalization).decoder(1, shape)
        near, far = decoder(np.array([[0.5], [2.0]], np.float32)).numpy()
        assert np.abs(near - far).max() > 1e-2 * np.abs(near).max()


# residual blocks


def blocks_of(body):
    """Returns a model of what enters and what leaves each residual block."""
    sums = layers_of(body, kind=keras.layers.Add)
    return keras.Model(body.input, [[layer.input[0], layer.output] for layer in sums])


@every_normalization
@pytest.mark.parametrize("shape", [(5, 6, 2), (7, 2), (6,)])
def test_a_residual_block_starts_as_the_identity(shape, normalization):
    network = ResNet((4, 8), 2, 8, normalization=normalization)
    for body, size in ((network.encoder(shape), shape), (network.decoder(3, shape), (3,))):
        pairs = blocks_of(body)(np.random.default_rng(0).normal(size=(2, *size)))
        assert len(pairs) == 4
        for before, after in pairs:
            np.testing.assert_array_equal(before, after)
            assert np.abs(before).max() > 0.0


@pytest.mark.parametrize("shape", [(9, 13, 2), (1, 17, 1), (17, 1)])
def test_a_resnet_starts_as_the_convolutional_network(shape):
    plain, residual = Conv((3, 4), 8), ResNet((3, 4), 2, 8, normalization=None)
    rng = np.random.default_rng(0)
    for role, size in (("encoder", shape), ("decoder", (2,))):
        arguments = (shape,) if role == "encoder" else (2, shape)
        one, other = getattr(plain, role)(*arguments), getattr(residual, role)(*arguments)
        shared = [layer for layer in other.layers if layer.weights and "_block_" not in layer.name]
        weighty = [layer for layer in one.layers if layer.weights]
        for source, target in zip(weighty, shared, strict=True):
            target.set_weights(source.get_weights())
        x = rng.normal(size=(3, *size)).astype(np.float32)
        np.testing.assert_allclose(other(x), one(x), rtol=1e-5, atol=1e-6)


@every_normalization
@pytest.mark.parametrize("shape", [(6, 5, 2), (12,)])
def test_deep_residual_bodies_have_finite_gradients(shape, normalization):
    decoder = ResNet((8, 8), 6, 8, normalization=normalization).decoder(2, shape)
    for layer in layers_of(decoder):  # or the gradients within the blocks are 0
        if layer.name.endswith("_last"):
            layer.kernel.assign(keras.random.normal(layer.kernel.shape, 0.0, 0.1, seed=0))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(
            tf.square(decoder(tf.random.stateless_normal((8, 2), (0, 0)), training=True))
        )
    for gradient in tape.gradient(loss, decoder.trainable_weights):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0.0


# the first loss


def first_parameters(network, shape, per_element=1):
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    params_shape = (*shape[:-1], shape[-1] * per_element)
    decoder = network.decoder(20, params_shape)
    count = 64 if math.prod(shape) < 100 else 4
    x = (rng.random((count, *shape)) < 0.5).astype(np.float32)
    return x, decoder(rng.normal(size=(count, 20)), training=True).numpy()


@pytest.mark.parametrize(
    ("name", "shape"), DEFAULTS, ids=[f"{name}-{shape}" for name, shape in DEFAULTS]
)
def test_the_first_loss_is_nearly_that_of_parameters_of_zero(name, shape):
    network = networks.get(name, shape)
    x, logits = first_parameters(network, shape)
    bernoulli = np.mean(np.logaddexp(0.0, logits) - x * logits)
    assert bernoulli == pytest.approx(math.log(2.0), rel=0.1)
    x, params = first_parameters(network, shape, per_element=2)
    mean, log_stddev = np.split(params, 2, axis=-1)
    normal = np.mean(log_stddev + 0.5 * np.square((x - mean) / np.exp(log_stddev)))
    assert normal == pytest.approx(0.5 * np.mean(np.square(x)), abs=0.2)


@every_normalization
@pytest.mark.parametrize("make", [Dense, Conv, ResNet])
def test_the_first_loss_is_sane_after_every_normalisation(make, normalization):
    shape = (12, 12, 1)
    for options in ({}, {"blocks": 6} if make is ResNet else {"activation": "relu"}):
        network = make(normalization=normalization, **options)
        x, logits = first_parameters(network, shape)
        bernoulli = np.mean(np.logaddexp(0.0, logits) - x * logits)
        assert bernoulli == pytest.approx(math.log(2.0), rel=0.1)


@every_case
def test_the_last_layer_with_weights_is_that_of_the_parameters(network, shape):
    params = (*shape[:-1], 2 * shape[-1])
    decoder = network.decoder(3, params)
    last = [layer for layer in decoder.layers if layer.weights][-1]
    assert last.name == "decoder_parameters"
    channels = np.arange(params[-1], dtype=np.float32)
    assert networks.set_output(decoder, np.broadcast_to(channels, params))
    last.kernel.assign(np.zeros(last.kernel.shape))
    outputs = decoder(np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(outputs, np.broadcast_to(channels, (2, *params)))


# training, on every shape and under both mixed policies


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("shape", IMAGES)
@pytest.mark.parametrize(
    "network",
    [Dense(4, normalization="layer"), Conv(2, 4, normalization="batch"), ResNet(4, 1, 4)],
    ids=["dense-layer", "conv-batch", "resnet-group"],
)
def test_every_image_trains_in_half_precision(network, shape, dtype, policy):
    policy(dtype)
    vae = kv.VAE(shape, 2, network=network, likelihood="normal:variance=learned")
    vae.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    x = np.random.default_rng(0).random((4, *shape)).astype(np.float32)
    history = vae.fit(x, batch_size=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert {weight.dtype for weight in vae.decoder.weights} == {"float32"}
    params = vae.decoder(np.zeros((1, 2), np.float32))
    assert params.dtype == "float32"
    assert vae.likelihood.log_prob(params, x[:1]).dtype == "float32"
    assert params.shape == (1, *shape[:-1], 2 * shape[-1])
    assert np.isfinite(params).all()


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


@pytest.mark.parametrize(
    ("text", "cls", "options"),
    [
        ("conv:filters=[16,32],normalization=batch", Conv, {"filters": (16, 32), "width": 256}),
        ("resnet(blocks=2,normalization='group')", ResNet, {"blocks": 2, "filters": None}),
        ("resnet:activation=relu,normalization=None", ResNet, {"activation": "relu"}),
        ("dense:widths=None,normalization=layer", Dense, {"widths": None}),
    ],
)
def test_options_by_name_survive_a_config(text, cls, options):
    network = networks.get(text, (8, 8, 1))
    config = keras.saving.serialize_keras_object(network)
    again = networks.get(config, (8, 8, 1))
    assert type(again) is cls
    assert keras.saving.serialize_keras_object(again) == config
    assert options.items() <= vars(again).items()
    words = text.replace("'", "").rstrip(")").split("normalization=")[1]
    assert str(again.normalization) == words


def test_an_unknown_network_is_refused_with_a_near_match():
    with pytest.raises(ValueError, match="Unknown network 'cnov'.*Did you mean 'conv'"):
        networks.get("cnov", (8, 8, 1))
