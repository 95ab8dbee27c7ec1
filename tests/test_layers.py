"""`Sampling`, and the noise that evaluation is made of."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import keras_vae as kv
from keras_vae._noise import content_noise, index_uniform
from keras_vae.layers import Sampling, reparameterize

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
