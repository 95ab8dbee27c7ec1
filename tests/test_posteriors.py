"""Posteriors against their closed forms, and the masked network under the flow."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

import keras_vae as kv
from keras_vae import distributions, flows
from keras_vae._types import Given

tfd = tfp.distributions
D, B = 3, 4
MADE = {
    "diagonal_normal": kv.posteriors.DiagonalNormal,
    "full_normal": kv.posteriors.FullNormal,
    "low_rank_normal": lambda: kv.posteriors.LowRankNormal(2),
    "autoregressive_flow": lambda: kv.posteriors.AutoregressiveFlow(3, (9, 7), 5),
}
NORMALS = ("diagonal_normal", "full_normal", "low_rank_normal")


def bound(name, params=None, latent_dim=D, spread=1.0):
    """The posterior bound to parameters of this test's own, and the posterior."""
    posterior = MADE[name]()
    posterior.setup((posterior.params_size(latent_dim),), latent_dim)
    size = posterior.params_size(latent_dim)
    posterior.projection.set_weights([np.eye(size), np.zeros(size)])
    if name == "autoregressive_flow":
        stir(posterior.chain, spread)
    if params is None:
        params = np.random.default_rng(7).normal(size=(B, size)) * 0.7
    return posterior.bind(tf.constant(params, tf.float32)), posterior


def stir(steps, spread=1.0, seed=0):
    """Gives every weight of a chain of maps a value that does something."""
    rng = np.random.default_rng(seed)
    for step in steps:
        for variable in step.trainable_variables:
            fan = max(variable.shape[0], 1)
            value = spread * rng.normal(size=variable.shape) / np.sqrt(fan)
            variable.assign(value if len(variable.shape) > 1 else variable + 0.3 * value)


def noise_of(posterior, count, seed=0):
    return tf.random.stateless_normal([count, B, posterior.noise_size], [seed, 1])


# Densities


@pytest.mark.parametrize("name", MADE)
def test_the_density_of_a_draw_is_the_density_at_it(name):
    q, posterior = bound(name)
    z, log_qz = q.draw(noise_of(posterior, 50))
    assert z.shape == (50, B, D)
    np.testing.assert_allclose(q.log_prob(z), log_qz, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(q.detached_log_prob(z), log_qz, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(q.distribution().log_prob(z), log_qz, rtol=1e-4, atol=1e-4)
    everyone = q.log_prob(z[:, :, None])
    assert everyone.shape == (50, B, B)
    np.testing.assert_allclose(
        np.diagonal(everyone, axis1=1, axis2=2), log_qz, rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(q.rows([2, 0]).log_prob(z[:, 2:3])[:, :1], log_qz[:, 2:3], rtol=1e-3)
    np.testing.assert_allclose(q.distribution().sample(3, seed=(1, 2)).shape, (3, B, D))


@pytest.mark.parametrize("name", NORMALS)
def test_normals_agree_with_scipy(name):
    q, posterior = bound(name)
    mean, covariance = q.mean().numpy(), q.covariance().numpy()
    z, log_qz = q.draw(noise_of(posterior, 20_000))
    for row in range(B):
        oracle = scipy.stats.multivariate_normal(mean[row], covariance[row].astype("float64"))
        np.testing.assert_allclose(log_qz[:100, row], oracle.logpdf(z[:100, row]), atol=2e-4)
        scale = np.sqrt(np.diag(covariance[row]))
        errors = (np.cov(z[:, row].numpy().T) - covariance[row]) / np.outer(scale, scale)
        assert np.abs(errors).max() < 4.0 * np.sqrt(2.0 / 20_000)
        assert np.abs((z[:, row].numpy().mean(0) - mean[row]) / scale).max() < 4.0 / np.sqrt(20_000)
    np.testing.assert_allclose(q.stddev(), np.sqrt(np.diagonal(covariance, 0, 1, 2)), rtol=1e-5)
    marginals = q.marginals()
    assert marginals.batch_shape == (B, D)
    np.testing.assert_allclose(marginals.mean(), mean, rtol=1e-6)
    np.testing.assert_allclose(marginals.stddev(), q.stddev(), rtol=1e-6)


def test_one_dimension_is_a_normal_under_every_posterior():
    for name in NORMALS:
        q, posterior = bound(name, latent_dim=1)
        z, log_qz = q.draw(noise_of(posterior, 9))
        expected = scipy.stats.norm(q.mean().numpy(), q.stddev().numpy()).logpdf(z)[..., 0]
        np.testing.assert_allclose(log_qz, expected, atol=1e-5)
    q, posterior = bound("autoregressive_flow", latent_dim=1)
    z, log_qz = q.draw(noise_of(posterior, 9))
    np.testing.assert_allclose(q.log_prob(z), log_qz, atol=1e-4)
    np.testing.assert_allclose(
        log_qz, scipy.stats.norm(q.mean(), q.stddev()).logpdf(z)[..., 0], atol=1e-4
    )


@pytest.mark.parametrize(("log_scale", "factor"), [(-12.0, 30.0), (12.0, 30.0), (0.0, 3e3)])
def test_the_low_rank_density_keeps_its_digits_at_extremes(log_scale, factor):
    rng = np.random.default_rng(0)
    size, rank = 6, 2
    v = factor * rng.normal(size=(size, rank))
    params = np.concatenate([np.zeros(size), np.full(size, log_scale), v.ravel()])
    posterior = kv.posteriors.LowRankNormal(rank)
    posterior.setup((size,), size)
    noise = rng.normal(size=(40, 1, size + rank)).astype("float32")
    z, log_qz = posterior._draw(tf.constant(params[None], tf.float32), tf.constant(noise))
    v = v.astype("float32").astype("float64")
    scaled = noise[:, 0, :size] + noise[:, 0, size:].astype("float64") @ v.T
    oracle = scipy.stats.multivariate_normal(np.zeros(size), np.eye(size) + v @ v.T)
    expected = oracle.logpdf(scaled) - size * log_scale
    np.testing.assert_allclose(log_qz[:, 0], expected, rtol=1e-4, atol=2e-2)
    with tf.GradientTape() as tape:
        leaf = tf.constant(params[None], tf.float32)
        tape.watch(leaf)
        loss = tf.reduce_sum(posterior._log_prob(leaf, tf.stop_gradient(z)))
    assert np.isfinite(tape.gradient(loss, leaf)).all()
    if factor < 1e3:
        at = posterior._log_prob(tf.constant(params[None], tf.float32), z)
        np.testing.assert_allclose(at[:, 0], expected, rtol=1e-3, atol=0.1)


@pytest.mark.parametrize("log_scale", [-25.0, 25.0])
@pytest.mark.parametrize("name", MADE)
def test_extreme_scales_have_finite_densities_and_gradients(name, log_scale):
    posterior = bound(name)[1]
    params = np.zeros((B, posterior.params_size(D)), "float32")
    params[:, D : 2 * D] = log_scale
    leaf = tf.constant(params)
    with tf.GradientTape() as tape:
        tape.watch(leaf)
        z, log_qz = posterior._draw(leaf, noise_of(posterior, 2))
        loss = tf.reduce_sum(log_qz) + tf.reduce_sum(z) * 1e-15
    assert np.isfinite(log_qz).all()
    gradient = tape.gradient(loss, leaf).numpy()
    assert np.isfinite(gradient).all()
    if name in NORMALS:
        np.testing.assert_allclose(gradient[:, D : 2 * D], -2.0, atol=1e-2)


# KL divergences


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
def test_closed_kl_divergences_agree_with_the_library(dtype, tolerance):
    rng = np.random.default_rng(1)
    mean, scale = rng.normal(size=(B, D)), np.exp(rng.normal(size=(B, D)))
    factor = rng.normal(size=(B, D, 2))
    lower = np.tril(rng.normal(size=(B, D, D)), -1) + np.eye(D) * scale[..., None]
    mean, scale, factor, lower = (
        tf.constant(each.astype("float32"), dtype) for each in (mean, scale, factor, lower)
    )
    loc, width = tf.constant([0.5, 0.0, -1.0], dtype), tf.constant([1.0, 2.0, 0.5], dtype)
    prior = distributions.independent(distributions.normal(loc, width), 1)
    whole = tf.linalg.diag(scale**2) + tf.matmul(factor, factor, transpose_b=True)
    oracle = tfd.MultivariateNormalDiag(*(tf.cast(each, "float64") for each in (loc, width)))
    for q, root in (
        (distributions.full_normal(mean, lower), lower),
        (distributions.low_rank_normal(mean, scale**2, factor), tf.linalg.cholesky(whole)),
    ):
        same = tfd.MultivariateNormalTriL(tf.cast(mean, "float64"), tf.cast(root, "float64"))
        expected = tfd.kl_divergence(same, oracle)
        found = distributions.kl_divergence(q, prior)
        # Of the sum of the terms, which cancel, and of the root in the oracle.
        np.testing.assert_allclose(found, expected, rtol=20 * tolerance)


@pytest.mark.parametrize("name", MADE)
def test_the_kl_is_within_its_error_of_a_large_estimate(name):
    latent = kv.latents.Single(D, MADE[name]())
    size = latent.posterior.params_size(D)
    latent.setup((size,))
    latent.posterior.projection.set_weights([np.eye(size), np.zeros(size)])
    features = 0.5 * tf.random.stateless_normal([B, size], [0, 2])
    noise = noise_of(latent.posterior, 40_000)
    few = latent.infer(features, Given(), noise[:20_000], path=False)
    more = latent.infer(features, Given(), noise[20_000:], path=False)
    differences = (more.log_qz - more.log_pz).numpy()
    error = differences.std(0) / np.sqrt(len(differences))
    assert np.all(np.abs(few.kl - differences.mean(0)) < 4.0 * np.sqrt(2.0) * error)
    if name != "autoregressive_flow":
        one = latent.infer(features, Given(), noise[:1], path=False)
        np.testing.assert_allclose(one.kl, few.kl, rtol=1e-6)


def test_the_full_normal_can_be_the_exact_posterior_of_correlated_latents():
    rng = np.random.default_rng(3)
    weights, stddev = rng.normal(size=(5, 2)), 0.6
    encoder = keras.Sequential([keras.Input((5,)), keras.layers.Identity(name="same")])
    dense = keras.layers.Dense(5, name="parameters")
    decoder = keras.Sequential([keras.Input((2,)), dense])
    likelihood = kv.likelihoods.Normal("fixed", stddev)
    vae = kv.VAE(
        (5,), 2, encoder=encoder, decoder=decoder, likelihood=likelihood, posterior="full_normal"
    )
    dense.set_weights([weights.T, np.zeros(5)])
    covariance = np.linalg.inv(np.eye(2) + weights.T @ weights / stddev**2)
    lower = np.linalg.cholesky(covariance)
    scale = np.diag(lower)
    kernel = np.concatenate([weights @ covariance / stddev**2, np.zeros((5, 3))], 1)
    bias = np.concatenate([np.zeros(2), np.log(scale), [lower[1, 0] / scale[1]]])
    vae.latent.posterior.projection.set_weights([kernel, bias])
    x = rng.normal(size=(30, 5)).astype("float32")
    total = weights @ weights.T + stddev**2 * np.eye(5)
    expected = scipy.stats.multivariate_normal(np.zeros(5), total).logpdf(x)
    for samples in (1, 40):
        np.testing.assert_allclose(vae.log_likelihood(x, samples), expected, atol=2e-4)


# The flow


def test_the_masked_network_is_autoregressive():
    network = flows.AutoregressiveNetwork(5, 3, (8, 4), "elu", 0.0, "network")
    stir([network])
    x, context = tf.random.stateless_normal([6, 5], [0, 1]), tf.ones([6, 3])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch((x, context))
        outputs = network(x, network.conditions(context))
    for output in outputs:
        of_x = np.abs(tape.batch_jacobian(output, x)).max(0)
        np.testing.assert_array_equal(np.triu(of_x), np.zeros((5, 5)))
        assert np.all(of_x[np.tril_indices(5, -1)] > 0.0)
        assert np.all(np.abs(tape.batch_jacobian(output, context)).max(0) > 0.0)


def test_a_masked_layer_sees_by_degrees_and_saves(tmp_path):
    inputs = keras.Input((3,))
    layer = kv.layers.MaskedDense([1, 2, 3], [0, 1, 2, 2])
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, 4)
    model.save(tmp_path / "masked.keras")
    loaded = keras.models.load_model(tmp_path / "masked.keras")
    x = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    seen = (layer(np.eye(3, dtype="float32")) - layer(np.zeros((1, 3)))).numpy() != 0.0
    np.testing.assert_array_equal(seen, [[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]])


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_gated_flow_inverts_and_knows_its_determinant(size):
    steps = [flows.GatedAutoregressive(size, 3, (8,), "elu", 2.0, f"s{n}") for n in range(3)]
    stir(steps)
    x, context = tf.random.stateless_normal([7, size], [0, 1]), tf.ones([7, 3])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y, log_determinant = flows.forward(steps, x, context)
    jacobian = tape.batch_jacobian(y, x)
    np.testing.assert_allclose(log_determinant, tf.linalg.slogdet(jacobian)[1], atol=1e-4)
    again, same = flows.inverse(steps, y, context)
    np.testing.assert_allclose(again, x, atol=1e-4)
    np.testing.assert_allclose(same, log_determinant, atol=1e-4)


def test_a_new_flow_is_near_the_identity_up_to_scale():
    steps = [flows.GatedAutoregressive(4, 3, (16,), "elu", 2.0, f"s{n}") for n in range(2)]
    x = tf.random.stateless_normal([100, 4], [0, 1])
    y, _ = flows.forward(steps, x, tf.ones([100, 3]))
    gate = 1.0 / (1.0 + np.exp(-2.0))
    np.testing.assert_allclose(y[:, ::-1], gate**2 * x, atol=0.05)


def test_the_moments_of_an_affine_flow_are_exact_and_of_others_near():
    posterior = bound("autoregressive_flow", spread=0.0)[1]
    params = np.random.default_rng(1).normal(size=(B, posterior.params_size(D))).astype("float32")
    q = posterior.bind(tf.constant(params))
    z, _ = q.draw(noise_of(posterior, 2))
    slope = np.exp(params[:, D : 2 * D]) * (1.0 / (1.0 + np.exp(-2.0))) ** 3
    np.testing.assert_allclose(q.stddev(), slope, rtol=1e-4)
    np.testing.assert_allclose(q.covariance(), [np.diag(row**2) for row in slope], atol=1e-4)
    assert z.shape == (2, B, D)
    q, posterior = bound("autoregressive_flow")
    z, _ = q.draw(noise_of(posterior, 20_000))
    assert np.all(np.abs(q.mean() - tf.reduce_mean(z, 0)) < 0.3 * q.stddev())
    np.testing.assert_allclose(q.stddev(), tf.math.reduce_std(z, 0), rtol=0.3)
    np.testing.assert_allclose(
        tf.linalg.diag_part(q.covariance()), tf.square(q.stddev()), rtol=1e-4
    )


@pytest.mark.parametrize("name", MADE)
def test_a_detached_density_reaches_z_alone(name):
    q, posterior = bound(name)
    z, _ = q.draw(noise_of(posterior, 2))
    leaf = tf.constant(z)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(leaf)
        features = tf.constant(np.random.default_rng(7).normal(size=(B, len(q._params[0])))) * 0.7
        features = tf.cast(features, tf.float32)
        again = posterior.bind(features)
        detached = tf.reduce_sum(again.detached_log_prob(leaf))
        direct = tf.reduce_sum(again.log_prob(leaf))
    weights = [v.value for v in posterior.trainable_variables]
    assert all(g is None for g in tape.gradient(detached, weights))
    assert all(g is not None for g in tape.gradient(direct, weights))
    np.testing.assert_allclose(
        tape.gradient(detached, leaf), tape.gradient(direct, leaf), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    "spec",
    [
        "full_normal",
        "low_rank_normal:rank=3",
        "autoregressive_flow:steps=2,widths=[8,8],gate_bias=1.5",
    ],
)
def test_posteriors_are_named_with_options(spec):
    vae = kv.VAE((6,), 2, network="dense:widths=8", posterior=spec)
    assert vae.latent.posterior.short_name == spec.partition(":")[0]
    assert vae.elbo(np.ones((3, 6))).shape == (3,)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: kv.posteriors.LowRankNormal(0), "rank is 0; expected a whole number"),
        (lambda: kv.posteriors.AutoregressiveFlow(0), "steps is 0; expected a whole number"),
        (lambda: kv.posteriors.AutoregressiveFlow(widths=0), r"widths\[0\] is 0"),
    ],
)
def test_options_that_cannot_be_are_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
