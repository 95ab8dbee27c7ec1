"""Missing entries: left out of densities, seen as 0 with a mask, and filled by the posterior."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from linear_gaussian import EVENT_SIZE, STDDEV, LinearGaussian
from strategies import TABLE, compose, events

import keras_vae as kv
from keras_vae import imputation
from keras_vae._types import Given, Inputs

SEED = tf.constant([0, 0])
LIKELIHOODS = [member for member in TABLE if member.family == "likelihood"]
by_likelihood = pytest.mark.parametrize(
    "member",
    [pytest.param(m, id=m.id, marks=[pytest.mark.slow] if m.slow else []) for m in LIKELIHOODS],
)


def holes(x, share=0.3, seed=7):
    """Returns x with that share of its entries NaN."""
    lost = np.random.default_rng(seed).random(x.shape) < share
    return np.where(lost, np.float32(np.nan), x)


class Incomplete(LinearGaussian):
    """The linear-Gaussian model where entries may be missing, with a rough q(z|x_observed)."""

    def _vae(self, widen, likelihood):
        encoder = keras.Sequential([keras.Input((2 * EVENT_SIZE,)), keras.layers.Identity()])
        dense = keras.layers.Dense(EVENT_SIZE, name="parameters")
        decoder = keras.Sequential([keras.Input((2,)), dense])
        vae = kv.VAE(
            (EVENT_SIZE,), 2, encoder=encoder, decoder=decoder, likelihood=likelihood, missing=True
        )
        dense.set_weights([self.weights.T, self.bias])
        to_mean = self.weights / STDDEV**2 / self.precision
        of_mask = -self.bias[:, None] * to_mean
        zeros = np.zeros((2 * EVENT_SIZE, 2))
        kernel = np.concatenate([np.concatenate([to_mean, of_mask]), zeros], 1)
        vae.latent.posterior.projection.set_weights([kernel, np.zeros(4)])
        return vae

    def conditional(self, x):
        """Returns log p(x_observed), and mean and covariance of what is missing of one x."""
        lost = np.isnan(x)
        cov = self.weights @ self.weights.T + STDDEV**2 * np.eye(EVENT_SIZE)
        seen = scipy.stats.multivariate_normal(self.bias[~lost], cov[np.ix_(~lost, ~lost)])
        gain = cov[np.ix_(lost, ~lost)] @ np.linalg.inv(cov[np.ix_(~lost, ~lost)])
        mean = self.bias[lost] + gain @ (x[~lost] - self.bias[~lost])
        return (
            seen.logpdf(x[~lost]),
            mean,
            cov[np.ix_(lost, lost)] - gain @ cov[np.ix_(~lost, lost)],
        )


def model(shape=(6,), **options):
    options = {"likelihood": "normal", "network": "dense:widths=[8]", "missing": True, **options}
    vae = kv.VAE(shape, 2, **options)
    vae.compile(keras.optimizers.SGD(0.01))
    return vae


@pytest.fixture(scope="module")
def incomplete():
    known = Incomplete()
    x = holes(known.sample(400), 0.3)
    return known, x[~np.isnan(x).all(1) & np.isnan(x).any(1)][:200]


def test_estimates_are_of_the_marginal_of_what_was_observed(incomplete):
    known, x = incomplete
    exact = np.array([known.conditional(one)[0] for one in x])
    found = known.vae.importance_sample(x, 5000)
    apart = (found.log_likelihood - exact) / np.maximum(found.monte_carlo_error, 1e-4)
    assert np.mean(np.abs(apart) < 3.0) > 0.95
    assert np.all(known.vae.elbo(x, 500) < exact + 0.05)


def test_imputation_is_the_exact_conditional(incomplete):
    known, x = incomplete
    found = known.vae.impute(x, num_samples=5000, num_draws=200)
    means, within = [], []
    for place, one in enumerate(x):
        lost = np.isnan(one)
        _, mean, covariance = known.conditional(one)
        spread = np.sqrt(np.diag(covariance))
        means.append((found.x[place, lost] - mean) / spread)
        within.append(found.stddev[place, lost] / spread)
    error = 1.0 / np.sqrt(found.effective_sample_size)
    assert np.abs(np.concatenate(means)).max() < 6.0 * error.max()
    assert abs(np.concatenate(means).mean()) < 0.02
    assert abs(np.concatenate(within).mean() - 1.0) < 0.02


def test_ninety_per_cent_intervals_cover_the_truth(incomplete):
    known, _ = incomplete
    truth = known.sample(600, seed=5)
    x = holes(truth, 0.4, seed=8)
    draws = known.vae.impute(x, num_samples=2000, num_draws=200).draws
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    lost = np.isnan(x)
    covered = np.mean((low <= truth)[lost] & (truth <= high)[lost])
    assert 0.85 < covered < 0.95


def test_what_was_observed_stays_and_the_batch_has_no_say(incomplete):
    known, x = incomplete
    found, again = (known.vae.impute(x, 300, 7, batch_size=size) for size in (100, 33))
    seen = ~np.isnan(x)
    for filled in (found.x, *found.draws):
        np.testing.assert_array_equal(filled[seen], x[seen])
        assert np.isfinite(filled).all()
    assert np.all(found.stddev[seen] == 0.0) and np.all(found.stddev[~seen] > 0.0)
    for one, other in zip(found, again):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert np.all(found.effective_sample_size <= 300.001)
    other = known.vae.impute(x, 300, 7, seed=1)
    assert np.abs(other.draws - found.draws)[:, ~seen].max() > 0.1


def test_a_mask_says_the_same_as_nan(incomplete):
    known, x = incomplete
    masked = {"x": np.where(np.isnan(x), 123.0, x), "mask": ~np.isnan(x)}
    np.testing.assert_array_equal(known.vae.elbo(masked), known.vae.elbo(x))
    found = [known.vae.impute(each, 50, 3).draws for each in (masked, x)]
    np.testing.assert_array_equal(*found)
    with pytest.raises(ValueError, match="mask has shape"):
        known.vae.elbo({"x": x, "mask": masked["mask"][:, :2]})
    for jit_compile in (False, True):
        losses = []
        for data in (x, masked):
            keras.utils.set_random_seed(0)
            vae = model((EVENT_SIZE,))
            vae.compile("sgd", jit_compile=jit_compile)
            history = vae.fit(data, verbose=0, shuffle=False, epochs=2).history
            losses.append(history["loss"])
        assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@by_likelihood
def test_with_nothing_missing_it_is_the_plain_model_with_a_mask_of_ones(member):
    vae = compose(member, missing=True)
    x = tf.constant(events(member, 12))
    shape = vae.likelihood.network_shape(vae.event_shape)
    inputs = keras.Input(shape)
    ones = keras.layers.Lambda(lambda seen: tf.ones([tf.shape(seen)[0], *vae.event_shape]))
    both = keras.layers.Concatenate()([inputs, ones(inputs)])
    plain = compose(
        member, encoder=keras.Model(inputs, vae.encoder(both)), decoder=vae.decoder, network=None
    )
    plain.latent.set_weights(vae.latent.get_weights())
    if vae.likelihood.weights:
        plain.likelihood.set_weights(vae.likelihood.get_weights())
    noise = tf.random.stateless_normal([2, 12, vae.latent.noise_size], [0, 1])

    def loss_and_gradients(one):
        weights = [
            *one.latent.trainable_variables,
            *vae.encoder.trainable_variables,
            *vae.decoder.trainable_variables,
        ]
        with tf.GradientTape() as tape:
            inputs = Inputs(x, None, Given())
            made = one.graph.forward(inputs, noise, step=0, seed=SEED, training=True)
            loss = one.objective.evaluate(made.latent_pass).loss
        return loss, tape.gradient(loss, weights)

    (loss, gradients), (expected, others) = map(loss_and_gradients, (vae, plain))
    np.testing.assert_allclose(loss, expected, rtol=2e-5)
    for one, other in zip(gradients, others):
        scale = np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=2e-5 * max(scale, 1.0))


@by_likelihood
def test_a_missing_entry_counts_nothing_and_leaves_gradients_finite(member):
    vae = compose(member, missing=True)
    x = holes(events(member, 20), 0.4)
    vae.adapt(x)
    vae.compile(keras.optimizers.Adam(0.01))
    history = vae.fit(x, batch_size=8, epochs=2, verbose=0, validation_data=x).history
    assert all(np.isfinite(values).all() for values in history.values())
    assert all(np.isfinite(weight).all() for weight in vae.get_weights())
    found = vae.impute(x, 20, 5)
    lost = np.isnan(x)
    assert np.isfinite(found.x).all() and np.isfinite(found.draws).all()
    support = kv._checks.support(vae.likelihood.support)
    if not member.id.endswith("one_hot"):  # a vector of which parts were observed need not add up
        assert all(np.all(support.contains(one)) for one in found.draws)
    assert np.all(found.x[~lost] == x[~lost])
    nothing = np.full_like(x[:1], np.nan)
    np.testing.assert_allclose(vae.elbo_terms(nothing).reconstruction_loss, 0.0, atol=1e-6)
    assert vae.sample(2, seed=0).x.shape == (2, *vae.event_shape)


def test_an_element_of_several_entries_counts_if_all_were_observed():
    likelihood = kv.likelihoods.LogisticMixture(2, 16)
    vae = kv.VAE((2, 2, 3), 2, likelihood=likelihood, network="dense:widths=[8]", missing=True)
    x = np.random.default_rng(0).integers(0, 16, (5, 2, 2, 3)).astype("float32")
    one, two, pixel = x.copy(), x.copy(), x.copy()
    one[:, 0, 0, 0] = two[:, 0, 0, :2] = pixel[:, 0, 0] = np.nan
    params = tf.random.stateless_normal([5, *likelihood.params_shape((2, 2, 3))], [0, 0])

    def score(values):
        mask = vae.graph._mask(tf.constant(values))
        return likelihood.log_prob(params, values, Given(), mask)

    np.testing.assert_allclose(score(one), score(pixel), rtol=1e-6)
    np.testing.assert_allclose(score(two), score(pixel), rtol=1e-6)
    assert np.all(score(pixel) > score(x))


def test_several_samples_make_the_bound_of_mattei_and_frellsen(real):
    x = holes(real, 0.4)
    vae = model(
        objective="iwae:samples=7",
    )
    noise = tf.random.stateless_normal([7, 90, 2], [0, 1])
    one = vae.graph.forward(Inputs(tf.constant(x), None, Given()), noise, step=0, seed=SEED)
    draw, seen = one.latent_pass.draw, ~np.isnan(x)
    mean, stddev = (part.numpy() for part in vae.graph.encode(tf.constant(x)))
    distribution = scipy.stats.norm(one.params.numpy()[..., :6], 1.0)
    scored = distribution.logpdf(np.nan_to_num(x))[:, :, :] * seen
    log_weights = (
        scored.sum(-1)
        + scipy.stats.norm(0, 1).logpdf(draw.z).sum(-1)
        - scipy.stats.norm(mean, stddev).logpdf(draw.z).sum(-1)
    )
    bound = scipy.special.logsumexp(log_weights, 0) - np.log(7)
    loss = vae.objective.evaluate(one.latent_pass).loss
    np.testing.assert_allclose(loss, -bound, rtol=1e-4)


def test_nan_is_refused_as_ever_without_missing(real, tmp_path):
    x = holes(real)
    vae = kv.VAE((6,), 2, likelihood="normal", network="dense:widths=[8]")
    vae.compile("adam")
    for method in (vae.elbo, lambda x: vae.fit(x, verbose=0)):
        with pytest.raises(ValueError, match="outside the support.*nan"):
            method(x)
    with pytest.raises(ValueError, match="impute needs a model that takes missing entries"):
        vae.impute(x)
    with pytest.raises(ValueError, match="NaN.*missing=True"):
        kv.data.load(x)
    taking = model()
    with pytest.raises(ValueError, match="outside the support.*inf"):
        taking.elbo(np.where(np.isnan(x), np.inf, x))
    points = model(posterior="point", objective="reconstruction")
    with pytest.raises(ValueError, match="posterior with a density"):
        points.impute(x)


def test_data_sets_keep_what_is_missing(real, tmp_path):
    x = holes(real)
    data = kv.data.load(x, 30, missing=True)
    batches = np.concatenate(list(data.test.as_numpy_iterator()))
    np.testing.assert_array_equal(batches, x[-9:])
    assert data.support == "real"
    bits = np.where(np.isnan(x), np.nan, (x > 0).astype("float32"))
    assert kv.data.load(bits, 30, missing=True).support == "binary"
    for method in ("dynamic", "static", "threshold"):
        drawn = kv.data.load(np.clip(x, 0, 1), 30, missing=True, binarize=method)
        for batch in drawn.train.as_numpy_iterator():
            assert set(np.unique(batch[~np.isnan(batch)])) <= {0.0, 1.0}
        held = np.concatenate(list(drawn.test.as_numpy_iterator()))
        np.testing.assert_array_equal(np.isnan(held), np.isnan(x[-9:]))
    text = "a,b\n" + "\n".join(f"{row},{'' if row % 3 else row / 2}" for row in range(30)) + "\n"
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(ValueError, match="NaN"):
        kv.data.load(str(tmp_path / "table.csv"))
    table = kv.data.load(str(tmp_path / "table.csv"), 8, missing=True)
    found = np.concatenate(list(table.test.as_numpy_iterator()))
    assert np.isnan(found).sum() == 2
    with pytest.raises(ValueError, match="infinite"):
        kv.data.load(np.where(np.isnan(x), np.inf, x), missing=True)


def test_the_file_and_the_exported_model_take_missing_entries(incomplete, tmp_path):
    known, x = incomplete
    known.vae.save(tmp_path / "vae.keras")
    loaded = kv.load(tmp_path / "vae.keras")
    assert loaded.missing
    found = known.vae.impute(x[:9], 50, 20, seed=3)
    np.testing.assert_array_equal(loaded.impute(x[:9], 50, 20, seed=3).x, found.x)
    exported = tf.saved_model.load(str(kv.export.saved_model(known.vae, tmp_path / "model")))
    seed, count = tf.constant([0, 3]), tf.constant(50)
    filled = exported.signatures["impute"](x=x[:9], num_samples=count, seed=seed)
    np.testing.assert_allclose(filled["x"], found.x, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(filled["stddev"], found.stddev, rtol=1e-4, atol=1e-5)
    scored = exported.signatures["elbo"](x=x[:9], seed=seed)["elbo"]
    np.testing.assert_allclose(scored, known.vae.elbo(x[:9], seed=3), rtol=1e-5)


def test_evaluation_figures_and_callbacks_take_missing_entries(real, tmp_path):
    x = holes(real)
    vae = model()
    board = kv.callbacks.TensorBoard(tmp_path / "board")
    vae.fit(x, validation_data=x, verbose=0, callbacks=[board, kv.callbacks.CollapseWarning()])
    metrics = kv.evaluation.evaluate(vae, x, 20)
    assert metrics["elbo"] == pytest.approx(vae.elbo(x).mean(), rel=1e-5)
    assert {"histograms", "pairs"} <= set(kv.evaluation.figures(vae, x))
    images = holes(np.random.default_rng(0).random((20, 8, 8, 1)).astype("float32"))
    other = model((8, 8, 1), network="conv:filters=[4],width=8")
    other.adapt(images)
    assert "reconstructions" in kv.evaluation.figures(other, images)
    assert other.impute(images, 10, 2).draws.shape == (2, 20, 8, 8, 1)


def test_moments_to_start_from_are_those_of_what_was_observed(real):
    x = holes(real, 0.5)
    vae = model()
    vae.adapt(x)
    bias = vae.decoder.layers[-1].bias.numpy()[:6]
    np.testing.assert_allclose(bias, np.nanmean(x, 0), rtol=1e-5)


def test_both_at_once(real):
    x, y = holes(real), np.arange(90) % 3
    vae = model(
        condition=3,
        prior="conditional_normal",
    )
    vae.fit(x, y, verbose=0)
    found = vae.impute(x, 30, 4, condition=y)
    assert np.isfinite(found.draws).all()
    masked = {"x": x, "condition": y, "mask": ~np.isnan(x)}
    np.testing.assert_array_equal(vae.impute(masked, 30, 4).x, found.x)


WRONG_MASKS = {
    "one axis": (np.ones(90), ValueError, r"mask has shape \(90,\); expected that of x"),
    "too narrow": (np.ones((90, 5)), ValueError, r"mask has shape \(90, 5\); expected that of x"),
    "fractions": (np.full((90, 6), 0.5), ValueError, "mask holds 0.5; expected 1 where an entry"),
    "NaN": (np.full((90, 6), np.nan), ValueError, "mask holds nan; expected 1 where an entry"),
    "words": (np.full((90, 6), "a"), TypeError, "mask holds string; expected 1 where an entry"),
}


@pytest.mark.parametrize("wrong", WRONG_MASKS)
def test_masks_that_are_none_are_refused_in_words(real, wrong):
    mask, error, words = WRONG_MASKS[wrong]
    held, vae = {"x": real, "mask": mask}, model()
    with pytest.raises(error, match=words):
        vae.impute(held, 2)
    for jit_compile in (False, True):
        vae.compile("sgd", jit_compile=jit_compile)
        stream = tf.data.Dataset.from_tensor_slices(held).batch(90)
        generator = (each for each in [(held,)])
        for data in (held, stream) if error is TypeError else (held, stream, generator):
            with pytest.raises(error, match=words.replace("90", "(90|None)")):
                vae.fit(data, verbose=0, steps_per_epoch=1)


def test_missing_is_true_or_false():
    with pytest.raises(TypeError, match="missing is 'false'.*expected True or False"):
        kv.VAE((4,), 2, missing="false")


@pytest.mark.slow
def test_xla_takes_bits_and_conditions_with_missing_entries(real):
    x, y = holes((real > 0).astype("float32")), np.arange(90) % 3
    vae = model(likelihood="bernoulli", condition=3)
    vae.compile("sgd", jit_compile=True)
    stream = tf.data.Dataset.from_tensor_slices((x, y)).batch(30, drop_remainder=True)
    for data in ((x, y), (stream,), (((x, y) for _ in range(2)),)):  # no warning of grey values
        fitted = vae.fit(*data, verbose=0, steps_per_epoch=1)
        assert np.isfinite(fitted.history["loss"]).all()


def test_weights_of_zero_do_not_spoil_the_mean():
    log_weights = [[-np.inf], [-np.inf]], [[0.0], [-np.inf]], [[1.0], [2.0]]
    means = [[[5.0]], [[5.0]]], [[[1.0]], [[np.inf]]], [[[2.0]], [[3.0]]]
    found = imputation._Found(
        kv.estimators.no_weights(1), tf.zeros([1, 1]), tf.fill([1, 1], -np.inf), tf.zeros([1, 1, 1])
    )
    uniform, inputs = tf.fill([2, 1, 1], 0.5), tf.ones([2, 1, 1])
    for weights, mean in zip(log_weights, means):
        found = imputation._added(
            found, tf.constant(weights, tf.float32), tf.constant(mean), uniform, inputs
        )
    expected = np.average([1.0, 2.0, 3.0], weights=np.exp([0.0, 1.0, 2.0]))
    np.testing.assert_allclose(found.means, [[expected]], rtol=1e-6)


def test_what_cannot_be_imputed_stays_missing_with_a_warning(real):
    x = real[:5].copy()
    x[:, 0], x[2, 1] = np.nan, 1e30
    with pytest.warns(UserWarning, match="1 of 5 examples could not be imputed"):
        found = model().impute(x, 10, 3)
    rest = [0, 1, 3, 4]
    for filled in (found.x, found.stddev, *found.draws):
        assert np.isnan(filled[2, 0]) and np.isfinite(filled[rest]).all()
    assert found.x[2, 1] == np.float32(1e30)


def test_an_example_of_nothing_is_imputed_from_the_prior(incomplete):
    known = incomplete[0]
    nothing = np.full((1, EVENT_SIZE), np.nan)
    found = known.vae.impute(nothing, 4000, 4000)
    cov = known.weights @ known.weights.T + STDDEV**2 * np.eye(EVENT_SIZE)
    np.testing.assert_allclose(found.stddev[0], np.sqrt(np.diag(cov)), rtol=0.1)
    np.testing.assert_allclose(found.x[0], known.bias, atol=0.15)
    one = known.vae.impute(nothing, 1, 1)
    assert one.draws.shape == (1, 1, EVENT_SIZE) and one.effective_sample_size == pytest.approx(1.0)
