"""`Sampling`, and the noise that evaluation is made of."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import keras_vae as kv
from keras_vae._noise import content_noise, index_uniform
from keras_vae.layers import Conv2D, GroupNormalization, Sampling, convolution, reparameterize

SEED = tf.constant([0, 7])


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).random((50, 4, 3)).astype("float32")


def test_reparameterisation_passes_gradients_to_both_moments():
    mean, log_stddev = tf.Variable([1.0, -2.0]), tf.Variable([0.5, -0.5])
    noise = tf.constant([0.3, -1.5])
    with tf.GradientTape() as tape:
        z = reparameterize(mean, log_stddev, noise)
    by_mean, by_log_stddev = tape.gradient(z, [mean, log_stddev])
    np.testing.assert_allclose(z, mean + np.exp(log_stddev) * noise, rtol=1e-6)
    np.testing.assert_allclose(by_mean, [1.0, 1.0])
    np.testing.assert_allclose(by_log_stddev, np.exp(log_stddev) * noise, rtol=1e-6)


def test_sampling_serves_a_model_of_the_users_own():
    x = keras.Input((3,))
    z = Sampling(seed=5)((keras.layers.Dense(2)(x), keras.layers.Dense(2)(x)))
    model = keras.Model(x, z)
    model.compile("sgd", "mse")
    data = np.ones((8, 3), "float32")
    one = model(data, training=True)
    other = model(data, training=True)
    assert np.abs(one - other).max() > 0.1
    np.testing.assert_array_equal(model(data), model(data))
    model.fit(data, np.zeros((8, 2)), batch_size=4, epochs=3, verbose=0)
    assert int(model.layers[-1].step) == 8
    again = keras.models.clone_model(model)
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(data, training=True), model(data, training=True))


def test_sampling_has_the_moments_it_is_given():
    mean, log_stddev = tf.constant([[3.0, -1.0]]), tf.math.log([[0.5, 2.0]])
    layer = Sampling(seed=(1, 2))
    z = layer((tf.repeat(mean, 20_000, 0), tf.repeat(log_stddev, 20_000, 0))).numpy()
    np.testing.assert_allclose(z.mean(0), [3.0, -1.0], atol=4 * 2.0 / np.sqrt(20_000))
    np.testing.assert_allclose(z.std(0), [0.5, 2.0], rtol=0.03)
    assert abs(np.corrcoef(z.T)[0, 1]) < 0.03


def test_content_noise_is_standard_normal_and_uncorrelated(rows):
    noise = content_noise(tf.constant(rows), 2000, 5, SEED).numpy()
    assert noise.shape == (2000, 50, 5)
    assert scipy.stats.kstest(noise.ravel(), "norm").pvalue > 1e-3
    assert abs(scipy.stats.kurtosis(noise.ravel())) < 0.03
    for axis in (0, 1, 2):
        columns = np.moveaxis(noise, axis, -1).reshape(-1, noise.shape[axis])[:, :40]
        correlation = np.corrcoef(columns.T) - np.eye(columns.shape[1])
        assert np.abs(correlation).max() < 5.5 / np.sqrt(len(columns))


def test_neighbouring_rows_seeds_and_draws_are_independent():
    # One number that differs in its last bit, consecutive seeds, consecutive draws.
    x = np.zeros((2, 6), "float32")
    x[1, 3] = np.nextafter(np.float32(0), np.float32(1))
    noise = content_noise(tf.constant(x), 4000, 4, SEED).numpy()
    next_seed = content_noise(tf.constant(x), 4000, 4, SEED + 1).numpy()
    pairs = [
        (noise[:, 0], noise[:, 1]),
        (noise[:, 0], next_seed[:, 0]),
        (noise[:-1, 0], noise[1:, 0]),
        (noise[..., 0], noise[..., 1]),
        (noise[..., 0], noise[..., 2]),
    ]
    for one, other in pairs:
        bound = 4.5 / np.sqrt(one.size)
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < bound
        assert abs(np.corrcoef(one.ravel() ** 2, other.ravel() ** 2)[0, 1]) < bound


def test_content_noise_depends_on_nothing_but_seed_example_and_draw(rows):
    whole = content_noise(tf.constant(rows), 9, 3, SEED).numpy()
    part = content_noise(tf.constant(rows[20:30]), 4, 3, SEED, first=5).numpy()
    # To the last bit but one: vectorised and scalar code of log and cos differ there.
    np.testing.assert_allclose(part, whole[5:, 20:30], atol=1e-6)
    reordered = content_noise(tf.constant(rows[::-1]), 9, 3, SEED).numpy()
    np.testing.assert_allclose(reordered, whole[:, ::-1], atol=1e-6)
    compiled = tf.function(
        lambda x, first: content_noise(x, 4, 3, SEED, first), jit_compile=True, autograph=False
    )
    np.testing.assert_allclose(
        compiled(tf.constant(rows), tf.constant(5)), whole[5:], rtol=1e-4, atol=1e-5
    )
    assert np.abs(content_noise(tf.constant(rows), 9, 3, SEED + 1) - whole).max() > 1.0


def test_swapped_elements_get_other_noise():
    x = tf.constant([[0.0, 1.0, 2.0], [1.0, 0.0, 2.0]])
    noise = content_noise(x, 1, 4, SEED)[0].numpy()
    assert np.abs(noise[0] - noise[1]).max() > 1e-2


def test_the_layer_is_configured_by_its_seed_and_rebuilt_from_it():
    layer = Sampling(seed=11)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    np.testing.assert_array_equal(again.noise([3], 2), layer.noise([3], 2))
    with pytest.raises(TypeError, match="seed is 'x'"):
        Sampling(seed="x")
    assert kv.layers.Sampling is Sampling


# Uniform numbers by index


def test_uniform_numbers_by_index_are_uniform_and_independent():
    index = tf.range(3000)
    numbers = index_uniform(index, 7, SEED).numpy()
    assert 0.0 <= numbers.min() < numbers.max() < 1.0
    assert scipy.stats.kstest(numbers.ravel(), "uniform").pvalue > 1e-3
    others = [
        index_uniform(index, 7, SEED + tf.constant(step)).numpy() for step in ([1, 0], [0, 1])
    ]
    columns = np.concatenate([numbers, *others, np.roll(numbers, 1, axis=0)], axis=1)
    correlation = np.corrcoef(columns.T) - np.eye(columns.shape[1])
    assert np.abs(correlation).max() < 5.0 / np.sqrt(3000)


def test_uniform_numbers_by_index_do_not_depend_on_the_batch():
    whole = index_uniform(tf.range(50), 5, SEED).numpy()
    some = tf.constant([41, 3, 7], tf.int64)
    np.testing.assert_array_equal(index_uniform(some, 5, SEED), whole[[41, 3, 7]])
    assert len(np.unique(whole)) == whole.size


# Keras's layers in less time


def derivatives(layer, x, upstream):
    """Returns the outputs, and the gradients by x and by each weight."""
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    weights = [weight.value for weight in layer.trainable_weights]
    return [y, *tape.gradient(y, [x, *weights], upstream)]


def same_as_keras(layer, kind, shape, compiled=False):
    """Checks values and gradients of a layer against those of Keras's layer, for random weights."""
    draw = np.random.default_rng(1)
    layer.build(shape)
    config = layer.get_config()
    peer = kind.from_config(config)
    peer.build(shape)
    weights = [draw.normal(1.0, 1.0, w.shape).astype("float32") for w in layer.weights]
    layer.set_weights(weights)
    peer.set_weights(weights)
    x = draw.normal(2.0, 1.5, shape).astype("float32")
    upstream = draw.normal(size=peer(x).shape).astype("float32")
    run = tf.function(derivatives, jit_compile=True, autograph=False) if compiled else derivatives
    for found, expected in zip(run(layer, x, upstream), derivatives(peer, x, upstream)):
        assert found.dtype == expected.dtype and found.shape == expected.shape
        largest = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * largest)


@pytest.fixture
def narrow(monkeypatch):
    """Returns the kernels' shapes of the convolutions that were made as products."""
    made, whole = [], convolution._narrow_convolution

    def counted(x, kernel):
        made.append(tuple(kernel.shape))
        return whole(x, kernel)

    monkeypatch.setattr(convolution, "_narrow_convolution", counted)
    return made


@pytest.mark.parametrize("filters", [1, 2, 3])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (3, 1), (2, 4), (5, 5)], ids=str)
def test_a_narrow_convolution_is_that_of_keras(filters, kernel, narrow):
    received = kernel[0] * kernel[1] * filters  # the fewest that are worth it
    layer = Conv2D(filters, kernel, padding="same")
    same_as_keras(layer, keras.layers.Conv2D, (3, 9, 7, received))
    assert set(narrow) == {(*kernel, received, filters)}


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "valid"},
        {"strides": 2, "padding": "same"},
        {"dilation_rate": 2, "padding": "same"},
        {"groups": 2, "padding": "same", "filters": 2},
        {"filters": 4, "padding": "same"},
        {"kernel_size": 7, "padding": "same"},
    ],
    ids=str,
)
def test_another_convolution_is_that_of_keras_itself(options, narrow):
    layer = Conv2D(**{"filters": 1, "kernel_size": 3, **options})
    same_as_keras(layer, keras.layers.Conv2D, (2, 8, 6, 36))
    assert not narrow


def test_a_narrow_convolution_takes_activation_and_no_bias(narrow):
    layer = Conv2D(1, 3, padding="same", use_bias=False, activation="tanh")
    same_as_keras(layer, keras.layers.Conv2D, (2, 8, 6, 9))
    assert narrow


@pytest.mark.parametrize("shape", [(6, 5, 4, 8), (6, 8), (3, 10, 8), (4, 2, 1, 8)], ids=str)
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_group_normalisation_is_that_of_keras(shape, groups):
    if groups == 8 and np.prod(shape[1:-1]) == 1:
        groups = 4  # one number in a group is normalised to 0
    same_as_keras(GroupNormalization(groups), keras.layers.GroupNormalization, shape)


@pytest.mark.parametrize("options", [{"axis": 1}, {"scale": False}, {"center": False}], ids=str)
def test_group_normalisation_takes_all_options_of_keras(options):
    layer = GroupNormalization(2, epsilon=0.1, **options)
    same_as_keras(layer, keras.layers.GroupNormalization, (3, 6, 5, 4))


def test_a_batch_may_be_empty():
    layer, x = Conv2D(1, 3, padding="same"), np.zeros((0, 5, 4, 9), "float32")
    layer.build(x.shape)
    y, by_x, by_kernel, _ = derivatives(layer, x, np.zeros((0, 5, 4, 1), "float32"))
    assert y.shape == (0, 5, 4, 1) and by_x.shape == x.shape
    np.testing.assert_array_equal(by_kernel, 0.0)
    layer = GroupNormalization(3)
    layer.build(x.shape)
    y, _, by_gamma, _ = derivatives(layer, x, x)
    assert y.shape == x.shape and not by_gamma.numpy().any()


def test_sides_may_be_unknown():
    image, draw = keras.Input((None, None, 10)), np.random.default_rng(0)
    outputs = Conv2D(1, 3, padding="same")(GroupNormalization(2)(image))
    model = keras.Model(image, outputs)
    x = draw.normal(size=(2, 6, 5, 10)).astype("float32")
    whole = keras.Sequential([keras.Input((6, 5, 10)), *map(_again, model.layers[1:])])
    whole.set_weights(model.get_weights())
    np.testing.assert_allclose(model(x), whole(x), rtol=1e-4, atol=1e-5)


def _again(layer):
    return type(layer).from_config(layer.get_config())


def test_the_layers_compile():
    layer = Conv2D(2, 3, padding="same")
    same_as_keras(layer, keras.layers.Conv2D, (2, 5, 6, 18), compiled=True)
    normalization = GroupNormalization(2)
    same_as_keras(normalization, keras.layers.GroupNormalization, (2, 3, 4), compiled=True)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_the_layers_keep_the_precision_of_their_policy(policy):
    x = np.random.default_rng(0).normal(size=(3, 6, 5, 12))
    pairs = [
        (Conv2D(1, 3, padding="same", dtype=policy), keras.layers.Conv2D),
        (GroupNormalization(2, dtype=policy), keras.layers.GroupNormalization),
    ]
    for layer, kind in pairs:
        layer.build(x.shape)
        peer = kind.from_config(layer.get_config())
        peer.build(x.shape)
        peer.set_weights(layer.get_weights())
        found, expected = layer(x), peer(x)
        assert found.dtype == expected.dtype == layer.compute_dtype
        wide = tf.cast(found, "float64"), tf.cast(expected, "float64")
        resolution = {"float64": 1e-12, "mixed_float16": 3e-3}.get(policy, 3e-2)
        np.testing.assert_allclose(*wide, atol=resolution)


@pytest.mark.parametrize(
    "layer",
    [Conv2D(1, 3, padding="same", dtype="float64"), GroupNormalization(2, dtype="float64")],
    ids=["convolution", "normalization"],
)
def test_second_derivatives_are_those_of_differences(layer):
    """Keras's group normalisation fails here: it takes the mean in the variance as constant."""
    draw = np.random.default_rng(0)
    x, aim = draw.normal(2.0, 1.0, (2, 2, 2, 10)), draw.normal(size=(2, 2, 2, 10))

    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.sin(layer(x)))
        return tf.reduce_sum(tape.gradient(loss, x) * aim)

    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = slope(x)
    found = tape.gradient(value, x).numpy()
    steps = 1e-5 * np.eye(x.shape.num_elements()).reshape(-1, *x.shape)
    differences = [(slope(x + step) - slope(x - step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(found.ravel(), differences, rtol=1e-6, atol=1e-7)


def test_group_normalisation_at_extremes():
    layer = GroupNormalization(2)
    constant = np.full((1, 4, 4), 1e3, "float32")
    outputs, by_x, *_ = derivatives(layer, constant, np.ones_like(constant))
    np.testing.assert_allclose(outputs, 0.0, atol=1e-2)
    np.testing.assert_allclose(by_x, 0.0, atol=1e-3)
    far = np.random.default_rng(0).normal(1e3, 1.0, (1, 64, 4)).astype("float32")
    np.testing.assert_allclose(layer(far), keras.layers.GroupNormalization(2)(far), atol=1e-3)
    broken = far.copy()
    broken[0, 0, 0] = np.nan
    assert np.isnan(layer(broken)[0, :, :2]).all() and np.isfinite(layer(broken)[0, :, 2:]).all()


def test_bodies_of_the_package_have_the_layers_and_load_what_keras_layers_saved(tmp_path):
    decoder = kv.networks.get("resnet:filters=[16]", (6, 6, 1)).decoder(2, (6, 6, 1))
    kinds = [type(layer) for layer in decoder.layers]
    assert Conv2D in kinds and GroupNormalization in kinds
    z = np.random.default_rng(0).normal(size=(3, 2)).astype("float32")
    decoder.save(tmp_path / "ours.keras")
    again = keras.models.load_model(tmp_path / "ours.keras")
    assert [type(layer) for layer in again.layers] == kinds
    np.testing.assert_array_equal(again(z), decoder(z))
    parents = {kind: kind.__bases__[0] for kind in (Conv2D, GroupNormalization)}
    keras_only = keras.models.clone_model(
        decoder,
        clone_function=lambda layer: parents.get(type(layer), type(layer)).from_config(
            layer.get_config()
        ),
    )
    keras_only.save_weights(tmp_path / "keras.weights.h5")
    decoder.load_weights(tmp_path / "keras.weights.h5")
    np.testing.assert_allclose(keras_only(z), decoder(z), rtol=1e-4, atol=1e-5)
