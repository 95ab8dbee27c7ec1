"""The update of Adam in one operation: Keras's own is the oracle."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vae import optimizing

SHAPES = [(7, 3), (3,), (), (2, 3, 4)]

OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(1e-2),
    "adam with other betas": lambda: keras.optimizers.Adam(0.1, 0.5, 0.9, epsilon=1e-3),
    "schedule": lambda: keras.optimizers.Adam(
        keras.optimizers.schedules.ExponentialDecay(1e-2, 5, 0.5)
    ),
    "adamw": lambda: keras.optimizers.AdamW(1e-2, weight_decay=0.1),
    "clipnorm": lambda: keras.optimizers.Adam(1e-2, clipnorm=0.1),
    "averages": lambda: keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.5),
    "accumulated": lambda: keras.optimizers.Adam(1e-2, gradient_accumulation_steps=2),
    "amsgrad": lambda: keras.optimizers.Adam(1e-2, amsgrad=True),
    "sgd": lambda: keras.optimizers.SGD(1e-2, momentum=0.9),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-2)),
}
FUSED = {name for name in OPTIMIZERS if name not in ("amsgrad", "sgd")}


def trained(optimizer, fused, steps=12):
    """Returns all weights after some steps, and how many fused operations a step has."""
    rng = np.random.default_rng(0)
    variables = [keras.Variable(rng.normal(size=shape).astype("float32")) for shape in SHAPES]
    optimizer.build(variables)

    @tf.function
    def step(*gradients):
        if fused:
            with optimizing.fused(optimizer):
                optimizer.apply_gradients(zip(gradients, variables))
        else:
            optimizer.apply_gradients(zip(gradients, variables))

    gradients = [tf.constant(rng.normal(size=shape), tf.float32) for shape in SHAPES]
    for number in range(steps):
        step(*[gradient * (number + 1.0) for gradient in gradients])
    graph = step.get_concrete_function(*gradients).graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    found = sum(node.op == "ResourceApplyAdam" for node in nodes)
    return [each.numpy() for each in (*variables, *optimizer.variables)], found


@pytest.mark.quick
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_fused_update_is_that_of_keras(name):
    expected, none = trained(OPTIMIZERS[name](), False)
    received, found = trained(OPTIMIZERS[name](), True)
    assert none == 0
    assert (found >= len(SHAPES)) == (name in FUSED)
    assert len(received) == len(expected)
    for one, other in zip(received, expected):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


@pytest.mark.quick
def test_weights_of_another_dtype_and_sparse_gradients_are_left_to_keras():
    def after(fused):
        variables = [
            keras.Variable(np.ones((4, 2), "float32")),
            keras.Variable(np.ones(3, "float16")),
        ]
        optimizer = keras.optimizers.Adam(0.1)
        optimizer.build(variables)
        rows = tf.IndexedSlices(tf.constant([[1.0, -2.0]]), tf.constant([2]), tf.constant([4, 2]))
        pairs = [(rows, variables[0]), (tf.ones(3, tf.float16), variables[1])]
        if fused:
            with optimizing.fused(optimizer):
                optimizer.apply_gradients(pairs)
        else:
            optimizer.apply_gradients(pairs)
        return [variable.numpy() for variable in variables]

    for one, other in zip(after(True), after(False)):
        np.testing.assert_array_equal(one, other)


@pytest.mark.quick
def test_numbers_may_be_variables_and_assignments_ones_own():
    changed, plain = keras.optimizers.Adam(1e-2), keras.optimizers.Adam(1e-2)
    changed.beta_1 = tf.Variable(0.9)
    for one, other in zip(trained(changed, True)[0], trained(plain, False)[0]):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)

    class Own(keras.optimizers.Adam):
        def assign_sub(self, variable, value):
            super().assign_sub(variable, 0.0 * value)

    assert trained(Own(1e-2), True)[1] == 0


@pytest.mark.quick
def test_the_optimizer_is_left_as_it_was():
    optimizer = keras.optimizers.Adam()
    with pytest.raises(RuntimeError), optimizing.fused(optimizer):
        assert "update_step" in vars(optimizer)
        raise RuntimeError
    assert "update_step" not in vars(optimizer)
    assert keras.optimizers.deserialize(keras.optimizers.serialize(optimizer)).get_config()
