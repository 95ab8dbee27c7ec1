"""Half precision: scaled losses, steps that overflow, and results near those of float32."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_vae as kv

POLICIES = ["mixed_bfloat16", "mixed_float16"]


def trained(x, strategy=None, scale=None, epochs=1):
    """Returns a small model after some epochs of SGD, with its loss scaled where one is given."""
    with (strategy or tf.distribute.get_strategy()).scope():
        vae = kv.VAE((6,), 2, network="dense:widths=[8]")
        optimizer = keras.optimizers.SGD(0.05)
        if scale is not None:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=scale)
        vae.compile(optimizer)
    before = [v.numpy() for v in vae.trainable_weights]
    history = vae.fit(x, batch_size=30, epochs=epochs, verbose=0, shuffle=False).history
    return vae, before, history


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_step_that_overflows_moves_no_weight_and_lowers_the_scale(
    replicas, binary, policy, two_replicas
):
    policy("mixed_float16")
    strategy = two_replicas if replicas == 2 else None
    vae, before, history = trained(binary, strategy, scale=2.0**60)
    for start, variable in zip(before, vae.trainable_weights):
        np.testing.assert_array_equal(variable.numpy(), start, err_msg=variable.path)
    assert np.isfinite(history["loss"]).all()  # the scale is no part of what is reported
    scale = keras.ops.convert_to_numpy(vae.optimizer.dynamic_scale)
    assert scale == 2.0**57  # halved in each of three steps
    vae.optimizer.dynamic_scale.assign(2.0**5)
    vae.fit(binary, batch_size=30, verbose=0)
    assert any(
        np.any(variable.numpy() != start) for start, variable in zip(before, vae.trainable_weights)
    )


@pytest.mark.parametrize("rows", [slice(0, 8), slice(8, 16)], ids=["first", "second"])
def test_an_overflow_on_one_replica_is_one_on_all(rows, policy, two_replicas):
    policy("mixed_float16")
    x = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
    weights = np.zeros(16, "float32")
    weights[rows] = 1.0  # the others have a gradient of 0, which no scale makes overflow
    with two_replicas.scope():
        vae = kv.VAE((6,), 2, network="dense:widths=[8]", likelihood="normal:variance=shared")
        vae.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.05), 2.0**26))
    before = [v.numpy() for v in vae.trainable_weights]
    vae.fit(x, sample_weight=weights, batch_size=16, verbose=0, shuffle=False)
    for start, variable in zip(before, vae.trainable_weights):
        for copy in two_replicas.experimental_local_results(variable.value):
            np.testing.assert_array_equal(copy.numpy(), start, err_msg=variable.path)
    assert keras.ops.convert_to_numpy(vae.optimizer.dynamic_scale) == 2.0**25
    assert int(vae.guard.skipped.numpy()) == 0  # Keras sees to it


def test_the_scale_changes_no_gradient(binary, policy):
    policy("mixed_float16")
    keras.utils.set_random_seed(0)
    plain, _, _ = trained(binary, scale=1.0)
    keras.utils.set_random_seed(0)
    scaled, _, _ = trained(binary, scale=2.0**8)
    for one, other in zip(plain.weights, scaled.weights):
        np.testing.assert_allclose(other.numpy(), one.numpy(), atol=2e-3, err_msg=one.path)


@pytest.mark.parametrize("name", POLICIES)
def test_compiling_scales_the_loss_where_it_is_needed(name, binary, policy):
    policy(name)
    vae, _, history = trained(binary)
    assert isinstance(vae.optimizer, keras.optimizers.LossScaleOptimizer) == (
        name == "mixed_float16"
    )
    assert np.isfinite(history["loss"]).all()
    assert {v.dtype for v in vae.trainable_weights} == {"float32"}


@pytest.mark.slow
@pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="needs MNIST in TFDS_DATA_DIR")
def test_half_precision_ends_within_two_percent_of_float32(policy):
    losses = {}
    for name in ("float32", *POLICIES):
        policy(name)
        keras.utils.set_random_seed(0)
        data = kv.data.load("mnist", batch_size=200)
        vae = kv.VAE(data.event_shape, 16, network="dense:widths=[200,200]")
        vae.compile(keras.optimizers.Adam(2e-3))
        logs = vae.fit(data.train, validation_data=data.validation, epochs=3, verbose=0).history
        losses[name] = logs["val_loss"][-1]
    print(losses)
    assert losses["float32"] < 125.0
    for name in POLICIES:
        assert losses[name] == pytest.approx(losses["float32"], rel=0.02), losses
