"""`VAE`: composition, training as Keras does it, and what users ask of a trained model."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_vae as kv
from keras_vae._types import LossOutput
from keras_vae.objectives import Objective

NETWORK = "dense:widths=[8]"


def make(**arguments):
    compiled = arguments.pop("compiled", {})
    vae = kv.VAE((6,), 2, **{"network": NETWORK, **arguments})
    vae.compile(**{"optimizer": keras.optimizers.Adam(0.01), **compiled})
    return vae


def weights_of(vae):
    return [variable.numpy() for variable in vae.weights]


def assert_equal_weights(one, other, **tolerance):
    for a, b in zip(weights_of(one), weights_of(other)):
        np.testing.assert_allclose(a, b, **{"rtol": 0, "atol": 0, **tolerance})


# Composition


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"posterior": "point"}, ["elbo", "point", "density"]),
        ({"likelihood": "bernouli"}, ["bernouli", "Did you mean 'bernoulli'"]),
        ({"objective": "elbo:gamma=2"}, ["gamma", "beta"]),
        ({"objective": "elbo:beta=-1"}, ["beta is -1", "at least 0"]),
        ({"network": "conv"}, ["(6,)", "channel"]),
        ({"latent_dim": 0}, ["latent_dim is 0", "at least 1"]),
        ({"latent_dim": None}, ["latent_dim is missing"]),
        ({"latent": "single:latent_dim=3"}, ["latent_dim is 2", "has 3"]),
    ],
)
def test_parts_that_do_not_fit_are_refused_in_words(arguments, words):
    with pytest.raises(ValueError) as caught:
        kv.VAE(**{"event_shape": (6,), "latent_dim": 2, **arguments})
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("event_shape", [(), "6", None, (6.0,), (-1,), (0, 2)])
def test_event_shapes_that_are_none_are_refused(event_shape):
    with pytest.raises((TypeError, ValueError), match="event_shape"):
        kv.VAE(event_shape, 2)


def test_a_network_of_the_users_own_may_return_features_of_any_shape(binary):
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Reshape((3, 2))])
    decoder = keras.Sequential([keras.layers.Dense(12)])  # not built yet
    vae = make(network=None, encoder=encoder, decoder=decoder, likelihood="normal:variance=learned")
    vae.fit(binary, epochs=1, verbose=0)
    assert vae.encoder is encoder
    assert vae.decoder is decoder
    assert vae.decoder.predict(np.zeros((3, 2)), verbose=0).shape == (3, 12)


def test_a_decoder_of_another_shape_is_refused_naming_both_shapes():
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(6)])
    with pytest.raises(ValueError, match=r"\(6,\).*\(12,\)"):
        kv.VAE((6,), 2, decoder=decoder, likelihood="normal:variance=learned")


def test_an_encoder_for_other_events_is_refused():
    encoder = keras.Sequential([keras.Input((7,)), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match=r"encoder refused inputs of shape \(batch, 6"):
        kv.VAE((6,), 2, encoder=encoder)
    with pytest.raises(TypeError, match="encoder is 'conv'"):
        kv.VAE((6,), 2, encoder="conv")


def test_layers_shared_by_encoder_and_decoder_are_refused():
    shared = keras.layers.Dense(6, name="shared")
    encoder = keras.Sequential([keras.Input((6,)), shared])
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(6), shared])
    with pytest.raises(ValueError, match="share the weight '.*shared/kernel'"):
        kv.VAE((6,), 2, encoder=encoder, decoder=decoder)


def test_everything_is_built_at_construction():
    vae = kv.VAE((6,), 2, likelihood="normal:variance=optimal")
    count = len(vae.weights)
    vae.build((None, 6))
    vae(np.zeros((2, 6), "float32"))
    vae.sample(2)
    assert vae.built
    assert len(vae.weights) == count
    assert len({variable.path for variable in vae.weights}) == count


# fit


def streams(x, w):
    """The kinds of data that `fit` takes, all with the same examples in the same batches of 30."""
    dataset = tf.data.Dataset.from_tensor_slices
    batches = [(x[i : i + 30], w[i : i + 30]) for i in range(0, 90, 30)]

    def generator():
        while True:
            for rows, _ in batches:
                yield (rows,)

    return {
        "numpy": (x, {}),
        "numpy, y": (x, {"y": np.arange(90)}),
        "tensor": (tf.constant(x), {}),
        "dataset x": (dataset(x).batch(30), {}),
        "dataset (x,)": (dataset((x,)).batch(30), {}),
        "dataset (x, y)": (dataset((x, x[:, 0])).batch(30), {}),
        "dataset (x, y, w)": (dataset((x, x[:, 0], np.ones(90, "float32"))).batch(30), {}),
        "generator": (generator(), {"steps_per_epoch": 3}),
        "numpy, w": (x, {"sample_weight": np.ones(90)}),
        "bool": (x.astype(bool), {}),
        "uint8": (x.astype("uint8"), {}),
    }


@pytest.fixture(scope="module")
def reference():
    return {}


@pytest.mark.parametrize("kind", streams(np.zeros((90, 6)), np.zeros(90)))
def test_every_kind_of_data_trains_alike(binary, kind, reference):
    vae = make()
    x, arguments = streams(binary, np.ones(90))[kind]
    if not isinstance(x, tf.data.Dataset) and "steps_per_epoch" not in arguments:
        arguments["batch_size"] = 30
    history = vae.fit(x, epochs=2, shuffle=False, verbose=0, **arguments).history
    reference.setdefault("loss", history["loss"])
    np.testing.assert_allclose(history["loss"], reference["loss"], rtol=1e-6)


@pytest.mark.parametrize(
    "compiled",
    [
        {"run_eagerly": True},
        {"jit_compile": True},
        {"steps_per_execution": 3},
        {"steps_per_execution": 2, "jit_compile": True},
    ],
    ids=str,
)
def test_however_steps_run_the_result_is_the_same(binary, compiled, monkeypatch):
    fixed = tf.constant([[0.3, -1.1]])
    results = []
    for options in ({}, compiled):
        keras.utils.set_random_seed(0)
        vae = make(compiled={"optimizer": "sgd", **options})
        # XLA draws another stream for the same seed, so the noise is fed.
        vae.sampling.noise = lambda shape, step: tf.broadcast_to(fixed, shape)
        logs = vae.fit(binary, batch_size=32, epochs=2, shuffle=False, verbose=0).history
        results.append((vae, logs))
    (one, logs), (other, others) = results
    assert_equal_weights(one, other, atol=1e-6)
    np.testing.assert_allclose(others["loss"], logs["loss"], rtol=1e-5)


def test_sample_weights_count_examples_and_survive_without_y(binary):
    x = binary[:6]
    w = np.array([2.0, 0.0, 1.0, 1.0, 3.0, 1.0], "float32")
    rows = np.repeat(np.arange(6), w.astype(int))
    results = []
    for data, arguments in ((x, {"sample_weight": w}), (x[rows], {})):
        keras.utils.set_random_seed(0)
        vae = make(compiled={"optimizer": keras.optimizers.SGD(0.1)})
        vae.sampling.noise = lambda shape, step: 0.4 * tf.ones(shape)
        logs = vae.fit(data, batch_size=20, epochs=2, verbose=0, shuffle=False, **arguments).history
        results.append((vae, logs, vae.evaluate(data, return_dict=True, verbose=0, **arguments)))
    (one, logs, scores), (other, others, scored) = results
    assert_equal_weights(one, other, atol=1e-6)
    for name in logs:
        np.testing.assert_allclose(logs[name], others[name], rtol=1e-5)
        np.testing.assert_allclose(scores[name], scored[name], rtol=1e-5)


def test_validation_weights_survive_without_y(binary):
    vae = make()
    weights = np.arange(90.0)
    logs = vae.fit(binary, validation_data=(binary, None, weights), verbose=0).history
    scores = vae.evaluate(binary, sample_weight=weights, return_dict=True, verbose=0)
    assert logs["val_loss"][0] == pytest.approx(scores["loss"], rel=1e-5)


def test_a_part_serves_one_model():
    likelihood = kv.likelihoods.Normal()
    kv.VAE((6,), 2, likelihood=likelihood)
    with pytest.raises(ValueError, match="instance of its own"):
        kv.VAE((4, 6), 2, likelihood=likelihood)


def test_weights_of_zero_change_nothing_and_are_no_nan(binary):
    vae = make()
    before = [variable.numpy() for variable in vae.trainable_variables]
    history = vae.fit(binary, sample_weight=np.zeros(90), verbose=0).history
    assert history["loss"] == [0.0]
    for start, variable in zip(before, vae.trainable_variables):
        np.testing.assert_array_equal(start, variable.numpy())


def test_stock_callbacks_schedules_clipping_and_accumulation_work(binary, tmp_path):
    rate = keras.optimizers.schedules.CosineDecay(0.01, 40)
    adam = keras.optimizers.Adam(rate, clipnorm=1.0, gradient_accumulation_steps=2)
    vae = make(compiled={"optimizer": adam})
    callbacks = [
        keras.callbacks.EarlyStopping("val_elbo", mode="max", patience=2),
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras", monitor="val_loss"),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.TensorBoard(str(tmp_path / "tensorboard")),
        keras.callbacks.TerminateOnNaN(),
    ]
    vae.fit(binary, validation_split=0.2, epochs=3, callbacks=callbacks, verbose=0)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4
    loaded = kv.load(tmp_path / "3.keras")
    assert_equal_weights(loaded, vae)
    plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=0, min_delta=1e9)
    constant = make()
    constant.fit(binary, epochs=3, callbacks=[plateau], verbose=0)
    assert float(constant.optimizer.learning_rate) < 0.01


def test_accumulated_steps_draw_different_noise(binary):
    vae = make(compiled={"optimizer": keras.optimizers.SGD(0.1, gradient_accumulation_steps=3)})
    seen = []
    vae.sampling.noise = lambda shape, step: seen.append(int(step)) or tf.zeros(shape)
    vae.run_eagerly = True
    vae.fit(binary, batch_size=30, epochs=1, verbose=0)
    assert seen == [0, 1, 2]


def test_early_stopping_watches_the_bound_at_beta_one(binary):
    warm_up = kv.objectives.ELBO(beta=kv.schedules.Linear(0.0, 1.0, steps=6))
    vae = make(objective=warm_up)
    logs = vae.fit(
        binary, validation_data=(binary,), batch_size=30, epochs=4, verbose=0, shuffle=False
    ).history
    total = -(np.array(logs["val_reconstruction_loss"]) + logs["val_kl_loss"])
    np.testing.assert_allclose(logs["val_elbo"], total, rtol=1e-5)
    np.testing.assert_allclose(logs["beta"], [1 / 6, 4 / 6, 1.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose(logs["val_beta"], [0.5, 1.0, 1.0, 1.0], rtol=1e-6)


def test_metrics_receive_the_data_and_the_mean(binary):
    vae = make(
        compiled={"metrics": ["mae"], "weighted_metrics": [keras.metrics.MeanSquaredError("mse")]}
    )
    vae.fit(binary, epochs=1, verbose=0)
    w = np.linspace(0.1, 1.0, 90).astype("float32")
    scores = vae.evaluate(binary, sample_weight=w, return_dict=True, verbose=0)
    assert {"mae", "mse"} < set(scores)
    x = tf.constant(binary)
    noise = vae.graph.noise(x, 1, tf.constant([0, 0]))
    z = vae.latent.infer(vae.encoder(x), kv._types.Given(), noise, False).z[0]
    error = binary - vae.decode(z)
    np.testing.assert_allclose(scores["mae"], np.abs(error).mean(), rtol=1e-5)
    np.testing.assert_allclose(scores["mse"], np.average((error**2).mean(1), weights=w), rtol=1e-5)


@pytest.mark.parametrize("argument", [{"loss": "mse"}, {"loss_weights": [1.0]}])
def test_a_loss_is_refused_in_words(argument):
    with pytest.raises(ValueError, match="objective"):
        kv.VAE((6,), 2).compile("adam", **argument)


class Doubled(keras.layers.Layer):
    """Adds twice the mean square of its input to the loss, like many a user's layer."""

    def call(self, inputs):
        self.add_loss(2.0 * keras.ops.mean(keras.ops.square(inputs)))
        return inputs


def test_losses_of_layers_enter_the_loss_and_the_gradient(binary):
    def compose(layer):
        keras.utils.set_random_seed(1)
        layers = [keras.Input((6,)), keras.layers.Dense(8, name="hidden"), layer]
        return make(network=None, encoder=keras.Sequential(layers), decoder=None)

    plain, extra = compose(keras.layers.Identity()), compose(Doubled())
    logs, plain_logs = (
        vae.evaluate(binary, batch_size=90, return_dict=True, verbose=0) for vae in (extra, plain)
    )
    features = extra.encoder.layers[0](binary).numpy()
    assert logs["regularization_loss"] == pytest.approx(2.0 * np.mean(features**2), rel=1e-5)
    difference = logs["loss"] - plain_logs["loss"]
    assert difference == pytest.approx(logs["regularization_loss"], rel=1e-4)
    for vae in (plain, extra):
        vae.fit(binary, epochs=1, batch_size=90, verbose=0)
    kernels = [vae.encoder.layers[0].kernel.numpy() for vae in (plain, extra)]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-4


def test_batch_normalisation_and_dropout_obey_training(binary):
    def compose(momentum=0.5):
        norm = keras.layers.BatchNormalization(momentum=momentum)
        layers = [keras.Input((6,)), norm, keras.layers.Dense(8), keras.layers.Dropout(0.5)]
        return make(network=None, encoder=keras.Sequential(layers))

    vae = compose()
    norm = vae.encoder.layers[0]
    vae.evaluate(binary, verbose=0)
    vae.predict(binary, verbose=0)
    np.testing.assert_array_equal(norm.moving_mean, np.zeros(6))
    np.testing.assert_array_equal(vae.predict(binary, verbose=0), vae.predict(binary, verbose=0))
    vae.fit(binary, batch_size=90, epochs=1, verbose=0)
    np.testing.assert_allclose(norm.moving_mean, 0.5 * binary.mean(0), rtol=1e-5)


def test_batch_normalisation_in_the_decoder_obeys_training(binary):
    norm = keras.layers.BatchNormalization(momentum=0.5)
    layers = [keras.Input((2,)), keras.layers.Dense(8), norm, keras.layers.Dense(6)]
    vae = make(network=None, decoder=keras.Sequential(layers))
    vae.evaluate(binary, verbose=0)
    vae.sample(4)
    vae.log_likelihood(binary, 3)
    np.testing.assert_array_equal(norm.moving_variance, np.ones(8))
    one, whole = vae.elbo(binary[:1]), vae.elbo(binary)  # batch statistics would differ
    np.testing.assert_allclose(one, whole[:1], rtol=1e-5)
    vae.sampling.noise = lambda shape, step: 0.4 * tf.ones(shape)
    stddev, mean = vae.encode(binary).stddev, vae.encode(binary).mean
    hidden = vae.decoder.layers[0](mean + 0.4 * stddev).numpy()
    vae.fit(binary, batch_size=90, epochs=1, verbose=0)
    np.testing.assert_allclose(norm.moving_mean, 0.5 * hidden.mean(0), rtol=1e-4, atol=1e-6)


def test_a_scaled_loss_takes_the_same_steps(binary):
    def run(wrap):
        keras.utils.set_random_seed(0)
        vae = make(compiled={"optimizer": wrap(keras.optimizers.SGD(0.1))})
        return vae, vae.fit(binary, epochs=2, verbose=0, shuffle=False).history

    def scaled(optimizer):
        return keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0**10)

    (one, logs), (other, others) = run(lambda optimizer: optimizer), run(scaled)
    assert_equal_weights(one, other, atol=1e-6)
    np.testing.assert_allclose(logs["loss"], others["loss"], rtol=1e-6)


def test_frozen_parts_stay(binary):
    vae = make(likelihood="normal:variance=optimal", prior="standard_normal")
    vae.encoder.trainable = False
    vae.likelihood.trainable = False
    vae.compile("adam")
    before = [v.numpy() for v in vae.encoder.weights + vae.likelihood.weights]
    moving = vae.decoder.weights[0].numpy()
    vae.fit(binary, epochs=1, verbose=0)
    for start, variable in zip(before, vae.encoder.weights + vae.likelihood.weights):
        np.testing.assert_array_equal(start, variable.numpy())
    assert np.any(moving != vae.decoder.weights[0].numpy())


@kv.register("objective", "test_groups")
class Groups(Objective):
    """Minimises the reconstruction for the decoder, and the KL alone for the encoder."""

    @property
    def terms(self):
        return ("reconstruction_loss", "kl_loss")

    def _evaluate(self, latent_pass):
        reconstruction, kl = -latent_pass.log_px[0], latent_pass.draw.kl
        terms = {"reconstruction_loss": reconstruction, "kl_loss": kl}
        return LossOutput(reconstruction + kl, terms, {"inference": kl})


def test_a_group_of_weights_may_follow_a_loss_of_its_own(binary):
    results = {}
    for objective in ("elbo", "test_groups", "elbo:beta=0"):
        keras.utils.set_random_seed(0)
        vae = make(objective=objective, compiled={"optimizer": keras.optimizers.SGD(0.01)})
        start = [v.numpy() for v in vae.trainable_variables]
        logs = vae.fit(binary, batch_size=90, epochs=1, verbose=0).history
        changes = [v.numpy() - s for v, s in zip(vae.trainable_variables, start)]
        results[objective] = dict(zip([v.path for v in vae.trainable_variables], changes)), logs
    elbo, groups, reconstruction = (results[name][0] for name in results)
    assert results["elbo"][1]["loss"] == results["test_groups"][1]["loss"]
    for path in elbo:
        if "decoder" in path:
            np.testing.assert_allclose(groups[path], elbo[path], atol=1e-7)
        else:  # the ELBO's gradient is the sum of those of its terms
            np.testing.assert_allclose(groups[path], elbo[path] - reconstruction[path], atol=1e-6)


# adapt


LIKELIHOODS = ("bernoulli", "normal", "normal:variance=learned", "normal:variance=optimal")


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("form", ["array", "dataset", "pairs"])
def test_adapting_starts_the_decoder_at_the_moments_of_the_data(binary, likelihood, form):
    x = binary * np.float32([1, 1, 1, 0, 1, 1])  # one value never varies
    slices = tf.data.Dataset.from_tensor_slices
    data = {"array": x, "dataset": slices(x).batch(40), "pairs": slices((x, x)).batch(40)}[form]
    vae = make(likelihood=likelihood)
    vae.adapt(data)
    start = vae.observation(np.zeros((1, 2)))  # a dense decoder gives its last bias at z = 0
    np.testing.assert_allclose(start.mean()[0], x.mean(0), atol=1.1e-3)
    if "learned" in likelihood:
        np.testing.assert_allclose(start.stddev()[0], np.maximum(x.std(0), 2e-3), rtol=1e-3)


def test_adapting_a_convolution_starts_it_at_the_mean_of_each_channel():
    x = np.random.default_rng(0).normal(size=(30, 8, 8, 2)).astype("float32") + [1.0, 5.0]
    vae = kv.VAE((8, 8, 2), 2, network="conv:filters=[4],width=4", likelihood="normal")
    vae.adapt(x)
    bias = vae.decoder.layers[-1].bias.numpy()
    np.testing.assert_allclose(bias, x.mean((0, 1, 2)), rtol=1e-5)


@pytest.mark.parametrize("last", [{"use_bias": False}, {"activation": "tanh"}])
def test_adapting_leaves_decoders_alone_that_do_not_end_in_a_bias(binary, last):
    vae = make(network=None, decoder=keras.Sequential([keras.layers.Dense(6, **last)]))
    before = weights_of(vae)
    vae.adapt(binary)
    for start, value in zip(before, weights_of(vae)):
        np.testing.assert_array_equal(start, value)


def test_adapting_to_what_does_not_fit_is_refused(binary):
    with pytest.raises(ValueError, match=r"\(90, 5\).*\(batch, 6\)"):
        make().adapt(binary[:, :5])
    with pytest.raises(ValueError, match="x is empty"):
        make().adapt(binary[:0])


# What users ask of a trained model


@pytest.fixture(scope="module")
def digits_model():
    keras.utils.set_random_seed(0)
    vae = kv.VAE((8, 8, 1), 3, network="conv:filters=[4],width=8")
    vae.compile("adam")
    vae.fit(kv.data.load("digits").train, epochs=1, verbose=0)
    return vae


def test_outputs_have_the_shapes_of_the_documentation(digits_model):
    vae, x = digits_model, np.zeros((5, 8, 8, 1), "float32")
    mean, stddev = vae.encode(x)
    assert mean.shape == stddev.shape == (5, 3)
    assert vae.decode(mean).shape == vae.reconstruct(x).shape == (5, 8, 8, 1)
    assert vae.predict(x, verbose=0).shape == (5, 8, 8, 1)
    np.testing.assert_allclose(vae.predict(x, verbose=0), vae.reconstruct(x), atol=1e-6)
    sample = vae.sample(4, seed=1)
    assert sample.x.shape == sample.mean.shape == (4, 8, 8, 1)
    assert sample.z.shape == (4, 3)
    assert set(np.unique(sample.x)) <= {0.0, 1.0}
    line = vae.interpolate(x[:2], 1.0 - x[:2], steps=5)
    assert line.shape == (2, 5, 8, 8, 1)
    np.testing.assert_allclose(line[:, 0], vae.reconstruct(x[:2]), atol=1e-6)
    np.testing.assert_allclose(line[:, -1], vae.reconstruct(1.0 - x[:2]), atol=1e-6)
    assert vae.elbo(x).shape == vae.log_likelihood(x, 3).shape == (5,)


def test_distributions_agree_with_the_arrays_and_carry_gradients(digits_model):
    vae = digits_model
    x = tf.Variable(vae.sample(6, seed=2).x)
    with tf.GradientTape() as tape:
        q = vae.posterior(x)
        px = vae.observation(q.sample(seed=[0, 1]))
        value = tf.reduce_sum(px.log_prob(x)) + tf.reduce_sum(q.entropy())
    assert tape.gradient(value, x).shape == x.shape
    np.testing.assert_allclose(q.mean(), vae.encode(x).mean, atol=1e-5)
    np.testing.assert_allclose(q.stddev(), vae.encode(x).stddev, atol=1e-5)
    assert q.batch_shape == px.batch_shape == (6,)
    assert px.event_shape == (8, 8, 1)
    np.testing.assert_allclose(vae.observation(q.mean()).mean(), vae.reconstruct(x), atol=1e-6)
    assert vae.observation(tf.zeros([2, 4, 3])).batch_shape == (2, 4)


def test_samples_repeat_with_the_seed_alone(digits_model):
    vae = digits_model
    np.testing.assert_array_equal(vae.sample(9, seed=4).x, vae.sample(9, seed=4).x)
    np.testing.assert_array_equal(vae.sample(9, seed=4).x, vae.sample(9, seed=(0, 4)).x)
    assert np.any(vae.sample(9, seed=4).z != vae.sample(9, seed=5).z)
    assert np.any(vae.sample(9).z != vae.sample(9).z)
    z = vae.sample(4000, seed=0).z
    assert np.abs(z.mean(0)).max() < 4 / np.sqrt(4000)
    np.testing.assert_allclose(np.cov(z.T), np.eye(3), atol=0.1)


@pytest.mark.parametrize(
    ("method", "arguments", "words"),
    [
        ("encode", [np.zeros((2, 8, 8))], "channel axis"),
        ("encode", [np.zeros((8, 8, 1))], "batch axis"),
        ("encode", [np.zeros((2, 9, 8, 1))], r"\(2, 9, 8, 1\)"),
        ("encode", [np.zeros((0, 8, 8, 1))], "empty"),
        ("encode", [np.array([["a"]])], "numbers"),
        ("decode", [np.zeros((2, 4))], "z has shape"),
        ("sample", [0], "n is 0"),
        ("sample", [2.5], "n is 2.5"),
        ("sample", [2, "seed"], "seed is 'seed'"),
        ("interpolate", [np.zeros((1, 8, 8, 1)), np.zeros((2, 8, 8, 1))], "same number"),
        ("elbo", [np.full((1, 8, 8, 1), 255.0)], "outside the support"),
        ("log_likelihood", [np.full((1, 8, 8, 1), np.nan)], "outside the support"),
        ("log_likelihood", [np.zeros((1, 8, 8, 1)), 0], "num_samples is 0"),
    ],
)
def test_mistakes_get_a_sentence(digits_model, method, arguments, words):
    with pytest.raises((ValueError, TypeError), match=words):
        getattr(digits_model, method)(*arguments)


@pytest.mark.parametrize("kind", ["array", "dataset", "generator"])
@pytest.mark.parametrize(
    ("factor", "words"),
    [(255.0, "Divide grey levels"), (np.nan, "expected numbers between 0 and 1")],
)
def test_values_outside_the_support_are_refused_by_fit(binary, kind, factor, words):
    x = binary.copy()
    x[5, 2] = factor

    def batches():
        while True:
            yield (x[:30],)

    kinds = {
        "array": (x, {}),
        "dataset": (tf.data.Dataset.from_tensor_slices(x).batch(30), {}),
        "generator": (batches(), {"steps_per_epoch": 1}),
    }
    data, arguments = kinds[kind]
    vae = make()
    for method in ("fit", "evaluate"):
        if method == "evaluate":
            arguments = {"steps": 1} if kind == "generator" else {}
        with pytest.raises(ValueError, match=words) as caught:
            getattr(vae, method)(data, verbose=0, **arguments)
        assert "1 value(s)" in str(caught.value)
        assert "bernoulli" in str(caught.value)


@pytest.mark.parametrize("xla", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["array", "dataset", "generator"])
def test_grey_values_under_bernoulli_are_warned_of(binary, kind, xla):
    def data(x):
        slices = tf.data.Dataset.from_tensor_slices
        return {
            "array": x,
            "dataset": slices(x).batch(30),
            "generator": (batch for batch in [(x,)]),
        }[kind]

    vae = make(compiled={"jit_compile": xla})
    vae.fit(data(binary), steps_per_epoch=1, verbose=0)  # warnings are errors
    vae = make(compiled={"jit_compile": xla})
    with pytest.warns(UserWarning, match="x holds grey values.*'bernoulli'.*Binarise"):
        vae.fit(data(0.9 * binary), steps_per_epoch=1, verbose=0)


@pytest.mark.parametrize("where", ["x", pytest.param("validation", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["array", "dataset", "dataset (x, y)", "generator"])
def test_under_xla_data_are_still_checked(binary, kind, where):
    vae = make(compiled={"jit_compile": True})
    bad = binary.copy()
    bad[70, 2] = 255.0
    slices = tf.data.Dataset.from_tensor_slices
    data = {
        "array": bad,
        "dataset": slices(bad).batch(30),
        "dataset (x, y)": slices((bad, bad[:, 0])).batch(30),
        "generator": streams(bad, np.ones(90))["generator"][0],
    }[kind]
    steps = {"steps_per_epoch": 3} if kind == "generator" else {}
    if where == "x":
        arguments = {"x": data, **steps}
    else:
        checked = (data,) if kind == "array" else data
        steps = {"validation_steps": 3} if steps else {}
        arguments = {"x": binary, "validation_data": checked, **steps}
    with pytest.raises(ValueError, match=r"1 value\(s\) outside the support"):
        vae.fit(verbose=0, **arguments)


def test_single_batches_are_checked_and_scored(binary):
    vae = make()
    assert np.isfinite(vae.train_on_batch(binary, return_dict=True)["loss"])
    scores = vae.test_on_batch(binary, sample_weight=np.ones(90), return_dict=True)
    assert scores["elbo"] == pytest.approx(vae.elbo(binary).mean(), rel=1e-5)
    np.testing.assert_allclose(vae.predict_on_batch(binary), vae.reconstruct(binary), atol=1e-6)
    for method in (vae.train_on_batch, vae.test_on_batch, vae.predict_on_batch):
        with pytest.raises(ValueError, match="^x holds 2.. value.*Divide grey levels"):
            method(255.0 * binary)


@pytest.mark.parametrize("kind", ["array", "dataset"])
@pytest.mark.parametrize("weight", [-1.0, np.nan])
def test_weights_that_are_none_are_refused(binary, weight, kind):
    weights = np.ones(90, "float32")
    weights[4] = weight
    vae = make()
    arguments = {"x": binary, "sample_weight": weights}
    if kind == "dataset":
        data = (binary, binary[:, 0], weights)
        arguments = {"x": tf.data.Dataset.from_tensor_slices(data).batch(30)}
    for method in (vae.fit, vae.evaluate):
        with pytest.raises(ValueError, match="least sample weight is (-1|nan).*at least 0"):
            method(verbose=0, **arguments)


def test_arguments_may_come_in_keras_s_order(binary):
    vae = kv.VAE((6,), 2, network=NETWORK)
    vae.compile("sgd", None, None, ["mae"])
    history = vae.fit(binary, None, 45, 2, 0).history
    assert len(history["mae"]) == 2
    assert len(vae.evaluate(binary, None, 45, 0)) == len(vae.metrics_names)
    assert vae.predict(binary, 45, 0).shape == (90, 6)
    with pytest.raises(TypeError, match="epoch"):
        vae.fit(binary, epoch=2)


def test_keras_s_export_points_to_ours(tmp_path):
    with pytest.raises(NotImplementedError, match=r"keras_vae\.export\.saved_model"):
        make().export(tmp_path / "model")


def test_an_autoencoder_has_no_bound(binary):
    vae = kv.recipes.autoencoder((6,), 2, network=NETWORK)
    vae.compile("adam")
    history = vae.fit(binary, epochs=1, verbose=0).history
    assert set(history) == {"loss", "reconstruction_loss", "regularization_loss"}
    np.testing.assert_array_equal(vae.encode(binary).stddev, np.zeros((90, 2)))
    for method in (vae.elbo, vae.log_likelihood):
        with pytest.raises(ValueError, match="density"):
            method(binary)


def test_the_recipe_of_the_beta_vae_sets_beta():
    vae = kv.recipes.beta_vae((6,), 2, beta="linear(end=4.0)", network=NETWORK)
    assert vae.objective.beta == kv.schedules.Linear(end=4.0)


# Noise


def test_runs_repeat_with_the_seed_and_differ_without(binary):
    def run(seed):
        keras.utils.set_random_seed(0)
        vae = make(seed=seed)
        history = vae.fit(binary, batch_size=30, epochs=2, verbose=0, shuffle=False).history
        return vae, history

    (one, logs), (again, repeated), (_, others) = run(7), run(7), run(8)
    assert logs == repeated
    assert_equal_weights(one, again)
    assert logs["loss"] != others["loss"]


def test_noise_differs_from_step_to_step(binary):
    sampling = kv.layers.Sampling(seed=3)
    draws = [sampling.noise([100, 4], step).numpy() for step in (0, 1, 2, 0)]
    np.testing.assert_array_equal(draws[0], draws[3])
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(draws[one].ravel(), draws[other].ravel())[0, 1]) < 0.2
    assert np.any(kv.layers.Sampling(seed=4).noise([100, 4], 0) != draws[0])


def test_training_goes_on_with_the_next_noise_after_a_reload(binary, tmp_path):
    def batches():
        return tf.data.Dataset.from_tensor_slices(binary).batch(30)

    keras.utils.set_random_seed(0)
    straight = make()
    straight.fit(batches(), epochs=4, verbose=0)
    keras.utils.set_random_seed(0)
    first = make()
    first.fit(batches(), epochs=2, verbose=0)
    first.save(tmp_path / "half.keras")
    second = kv.load(tmp_path / "half.keras")
    second.fit(batches(), epochs=2, verbose=0)
    assert_equal_weights(straight, second, atol=1e-7)


FREED = """
import gc, weakref
import numpy as np, keras_vae as kv
x = np.ones((20, 6), "float32")
vae = kv.VAE((6,), 2, network="dense:widths=[8]")
vae.compile("adam")
vae.fit(x, verbose=0, validation_data=(x,))
vae.elbo(x)
vae.sample(2, seed=0)
kept = weakref.ref(vae)
del vae
gc.collect()
assert kept() is None
"""


def test_a_model_that_is_no_longer_used_is_freed():
    # In a process of its own: all that other tests left would be looked through.
    subprocess.run([sys.executable, "-c", FREED], check=True)
