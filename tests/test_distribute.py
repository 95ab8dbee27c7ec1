"""Two replicas do what one device does, exactly, however the batches fall."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_vae as kv

SIZES = (5, 8, 8, 8, 1)  # thirty examples; neither the first nor the last batch divides evenly


class Regularised:
    """An encoder with a weight regulariser, made anew for each model."""

    def __new__(cls):
        penalty = keras.regularizers.L2(0.05)
        dense = keras.layers.Dense(8, "tanh", kernel_regularizer=penalty, name="hidden")
        return keras.Sequential([keras.Input((6,)), dense], name="encoder")


class MeanSquare(keras.layers.Layer):
    """Adds the mean square of its input to the loss."""

    def call(self, inputs):
        self.add_loss(keras.ops.mean(keras.ops.square(inputs)))
        return inputs


class Penalised(Regularised):
    """An encoder that also adds a loss of the batch."""

    def __new__(cls):
        return keras.Sequential([super().__new__(cls), MeanSquare(name="penalty")], name="whole")


CASES = {
    "bernoulli": {},
    "optimal": {"likelihood": "normal:variance=optimal"},
    "shared": {"likelihood": "normal:variance=shared"},
    "autoencoder": {"posterior": "point", "objective": "reconstruction"},
    "regularised": {"encoder": Regularised},
    "add_loss": {"encoder": Penalised},
    "full_normal": {"posterior": "full_normal"},
    "low_rank_normal": {"posterior": "low_rank_normal:rank=1"},
    "autoregressive_flow": {"posterior": "autoregressive_flow:steps=2,widths=8,context=4"},
    "mixture": {"prior": "mixture:components=3"},
    "vamp": {"prior": "vamp:components=4,learned_weights=true"},
    "flow": {"prior": "flow:steps=2,widths=8"},
    "warm-up": {"objective": "elbo:beta=linear(steps=5),samples=3"},
    "free bits": {"objective": "elbo:free_bits=0.2,beta=2"},
    "capacity": {"objective": "elbo:capacity=linear(end=3,steps=5)"},
    "sticking": {"objective": "elbo:gradient=sticking_the_landing"},
    "dreg": {"objective": "iwae:samples=3,gradient=dreg"},
    "piwae": {"objective": "piwae:bounds=2,samples_per_bound=2"},
    "dip": {"objective": "dip:kind=2,off_diagonal=0.01"},  # at 10 this rate diverges
    "batch normalisation": {"network": "dense:widths=[8],normalization=batch"},
}

#: The cases, and whether with sample weights, that stand for the others in the quicker runs.
QUICK = {("optimal", True), ("add_loss", True), ("vamp", False), ("bernoulli", False)}
QUICK |= {("piwae", True), ("free bits", True)}


def batches(x, weighted=False):
    starts = np.cumsum((0, *SIZES))

    def generate():
        for start, size in zip(starts, SIZES):
            # A copy: TensorFlow may write into arrays it was given views of, under replicas.
            rows = x[start : start + size].copy()
            yield (rows, rows[:, 0], 1.0 + np.arange(size) % 3) if weighted else (rows,)

    spec = tf.TensorSpec([None, 6], tf.float32)
    vector = tf.TensorSpec([None], tf.float32)
    signature = (spec, vector, vector) if weighted else (spec,)
    dataset = tf.data.Dataset.from_generator(generate, output_signature=signature)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(SIZES)))


def fed(shape, step):
    """Noise that is the same for every example, wherever it is, and differs by step."""
    row = tf.cos(tf.range(1.0, tf.cast(shape[-1], tf.float32) + 1.0) + tf.cast(step, tf.float32))
    return tf.broadcast_to(row, shape)


def fit(strategy, arguments, x, optimizer, weighted=False):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        arguments = {k: v() if isinstance(v, type) else v for k, v in arguments.items()}
        vae = kv.VAE((6,), 2, **{"network": "dense:widths=[8]", **arguments})
        vae.compile(optimizer(), metrics=["mae"])
    vae.sampling.noise = fed
    validation = batches(x[::-1], weighted)
    logs = vae.fit(batches(x, weighted), validation_data=validation, epochs=2, verbose=0).history
    return vae, logs


@pytest.mark.parametrize(
    ("case", "weighted"),
    [
        pytest.param(
            case,
            weighted,
            id=f"{case} weighted" if weighted else case,
            marks=[] if (case, weighted) in QUICK else [pytest.mark.slow],
        )
        for case in CASES
        for weighted in (False, True)
    ],
)
def test_two_replicas_equal_one_device(case, weighted, binary, two_replicas):
    def sgd():
        return keras.optimizers.SGD(0.05)

    one, logs = fit(tf.distribute.get_strategy(), CASES[case], binary[:30], sgd, weighted)
    two, others = fit(two_replicas, CASES[case], binary[:30], sgd, weighted)
    assert two.distribute_strategy.num_replicas_in_sync == 2
    for a, b in zip(one.weights, two.weights):
        np.testing.assert_allclose(b.numpy(), a.numpy(), atol=1e-6, err_msg=a.path)
    assert set(logs) == set(others)
    for name in logs:
        assert np.isfinite(logs[name]).all()  # NaN would equal NaN
        np.testing.assert_allclose(others[name], logs[name], rtol=2e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("objective", ["total_correlation:data_size=30", "mmd", "factor:widths=8"])
def test_what_is_coupled_within_a_replica_trains_there(objective, binary, two_replicas):
    def adam():
        return keras.optimizers.Adam(0.01)

    _, logs = fit(two_replicas, {"objective": objective}, binary[:30], adam)
    assert all(np.isfinite(values).all() for values in logs.values())
    assert kv.VAE((6,), 2, objective=objective).objective.per_replica


def test_convolutions_take_a_replica_without_an_example(two_replicas):
    x = (np.random.default_rng(0).random((17, 5, 6, 2)) < 0.5).astype("float32")

    def fitted(strategy):
        keras.utils.set_random_seed(0)
        with strategy.scope():
            vae = kv.VAE((5, 6, 2), 2, network="conv:filters=[3,4],width=8")
            vae.compile(keras.optimizers.SGD(0.05))
        vae.sampling.noise = fed
        vae.fit(tf.data.Dataset.from_tensor_slices(x).batch(8), verbose=0)  # 8, 8 and 1
        return vae

    one, two = fitted(tf.distribute.get_strategy()), fitted(two_replicas)
    for a, b in zip(one.weights, two.weights):
        np.testing.assert_allclose(b.numpy(), a.numpy(), atol=1e-6, err_msg=a.path)


def test_adam_works_too_and_prediction_keeps_the_order(binary, two_replicas):
    def adam():
        return keras.optimizers.Adam(0.01, epsilon=1e-3)

    one, _ = fit(tf.distribute.get_strategy(), {}, binary[:30], adam)
    two, _ = fit(two_replicas, {}, binary[:30], adam)
    for a, b in zip(one.weights, two.weights):
        np.testing.assert_allclose(b.numpy(), a.numpy(), atol=1e-5, err_msg=a.path)
    x = binary[:11]
    np.testing.assert_allclose(
        two.predict(x, batch_size=4, verbose=0), one.reconstruct(x), atol=1e-5
    )
    np.testing.assert_allclose(two.elbo(x), one.elbo(x), atol=1e-4)
    assert two.sample(3, seed=0).x.shape == (3, 6)


def test_each_replica_draws_its_own_noise(two_replicas):
    sampling = kv.layers.Sampling(seed=2)

    @tf.function
    def draw(step):
        return two_replicas.run(lambda: sampling.noise([1000, 2], step))

    first, second = (part.numpy() for part in two_replicas.experimental_local_results(draw(3)))
    np.testing.assert_allclose(first, sampling.noise([1000, 2], 3), atol=1e-6)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.1
    assert abs(second.mean()) < 0.1
    assert abs(second.std() - 1.0) < 0.1


def test_a_model_saved_on_two_replicas_loads_on_one(binary, two_replicas, tmp_path):
    two, _ = fit(
        two_replicas, {"likelihood": "normal:variance=optimal"}, binary[:30], keras.optimizers.Adam
    )
    two.save(tmp_path / "model.keras")
    loaded = kv.load(tmp_path / "model.keras")
    for a, b in zip(two.weights, loaded.weights):
        np.testing.assert_array_equal(b.numpy(), a.numpy())
    exported = tf.saved_model.load(str(kv.export.saved_model(two, tmp_path / "exported")))
    sample = exported.signatures["sample"](n=tf.constant(3), seed=tf.constant([0, 1]))
    np.testing.assert_allclose(sample["mean"], loaded.sample(3, seed=1).mean, atol=1e-5)


@pytest.mark.parametrize("option", [{"steps_per_execution": 4}, {"jit_compile": True}])
def test_what_keras_cannot_do_on_replicas_is_refused(option, two_replicas):
    with two_replicas.scope():
        vae = kv.VAE((6,), 2, network="dense:widths=[8]")
    with pytest.raises(ValueError, match="several replicas"):
        vae.compile("adam", **option)


@pytest.mark.parametrize(
    "option",
    [
        {"clipnorm": 1.0},
        {"global_clipnorm": 1.0},
        {"clipvalue": 0.1},
    ],
    ids=str,
)
def test_optimisers_that_treat_replicas_apart_are_refused(option, two_replicas):
    with two_replicas.scope():
        vae = kv.VAE((6,), 2, network="dense:widths=[8]")
        optimizer = keras.optimizers.SGD(0.1, **option)
    with pytest.raises(ValueError, match=f"{next(iter(option))}=.*several replicas"):
        vae.compile(optimizer)


@pytest.mark.parametrize(
    "option",
    [{"gradient_accumulation_steps": 2}, {"use_ema": True, "ema_overwrite_frequency": 2}],
    ids=["accumulation", "overwriting"],
)
def test_what_keras_branches_for_is_refused_under_mirrored_strategies(
    option, one_replica, two_replicas
):
    name = list(option)[-1]
    for strategy in (one_replica, two_replicas):
        with strategy.scope():
            vae = kv.VAE((6,), 2, network="dense:widths=[8]")
            optimizer = keras.optimizers.SGD(0.1, **option)
        with pytest.raises(ValueError, match=f"{name}=2.*MirroredStrategy"):
            vae.compile(optimizer)


def test_parameter_servers_are_refused():
    strategy = object.__new__(tf.distribute.ParameterServerStrategy)
    with pytest.raises(ValueError, match="ParameterServerStrategy.*MultiWorkerMirrored"):
        kv.distribute.check(strategy)


def test_parts_made_outside_the_scope_are_refused(two_replicas):
    encoder = Regularised()
    with two_replicas.scope():
        vae = kv.VAE((6,), 2, encoder=encoder)
        with pytest.raises(ValueError, match="hidden/kernel.*scope"):
            vae.compile("adam")


def test_shares_of_the_mean_add_up(two_replicas):
    values = {0: [1.0, 2.0, 6.0], 1: []}
    weights = {0: [1.0, 0.0, 3.0], 1: []}

    def local(table):
        def value(context):
            return tf.constant(table[context.replica_id_in_sync_group], tf.float32)

        return two_replicas.experimental_distribute_values_from_function(value)

    @tf.function
    def shares(per_example, weight):
        return two_replicas.run(kv.distribute.global_mean, (per_example, weight))

    parts = two_replicas.experimental_local_results(shares(local(values), local(weights)))
    assert sum(float(part) for part in parts) == pytest.approx((1.0 + 18.0) / 4.0)
    assert float(kv.distribute.global_mean(tf.constant([1.0, 2.0, 6.0]))) == pytest.approx(3.0)


def test_strategies_have_names(two_replicas):
    assert kv.distribute.strategy("mirrored") is two_replicas
    assert kv.distribute.strategy("one").num_replicas_in_sync == 1
    assert kv.distribute.strategy("auto").num_replicas_in_sync == 1
    with pytest.raises(ValueError, match="'mirrored'"):
        kv.distribute.strategy("miror")


def test_keras_still_has_the_hook_that_the_step_relies_on():
    trainer = keras.src.backend.tensorflow.trainer.TensorFlowTrainer
    message = (
        "Keras moved the private hook `_maybe_symbolic_build`, which VAE overrides so that uneven "
        "first batches and several workers train. See what `fit` calls before the first step now, "
        "and override that so that it builds the optimiser and metrics without reading data."
    )
    assert hasattr(trainer, "_maybe_symbolic_build"), message
    assert "_maybe_symbolic_build" in trainer.fit.__wrapped__.__code__.co_names, message
