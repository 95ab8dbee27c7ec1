"""What the theory says must be equal, is."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from linear_gaussian import LinearGaussian

import keras_vae as kv
from keras_vae._types import Given, Inputs, LatentPass

tfd = tfp.distributions
SEED = tf.constant([0, 0])


def bound(vae, x):
    """The bound posterior of x, and the forward pass on given noise."""
    return vae.graph.posterior(tf.constant(x))


def forward(vae, x, noise):
    inputs = Inputs(tf.constant(x), None, Given())
    return vae.graph.forward(inputs, tf.constant(noise, tf.float32), step=0, seed=SEED)


def noise_for(vae, x, samples, seed=0):
    shape = (samples, len(x), vae.latent.noise_size)
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


# The KL term


@pytest.fixture
def posterior_params():
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(20, 3)).astype("float32") * 2.0
    return mean, rng.normal(size=(20, 3)).astype("float32")


def draw_of(mean, log_stddev, noise):
    latent = kv.latents.Single(mean.shape[1])
    latent.setup((2 * mean.shape[1],))
    latent.posterior.projection.set_weights(
        [np.eye(2 * mean.shape[1]), np.zeros(mean.shape[1] * 2)]
    )
    features = tf.constant(np.concatenate([mean, log_stddev], 1))
    return latent.infer(features, Given(), tf.constant(noise, tf.float32), path=False)


def test_the_closed_form_kl_is_that_of_tensorflow_probability(posterior_params):
    mean, log_stddev = posterior_params
    draw = draw_of(mean, log_stddev, np.zeros((1, 20, 3)))
    q = tfd.MultivariateNormalDiag(mean.astype("float64"), np.exp(log_stddev.astype("float64")))
    p = tfd.MultivariateNormalDiag(np.zeros(3), np.ones(3))
    np.testing.assert_allclose(draw.kl, tfd.kl_divergence(q, p), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(tf.reduce_sum(draw.kl_parts, 1), draw.kl, rtol=1e-6)


def test_the_closed_form_kl_is_the_mean_of_the_log_ratio(posterior_params):
    mean, log_stddev = posterior_params
    samples = 20_000
    noise = np.random.default_rng(1).normal(size=(samples, 20, 3))
    draw = draw_of(mean, log_stddev, noise)
    ratio = np.asarray(draw.log_qz - draw.log_pz, np.float64)
    error = ratio.std(0, ddof=1) / np.sqrt(samples)
    assert np.all(np.abs(ratio.mean(0) - draw.kl) < 4.0 * error)


def test_the_density_that_comes_with_a_draw_is_the_density_of_the_draw(posterior_params):
    mean, log_stddev = posterior_params
    draw = draw_of(mean, log_stddev, np.random.default_rng(2).normal(size=(7, 20, 3)))
    expected = scipy.stats.norm(mean, np.exp(log_stddev)).logpdf(draw.z).sum(-1)
    np.testing.assert_allclose(draw.log_qz, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(draw.q.log_prob(draw.z), expected, rtol=1e-4, atol=1e-4)


def test_a_bound_posterior_scores_every_draw_under_every_example(posterior_params):
    mean, log_stddev = posterior_params
    draw = draw_of(mean, log_stddev, np.random.default_rng(2).normal(size=(4, 20, 3)))
    matrix = draw.q.log_prob(draw.z[:, :, None])
    assert matrix.shape == (4, 20, 20)
    norm = scipy.stats.norm(mean, np.exp(log_stddev))
    expected = norm.logpdf(draw.z.numpy()[:, :, None]).sum(-1)
    np.testing.assert_allclose(matrix, expected, rtol=1e-3, atol=1e-3)
    rows = draw.q.rows(tf.constant([3, 1]))
    np.testing.assert_allclose(rows.mean(), mean[[3, 1]])
    np.testing.assert_allclose(
        draw.q.covariance()[2], np.diag(np.exp(2 * log_stddev[2])), rtol=1e-5
    )


# The logs


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_logged_loss_is_the_sum_of_the_logged_terms(binary, jit_compile):
    encoder = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, kernel_regularizer=keras.regularizers.L2(0.1), name="hidden"),
            keras.layers.ActivityRegularization(l2=0.01, name="activity"),
        ]
    )
    vae = kv.VAE((6,), 2, encoder=encoder, objective=kv.objectives.ELBO(beta=2.5))
    vae.compile("adam", jit_compile=jit_compile)
    logs = vae.fit(
        binary, validation_data=(binary[:30],), batch_size=16, epochs=3, verbose=0
    ).history
    for prefix in ("", "val_"):
        one = {name: np.array(logs[prefix + name]) for name in vae._trackers}
        total = one["reconstruction_loss"] + 2.5 * one["kl_loss"] + one["regularization_loss"]
        np.testing.assert_allclose(one["loss"], total, rtol=1e-5)
        np.testing.assert_allclose(
            one["elbo"], -(one["reconstruction_loss"] + one["kl_loss"]), rtol=1e-5
        )
        assert np.all(one["regularization_loss"] > 0.0)


def test_tiling_the_target_doubles_the_reconstruction_and_leaves_the_kl(binary):
    def compose(tiles):
        inputs = keras.Input((6 * tiles,))
        first = keras.layers.Dense(8, "tanh", kernel_initializer=keras.initializers.HeNormal(1))
        encoder = keras.Model(inputs, first(inputs[:, :6]))
        z = keras.Input((2,))
        dense = keras.layers.Dense(6, kernel_initializer=keras.initializers.HeNormal(2))(z)
        tiled = keras.layers.Concatenate()([dense] * tiles) if tiles > 1 else dense
        keras.utils.set_random_seed(3)  # of the projection
        return kv.VAE((6 * tiles,), 2, encoder=encoder, decoder=keras.Model(z, tiled))

    single, double = compose(1), compose(2)
    noise = noise_for(single, binary, 3)
    one = forward(single, binary, noise).latent_pass
    two = forward(double, np.tile(binary, 2), noise).latent_pass
    np.testing.assert_allclose(two.log_px, 2.0 * one.log_px, rtol=1e-5)
    np.testing.assert_allclose(two.draw.kl, one.draw.kl, rtol=1e-6)


@pytest.mark.parametrize("objective", ["elbo", "elbo:samples=3"])
def test_evaluate_depends_neither_on_the_batch_size_nor_on_the_order(binary, objective):
    vae = kv.VAE((6,), 2, network="dense:widths=[8]", objective=objective)
    vae.compile("adam")
    vae.fit(binary, epochs=3, verbose=0)
    reference = vae.evaluate(binary, batch_size=90, return_dict=True, verbose=0)
    for size in (1, 7, 64):
        other = vae.evaluate(binary[::-1], batch_size=size, return_dict=True, verbose=0)
        np.testing.assert_allclose(list(other.values()), list(reference.values()), rtol=1e-5)
    samples = vae.objective.samples
    np.testing.assert_allclose(vae.elbo(binary, samples).mean(), reference["elbo"], rtol=1e-5)


# Importance-weighted bounds


def test_nested_draws_tighten_the_importance_weighted_bound(binary):
    vae = kv.VAE((6,), 2, network="dense:widths=[8]")
    for samples in (1, 2, 8):
        noise = noise_for(vae, binary, 2 * samples, seed=samples)
        one = forward(vae, binary, noise).latent_pass
        parts = (one.log_px, one.draw.log_pz, one.draw.log_qz)
        whole = kv.estimators.importance_weighted_bound(*parts)
        halves = [
            kv.estimators.importance_weighted_bound(*(part[half] for part in parts))
            for half in (slice(None, samples), slice(samples, None))
        ]
        assert np.all(whole >= 0.5 * (halves[0] + halves[1]) - 1e-5)


def test_with_one_draw_the_importance_weighted_bound_is_the_sampled_elbo(binary):
    vae = kv.VAE((6,), 2, network="dense:widths=[8]")
    one = forward(vae, binary, noise_for(vae, binary, 1)).latent_pass
    draw = one.draw
    value = kv.estimators.importance_weighted_bound(one.log_px, draw.log_pz, draw.log_qz)
    sampled = one.log_px[0] - (draw.log_qz[0] - draw.log_pz[0])
    np.testing.assert_allclose(value, sampled, rtol=1e-5, atol=1e-5)


def test_the_streamed_estimate_is_the_bound_of_all_its_draws(binary):
    vae = kv.VAE((6,), 2, network="dense:widths=[8]")
    x, samples = tf.constant(binary), 25  # twice as many do not fit one chunk
    noise = vae.graph.noise(x, 2 * samples, SEED)

    def bound_of(noise):
        one = forward(vae, x, noise).latent_pass
        return kv.estimators.importance_weighted_bound(one.log_px, one.draw.log_pz, one.draw.log_qz)

    whole = vae.log_likelihood(binary, 2 * samples)
    np.testing.assert_allclose(whole, bound_of(noise), rtol=1e-5, atol=1e-5)
    halves = [bound_of(noise[:samples]), bound_of(noise[samples:])]
    np.testing.assert_allclose(vae.log_likelihood(binary, samples), halves[0], rtol=1e-5)
    assert np.all(whole >= np.mean(halves, 0) - 1e-5)
    np.testing.assert_allclose(vae.log_likelihood(binary, 1), bound_of(noise[:1]), rtol=1e-5)


# A model whose likelihood is known


def test_draws_of_x_are_independent_of_z_given_its_mean():
    model = LinearGaussian()
    new = model.vae.sample(20_000, seed=3)
    residual = (new.x - new.mean) / 0.7
    correlation = residual.T @ new.z / len(new.z)
    assert np.abs(correlation).max() < 4.0 / np.sqrt(len(new.z))
    np.testing.assert_allclose(np.cov(residual.T), np.eye(5), atol=0.05)
    np.testing.assert_allclose(new.mean, new.z @ model.weights.T + model.bias, atol=1e-5)


@pytest.mark.parametrize("num_samples", [1, 2, 17, 300])
def test_with_the_exact_posterior_every_number_of_samples_gives_log_p(num_samples):
    model = LinearGaussian()
    x = model.sample(50)
    estimate = model.vae.importance_sample(x, num_samples)
    np.testing.assert_allclose(estimate.log_likelihood, model.log_prob(x), atol=1e-4)
    np.testing.assert_allclose(model.vae.elbo(x, 400), model.log_prob(x), atol=0.5)
    np.testing.assert_allclose(estimate.effective_sample_size, num_samples, rtol=1e-3)


def test_with_a_wide_posterior_the_errors_cover_the_truth():
    model = LinearGaussian(widen=1.6)
    x = model.sample(1000)
    estimate = model.vae.importance_sample(x, 2000, seed=5)
    distance = np.abs(estimate.log_likelihood - model.log_prob(x)) / estimate.monte_carlo_error
    assert np.mean(distance < 3.0) >= 0.99
    # The errors are not too large either: about two thirds lie within one of them.
    assert 0.6 < np.mean(distance < 1.0) < 0.76


def test_the_elbo_falls_short_of_log_p_by_the_kl_to_the_exact_posterior():
    model = LinearGaussian(widen=1.6)
    x = model.sample(40)
    gap = 2 * (0.5 * (1.6**2 - 1.0) - np.log(1.6))
    elbo = model.vae.elbo(x, num_samples=20_000)
    np.testing.assert_allclose(model.log_prob(x) - elbo, gap, atol=0.06)


def test_chunks_and_batches_leave_the_log_likelihood_alone(monkeypatch):
    model = LinearGaussian(widen=1.6)
    x = model.sample(30)
    whole = model.vae.log_likelihood(x, 1000, seed=2, batch_size=30)
    np.testing.assert_allclose(
        model.vae.log_likelihood(x[::-1], 1000, seed=2, batch_size=7)[::-1], whole, atol=1e-5
    )
    monkeypatch.setattr("keras_vae.graph.CHUNK_ROWS", 210)  # chunks of 7 samples
    fresh = LinearGaussian(widen=1.6)
    np.testing.assert_allclose(fresh.vae.log_likelihood(x, 1000, seed=2), whole, atol=1e-5)
    assert not np.allclose(fresh.vae.log_likelihood(x, 1000, seed=3), whole, atol=1e-4)


# Extremes


@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_saturated_logits_have_finite_losses_and_gradients(logit):
    head = kv.likelihoods.Bernoulli()
    head.setup((2,))
    params = tf.Variable([[logit, logit]])
    with tf.GradientTape() as tape:
        value = head.log_prob(params, tf.constant([[0.0, 1.0]]))
    np.testing.assert_allclose(value, [-200.0])
    expected = [[-1.0, 0.0]] if logit > 0 else [[0.0, 1.0]]
    np.testing.assert_allclose(tape.gradient(value, params), expected, atol=1e-6)


@pytest.mark.parametrize("log_variance", [-50.0, 50.0])
def test_extreme_log_variances_have_finite_losses_and_gradients(log_variance):
    log_stddev = 0.5 * log_variance
    likelihood = kv.likelihoods.Normal("learned")
    likelihood.setup((2,))
    latent = kv.latents.Single(2)
    latent.setup((4,))
    latent.posterior.projection.set_weights([np.eye(4), np.zeros(4)])
    features = tf.Variable([[0.5, -0.5, log_stddev, log_stddev]])
    params = tf.Variable([[[0.5, -0.5, log_stddev, log_stddev]]])
    with tf.GradientTape() as tape:
        draw = latent.infer(features, Given(), tf.ones([1, 1, 2]), path=False)
        log_px = likelihood.log_prob(params, tf.constant([[0.1, 0.2]]))
        one = LatentPass(features, log_px, draw, tf.constant(0), SEED)
        loss = kv.objectives.ELBO().evaluate(one).loss
    for gradient in tape.gradient(loss, [features, params]):
        assert np.isfinite(gradient.numpy()).all()
    assert np.isfinite(loss.numpy()).all()


# Gates and detached densities


def test_a_detached_density_and_a_gate_stop_and_scale_the_right_gradients(posterior_params):
    mean, log_stddev = posterior_params
    latent = kv.latents.Single(3)
    latent.setup((6,))
    latent.posterior.projection.set_weights([np.eye(6), np.zeros(6)])
    features = tf.Variable(np.concatenate([mean, log_stddev], 1))
    kernel = latent.posterior.projection.kernel
    with tf.GradientTape(persistent=True) as tape:
        draw = latent.infer(features, Given(), tf.ones([2, 20, 3]), path=True)
        through = tf.reduce_sum(draw.z)
        only_detached = tf.reduce_sum(draw.q.detached_log_prob(tf.stop_gradient(draw.z)))
        direct = tf.reduce_sum(draw.q.log_prob(tf.stop_gradient(draw.z)))
    assert tape.gradient(only_detached, features) is None
    assert tape.gradient(only_detached, kernel.value) is None
    assert tape.gradient(direct, kernel.value) is not None
    plain = tape.gradient(through, features)
    draw.path.weights = 3.0 * tf.ones([2, 20])
    np.testing.assert_allclose(tape.gradient(through, features), 3.0 * plain, rtol=1e-6)


def test_sticking_the_landing_has_no_gradient_at_the_exact_posterior():
    model = LinearGaussian()
    x = tf.constant(model.sample(9))
    noise = tf.constant(noise_for(model.vae, x, 1))
    inputs = Inputs(x, None, Given())
    projection = model.vae.latent.posterior.projection
    with tf.GradientTape() as tape:
        one = model.vae.graph.forward(inputs, noise, step=0, seed=SEED, path=True).latent_pass
        loss = one.log_px + one.draw.log_pz - one.draw.log_qz
    for gradient in tape.gradient(loss, [projection.kernel.value, projection.bias.value]):
        np.testing.assert_allclose(gradient, np.zeros(gradient.shape), atol=2e-5)
