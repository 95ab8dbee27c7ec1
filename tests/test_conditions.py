"""Models of x given y: against known densities, by every way that data comes, what is refused."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import keras_vae as kv

STDDEV = 0.7
SPECS = {"classes": 3, "vector": (2,)}


@pytest.fixture(params=SPECS)
def labelled(request, real):
    """Ninety real events with conditions of one kind, and the spec of that kind."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 90) if request.param == "classes" else rng.normal(size=(90, 2))
    return real, y.astype(np.int64 if request.param == "classes" else np.float32), request.param


def model(kind="classes", **options):
    options = {"likelihood": "normal", "network": "dense:widths=[8]", **options}
    vae = kv.VAE((6,), 2, condition=SPECS[kind], **options)
    vae.compile(keras.optimizers.Adam(0.01))
    return vae


class Known:
    """x|z, y ~ N(W z + b_y, s^2 I) with z|y ~ N(mean_y, I) or N(0, I), and its exact posterior."""

    def __init__(self, prior):
        rng = np.random.default_rng(0)
        basis, _ = np.linalg.qr(rng.normal(size=(5, 2)))
        self.weights = basis * np.array([1.5, 0.6])
        self.biases = rng.normal(size=(3, 5))
        self.means = rng.normal(size=(3, 2)) if prior == "conditional_normal" else np.zeros((3, 2))
        x, z, y = keras.Input((5,)), keras.Input((2,)), keras.Input((3,))
        features = keras.layers.Concatenate(name="both")([x, y])
        params = keras.layers.Dense(5, use_bias=False, name="params")
        outputs = params(keras.layers.Concatenate(name="side_by_side")([z, y]))
        self.vae = kv.VAE(
            (5,),
            2,
            condition=3,
            encoder=keras.Model([x, y], features),
            decoder=keras.Model([z, y], outputs),
            likelihood=kv.likelihoods.Normal("fixed", STDDEV),
            prior=prior,
        )
        params.set_weights([np.concatenate([self.weights.T, self.biases])])
        precision = 1.0 + np.diag(self.weights.T @ self.weights) / STDDEV**2
        of_x = self.weights / STDDEV**2 / precision
        of_y = (self.means - self.biases @ self.weights / STDDEV**2) / precision
        kernel = np.concatenate([of_x, of_y])
        bias = np.concatenate([np.zeros(2), -0.5 * np.log(precision)])
        projection = self.vae.latent.posterior.projection
        projection.set_weights([np.concatenate([kernel, np.zeros_like(kernel)], 1), bias])
        if prior == "conditional_normal":
            kernel = np.concatenate([self.means, np.zeros((3, 2))], 1)
            self.vae.latent.prior.projection.set_weights([kernel, np.zeros(4)])

    def sample(self, y, seed=1):
        rng = np.random.default_rng(seed)
        z = self.means[y] + rng.normal(size=(len(y), 2))
        noise = STDDEV * rng.normal(size=(len(y), 5))
        return (z @ self.weights.T + self.biases[y] + noise).astype("float32")

    def log_prob(self, x, y):
        covariance = self.weights @ self.weights.T + STDDEV**2 * np.eye(5)
        centred = x - self.biases[y] - self.means[y] @ self.weights.T
        return scipy.stats.multivariate_normal(np.zeros(5), covariance).logpdf(centred)


@pytest.mark.parametrize(
    "prior", [pytest.param("standard_normal", marks=pytest.mark.slow), "conditional_normal"]
)
def test_bounds_and_estimates_are_those_of_the_known_conditional_density(prior):
    known = Known(prior)
    y = np.arange(60) % 3
    x = known.sample(y)
    exact = known.log_prob(x, y)
    close = {"rtol": 1e-4, "atol": 1e-4}  # with the exact posterior every weight is log p(x|y)
    np.testing.assert_allclose(known.vae.elbo(x, 1000, condition=y), exact, atol=0.1)
    np.testing.assert_allclose(known.vae.log_likelihood(x, 3, condition=y), exact, **close)
    found = known.vae.prior_sample(x, 20000, condition=y)
    apart = np.abs(found.log_likelihood - exact) / found.monte_carlo_error
    assert np.mean(apart < 2.0) > 0.85
    wrong = known.vae.log_likelihood(x, 1000, condition=(y + 1) % 3)
    assert wrong.mean() < exact.mean() - 0.5
    annealed = known.vae.annealed_sample(x[:6], 64, 60, 3, condition=y[:6])
    apart = np.abs(annealed.log_likelihood - exact[:6])
    assert np.all(apart < 4.5 * annealed.monte_carlo_error + 0.02)


@pytest.mark.parametrize("prior", ["standard_normal", "conditional_normal"])
def test_samples_of_a_class_have_its_moments(prior):
    known = Known(prior)
    drawn = known.vae.sample(20000, seed=0, condition=2)
    mean = known.biases[2] + known.weights @ known.means[2]
    covariance = known.weights @ known.weights.T + STDDEV**2 * np.eye(5)
    error = np.sqrt(np.diag(covariance) / 20000)
    assert np.all(np.abs(drawn.x.mean(0) - mean) < 4.5 * error)
    np.testing.assert_allclose(np.cov(drawn.x, rowvar=False), covariance, atol=0.1)
    each = known.vae.sample(3, seed=0, condition=[0, 1, 2])
    for place, one in enumerate(each.z):
        np.testing.assert_allclose(
            each.mean[place], known.biases[place] + known.weights @ one, rtol=1e-4, atol=1e-5
        )


def test_the_kl_to_a_conditional_prior_is_that_of_scipy_and_numpy():
    known = Known("conditional_normal")
    y = np.arange(30) % 3
    x = known.sample(y)
    mean, stddev = known.vae.encode(x, condition=y)
    apart = mean - known.means[y]
    exact = 0.5 * (stddev**2 + apart**2 - 1.0) - np.log(stddev)
    np.testing.assert_allclose(known.vae.kl_parts(x, condition=y), exact, rtol=1e-4, atol=1e-6)


def test_the_conditional_prior_starts_at_the_standard_normal(real):
    conditional, standard = (
        model(prior=name, seed=0) for name in ("conditional_normal", "standard_normal")
    )
    for part in ("encoder", "decoder"):
        getattr(standard, part).set_weights(getattr(conditional, part).get_weights())
    standard.latent.posterior.set_weights(conditional.latent.posterior.get_weights())
    y = np.arange(90) % 3
    values = [vae.elbo(real, condition=y) for vae in (conditional, standard)]
    np.testing.assert_allclose(*values, rtol=1e-6)
    drawn = [
        vae.prior_sample(real, 50, condition=y).log_likelihood for vae in (conditional, standard)
    ]
    np.testing.assert_allclose(*drawn, rtol=1e-5)


def ways(x, y):
    """Returns x and y in every way that `fit` takes them, by name, as arguments."""
    pairs = tf.data.Dataset.from_tensor_slices((x, y)).batch(9)
    named = tf.data.Dataset.from_tensor_slices({"x": x, "condition": y}).batch(9)
    parts = [slice(start, start + 9) for start in range(0, len(x), 9)]
    return {
        "arrays": {"x": x, "y": y},
        "mapping": {"x": {"x": x, "condition": y}},
        "pairs": {"x": pairs},
        "named": {"x": named.map(lambda both: (both,))},
        "generator": {"x": ((x[p], y[p]) for p in parts)},
        "weighted": {"x": x, "y": y, "sample_weight": np.ones(len(x))},
    }


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_data_comes_as_keras_takes_it(labelled, jit_compile):
    x, y, kind = labelled
    losses = {}
    for name in ways(x, y):
        keras.utils.set_random_seed(0)
        vae = model(kind)
        vae.compile(keras.optimizers.SGD(0.01), jit_compile=jit_compile)
        options = ways(x, y)[name]
        if not isinstance(options["x"], tf.data.Dataset) and name != "generator":
            options["batch_size"] = 9
        if name == "generator":
            options["steps_per_epoch"] = 10
        history = vae.fit(**options, shuffle=False, verbose=0).history
        losses[name] = history["loss"][0]
    assert max(losses.values()) - min(losses.values()) < 1e-5, losses


def test_evaluate_predict_and_steps_take_the_condition(labelled):
    x, y, kind = labelled
    vae, data = model(kind), tf.data.Dataset.from_tensor_slices(labelled[:2]).batch(16)
    vae.fit(x, y, validation_data=(x, y), validation_batch_size=7, verbose=0)
    scores = vae.evaluate(x, y, verbose=0, return_dict=True)
    assert scores["elbo"] == pytest.approx(vae.elbo(x, condition=y).mean(), rel=1e-5)
    assert vae.evaluate(data, verbose=0, return_dict=True) == pytest.approx(scores, rel=1e-5)
    events = {"x": x, "condition": y}
    means = vae.reconstruct(x, condition=y)
    for found in (vae.predict(events, verbose=0), vae.predict(data, verbose=0), vae(events)):
        np.testing.assert_allclose(found, means, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(vae.reconstruct(events), means)
    assert np.isfinite(vae.train_on_batch(x, y)[0])
    assert vae.gradient_norm(events) > 0.0
    lines = vae.interpolate(events, {"x": x[::-1], "condition": y[::-1]}, 4)
    np.testing.assert_allclose(lines[:, 0], vae.reconstruct(events), rtol=1e-4, atol=1e-5)
    posterior, observed = vae.posterior(x, condition=y), vae.observation(np.zeros((90, 2)), y)
    np.testing.assert_allclose(posterior.mean(), vae.encode(events).mean, rtol=1e-5, atol=1e-6)
    decoded = vae.decode(np.zeros((90, 2)), condition=y)
    np.testing.assert_allclose(observed.mean(), decoded, rtol=1e-5, atol=1e-6)
    assert vae.observation(np.zeros(2), condition=y[0]).batch_shape == ()


def test_the_encoder_and_the_decoder_heed_the_condition(labelled):
    x, y, kind = labelled
    vae = model(kind)
    other = (y + 1) % 3 if kind == "classes" else y + 1.0
    assert (
        np.abs(vae.encode(x, condition=y).mean - vae.encode(x, condition=other).mean).max() > 1e-3
    )
    z = np.zeros((90, 2))
    assert np.abs(vae.decode(z, condition=y) - vae.decode(z, condition=other)).max() > 1e-3


def test_a_model_learns_what_its_classes_are():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 600)
    x = (np.eye(3)[y][:, [0, 0, 1, 1, 2, 2]] * 2.0 + 0.3 * rng.normal(size=(600, 6))).astype(
        "float32"
    )
    vae = kv.VAE(
        (6,), 1, condition=3, likelihood="normal:variance=shared", network="dense:widths=[32]"
    )
    vae.compile(keras.optimizers.Adam(0.01))
    vae.fit(x, y, epochs=20, batch_size=50, verbose=0)
    for each in range(3):
        drawn = vae.sample(200, seed=0, condition=each).mean.reshape(200, 3, 2).mean(2)
        assert np.mean(drawn.argmax(1) == each) > 0.98


WRONG = {
    "none": ({}, "received x alone; expected .*condition"),
    "unseen class": ({"condition": 3}, "condition holds 3; expected classes as whole numbers"),
    "negative class": ({"condition": -1}, "condition holds -1; expected classes"),
    "fraction": ({"condition": 0.5}, "condition holds 0.5; expected classes"),
    "too few": ({"condition": [0, 1]}, r"condition has shape \(2,\); expected \(4,\)"),
    "one-hot": ({"condition": np.eye(3)[[0, 1, 2, 0]]}, r"condition has shape \(4, 3\)"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_other_conditions_are_refused_in_words(real, wrong):
    vae, (options, words) = model(), WRONG[wrong]
    for method in (
        lambda: vae.sample(4, seed=0, **options),
        lambda: vae.elbo(real[:4], **options),
        lambda: vae.decode(np.zeros((4, 2)), **options),
        lambda: vae.log_likelihood(real[:4], 2, **options),
    ):
        with pytest.raises(ValueError, match=words):
            method()


def test_training_refuses_other_conditions(real):
    vae, y = model(), np.arange(90) % 3
    stream = tf.data.Dataset.from_tensor_slices((real, y + 1)).batch(30)
    with pytest.raises(ValueError, match="condition holds 3; expected classes"):
        vae.fit(real, y + 1, verbose=0)
    with pytest.raises(ValueError, match="condition holds 3; expected classes"):
        vae.fit(stream, verbose=0)
    with pytest.raises(ValueError, match="condition holds 3; expected classes"):
        vae.evaluate(stream, verbose=0)
    with pytest.raises(ValueError, match="received x alone"):
        vae.fit(real, verbose=0)
    with pytest.raises(ValueError, match="received x alone"):
        vae.fit(tf.data.Dataset.from_tensor_slices(real).batch(30), verbose=0)
    with pytest.raises(ValueError, match=r"condition has shape \(90, 2\)"):
        vae.fit(real, np.zeros((90, 2)), verbose=0)
    words = tf.data.Dataset.from_tensor_slices((real, y.astype(str))).batch(30)
    for data in ((words,), (real, y.astype(str))):
        with pytest.raises(
            TypeError, match="condition holds .*; expected classes as whole numbers"
        ):
            vae.fit(*data, verbose=0)
    wide = model("vector")
    with pytest.raises(ValueError, match=r"condition has shape \(90, 3\); expected \(90, 2\)"):
        wide.fit(real, np.zeros((90, 3)), verbose=0)
    with pytest.raises(ValueError, match="vectors of 2 finite"):
        wide.fit(real, np.full((90, 2), np.nan), verbose=0)
    with pytest.raises(ValueError, match="x holds 'condition' already"):
        vae.elbo({"x": real, "condition": y}, condition=y)
    plain = kv.VAE((6,), 2, likelihood="normal", network="dense:widths=[8]")
    with pytest.raises(
        ValueError, match="a model takes a condition if it was made with condition="
    ):
        plain.sample(3, condition=1)
    plain.compile("adam")
    plain.fit(real, y, verbose=0)  # y is of no concern to a model without a condition


def test_specs_that_are_none_are_refused():
    for spec, words in (
        (1, "count is 1"),
        ((2, 3), "expected a number of classes"),
        ("x", "Unknown"),
    ):
        with pytest.raises(ValueError, match=words):
            kv.VAE((6,), 2, condition=spec)
    with pytest.raises(TypeError, match="condition"):
        kv.VAE((6,), 2, condition=2.5)
    with pytest.raises(ValueError, match="needs a model with a condition"):
        kv.VAE((6,), 2, prior="conditional_normal")
    with pytest.raises(ValueError, match="condition of shape"):
        encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
        kv.VAE((6,), 2, condition=3, encoder=encoder)
    config = keras.saving.serialize_keras_object(kv.conditions.Classes(3))
    for spec in (3, "classes:count=3", kv.conditions.Classes(3), config):
        assert kv.VAE((6,), 2, condition=spec).condition.count == 3


@pytest.mark.parametrize("network", ["conv:filters=[4],width=8", "resnet:filters=[4],width=8"])
@pytest.mark.parametrize("count", [3, 20])
def test_images_have_the_condition_in_every_pixel(network, count, tmp_path):
    vae = kv.VAE((8, 8, 1), 2, network=network, condition=count, likelihood="normal")
    x = np.random.default_rng(0).random((6, 8, 8, 1)).astype("float32")
    means = [vae.encode(x, condition=each).mean for each in (0, count - 1)]
    assert np.abs(means[0] - means[1]).max() > 1e-4
    vae.save(tmp_path / "vae.keras")
    loaded = kv.load(tmp_path / "vae.keras")
    assert loaded.condition.count == count
    np.testing.assert_array_equal(loaded.encode(x, condition=0).mean, means[0])


def test_the_exported_model_refuses_unseen_classes_and_takes_one_for_all(real, tmp_path):
    vae = model(prior="conditional_normal")
    call = tf.saved_model.load(str(kv.export.saved_model(vae, tmp_path / "model"))).signatures
    seed = tf.constant([0, 1])
    drawn = call["sample"](n=tf.constant(5), seed=seed, condition=tf.constant([2]))
    np.testing.assert_allclose(drawn["x"], vae.sample(5, seed=1, condition=2).x, rtol=1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError, match="condition holds 3"):
        call["sample"](n=tf.constant(5), seed=seed, condition=tf.constant([3]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="condition holds -1"):
        call["encode"](x=tf.constant(real[:1]), condition=tf.constant([-1]))


def test_a_vamp_prior_starts_at_examples_with_their_conditions(real):
    vae = model(prior=kv.priors.Vamp(90))
    y = np.arange(90) % 3
    vae.adapt({"x": real, "condition": y})
    prior = vae.latent.prior
    apart = np.abs(prior.inputs.numpy()[:, None] - real[None]).max(-1)
    nearest = apart.argmin(1)
    np.testing.assert_array_equal(prior.conditions.numpy().argmax(1), y[nearest])


def test_a_prior_is_fitted_to_the_codes_of_conditioned_examples(real):
    vae, y = model(), np.arange(90) % 3
    new = vae.fit_prior({"x": real, "condition": y}, "mixture:components=2")
    assert new.sample(4, seed=0, condition=1).x.shape == (4, 6)
    data = tf.data.Dataset.from_tensor_slices((real, y)).batch(30)
    assert new.condition.count == 3 and vae.fit_prior(data, "mixture:components=2")
    with pytest.raises(ValueError, match="depends on the condition"):
        vae.fit_prior({"x": real, "condition": y}, "conditional_normal")


def test_evaluation_and_callbacks_take_conditioned_data(real, tmp_path):
    vae, y = model(prior="conditional_normal"), np.arange(90) % 3
    data = tf.data.Dataset.from_tensor_slices((real, y)).batch(30)
    board = kv.callbacks.TensorBoard(tmp_path / "board")
    vae.fit(
        data, validation_data=data, verbose=0, callbacks=[board, kv.callbacks.CollapseWarning()]
    )
    events = {"x": real, "condition": y}
    metrics = kv.evaluation.evaluate(vae, data, 20)
    assert metrics["elbo"] == pytest.approx(vae.elbo(events).mean(), rel=1e-5)
    again = kv.evaluation.evaluate(vae, events, 20)
    assert metrics["nll"] == pytest.approx(again["nll"], rel=1e-5)
    assert kv.evaluation.gaps(vae, events).num_prior == 90
    assert {"latents", "histograms"} <= set(kv.evaluation.figures(vae, events, y))


def test_one_row_per_class_and_one_latent_per_column():
    vae = kv.VAE((8, 8, 1), 2, network="dense:widths=[8]", condition=3)
    images = kv.evaluation.conditional_samples(vae, columns=4, seed=1)
    assert images.shape == (3, 4, 8, 8, 1)
    z = vae.sample(4, seed=1, condition=0).z
    for each in range(3):
        np.testing.assert_allclose(images[each], vae.decode(z, condition=each), rtol=1e-5)
    x = np.random.default_rng(0).integers(0, 2, (12, 8, 8, 1)).astype("float32")
    figures = kv.evaluation.figures(vae, {"x": x, "condition": np.arange(12) % 3})
    assert {"classes", "samples", "plane", "reconstructions", "interpolations"} <= set(figures)
    with pytest.raises(ValueError, match="expected classes"):
        kv.evaluation.conditional_samples(kv.VAE((6,), 2))


def test_bounds_from_both_sides_enclose_the_known_density():
    known, y = Known("conditional_normal"), np.arange(6) % 3
    annealing = kv.evaluation.base.Annealing(200, 5)
    found = kv.evaluation.bidirectional(known.vae, 6, 16, 3, annealing, condition=y)
    exact = known.log_prob(found.x, y)
    np.testing.assert_allclose(found.lower, exact, atol=0.5)
    np.testing.assert_allclose(found.upper, exact, atol=0.5)
    with pytest.raises(ValueError, match="condition is missing; expected classes"):
        kv.evaluation.prior_draws(known.vae, 6)


def test_streams_of_unknown_shape_are_taken(real):
    kinds = (tf.float32, tf.int32)
    stream = tf.data.Dataset.from_generator(lambda: [(real, np.arange(90) % 3)], output_types=kinds)
    fitted = model().fit(stream, verbose=0, steps_per_epoch=1)
    assert np.isfinite(fitted.history["loss"]).all()


def test_xla_refuses_unseen_classes_of_a_generator_in_words(real):
    vae = model()
    vae.compile("sgd", jit_compile=True)
    with pytest.raises(ValueError, match="^condition holds 3; expected classes"):
        vae.fit(((real, np.arange(90) % 4) for _ in range(2)), verbose=0, steps_per_epoch=1)
