"""Priors against their closed forms, and priors fitted to codes."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from linear_gaussian import LinearGaussian

import keras_vae as kv
from keras_vae import flows
from keras_vae._types import Given, NetworkInput

tfd = tfp.distributions
SEED = tf.constant([0, 7])
D = 3


def stir(variables, scale=0.5, seed=0):
    rng = np.random.default_rng(seed)
    for variable in variables:
        variable.assign(variable + scale * rng.normal(size=variable.shape))


def made(prior, latent_dim=D, scale=0.5):
    prior.setup(latent_dim)
    stir(prior.trainable_variables, scale)
    return prior


def widen(vae, log_stddev=1.0):
    """Makes q(z|x) wide, so that importance weights have no heavy tail."""
    kernel, bias = vae.latent.posterior.projection.get_weights()
    kernel[:, 2:] *= 0.1
    bias[2:] = log_stddev
    vae.latent.posterior.projection.set_weights([kernel, bias])


def vamp_vae(components=4, posterior="diagonal_normal", **options):
    vae = kv.VAE(
        (6,),
        2,
        network="dense:widths=8",
        posterior=posterior,
        prior=kv.priors.Vamp(components, **options),
    )
    stir(vae.latent.posterior.trainable_variables, 0.3)
    return vae


PRIORS = {
    "standard_normal": kv.priors.StandardNormal,
    "mixture": lambda: kv.priors.Mixture(3),
    "diagonal": lambda: kv.priors.Mixture(3, "diagonal"),
    "flow": lambda: kv.priors.Flow(3, (8,)),
}


@pytest.mark.parametrize("latent_dim", [1, 2])
@pytest.mark.parametrize("name", PRIORS)
def test_densities_integrate_to_one_and_fit_their_samples(name, latent_dim):
    prior = made(PRIORS[name](), latent_dim, 0.3).bind(Given())
    edge = np.linspace(-9.0, 9.0, 401)
    grid = np.stack(np.meshgrid(*[edge] * latent_dim, indexing="ij"), -1).reshape(-1, latent_dim)
    density = np.exp(prior.log_prob(tf.constant(grid, tf.float32)).numpy().astype("float64"))
    cell = (edge[1] - edge[0]) ** latent_dim
    assert density.sum() * cell == pytest.approx(1.0, abs=2e-3)
    draws = prior.sample(20_000, SEED).numpy()
    mean = density @ grid * cell
    errors = draws.std(0) / np.sqrt(len(draws))
    assert np.all(np.abs(draws.mean(0) - mean) < 4.5 * errors)
    second = density @ grid**2 * cell
    errors = np.square(draws).std(0) / np.sqrt(len(draws))
    assert np.all(np.abs(np.square(draws).mean(0) - second) < 4.5 * errors)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_a_mixture_agrees_with_scipy(covariance):
    prior = made(kv.priors.Mixture(3, covariance))
    z = np.random.default_rng(1).normal(size=(5, 4, D)).astype("float32")
    share = np.exp(prior.logits.numpy() - scipy.special.logsumexp(prior.logits.numpy()))
    roots, expected = prior._roots().numpy().astype("float64"), 0.0
    for k in range(3):
        normal = scipy.stats.multivariate_normal(prior.means.numpy()[k], roots[k] @ roots[k].T)
        expected += share[k] * normal.pdf(z)
    log_pz = prior.bind(Given()).log_prob(tf.constant(z))
    np.testing.assert_allclose(log_pz, np.log(expected), rtol=1e-5, atol=1e-5)
    off = np.abs(roots[:, 1, 0])
    assert np.all(off > 0.0) if covariance == "full" else np.all(off == 0.0)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_couplings_invert_and_know_their_determinant(size):
    steps = [flows.AffineCoupling(size, n % 2, (8,), 2.0, f"s{n}") for n in range(4)]
    for step in steps:
        stir(step.trainable_variables)
    x = tf.random.stateless_normal([7, size], SEED)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y, log_determinant = flows.forward(steps, x)
    np.testing.assert_allclose(
        log_determinant, tf.linalg.slogdet(tape.batch_jacobian(y, x))[1], atol=1e-4
    )
    again, same = flows.inverse(steps, y)
    np.testing.assert_allclose(again, x, atol=1e-4)
    np.testing.assert_allclose(same, log_determinant, atol=1e-4)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_two_couplings_of_a_flow_prior_bend_every_dimension(size):
    prior = made(kv.priors.Flow(2, (8,)), size, 1.0)
    noise = tf.random.stateless_normal([8, size], SEED)
    with tf.GradientTape() as tape:
        tape.watch(noise)
        z = prior.from_noise(noise, Given())
    slopes = tape.batch_jacobian(z, noise).numpy()
    assert np.ptp(slopes, axis=0).max(-1).min() > 0.01  # an affine map has the same slopes anywhere


def test_a_new_flow_is_the_standard_normal_and_its_scales_are_bounded():
    prior = made(kv.priors.Flow(2, (8,), bound=1.5), scale=0.0).bind(Given())
    z = tf.random.stateless_normal([50, D], SEED)
    expected = scipy.stats.norm.logpdf(z.numpy()).sum(-1)
    np.testing.assert_allclose(prior.log_prob(z), expected, rtol=1e-5)
    step = flows.AffineCoupling(2, 0, (4,), 1.5, "step")
    stir(step.trainable_variables, 50.0)
    y, log_determinant = step.forward(tf.constant([[100.0, 1.0], [-100.0, 1.0]]))
    assert np.all(np.abs(log_determinant) <= 1.5)
    assert np.isfinite(y).all()


def test_a_flow_makes_draws_of_noise():
    vae = kv.VAE((6,), 2, network="dense:widths=8", prior="flow:steps=2,widths=8")
    stir(vae.latent.prior.trainable_variables)
    noise = tf.random.stateless_normal([3, 5, 2], SEED)
    draws = vae.latent.prior_draws(noise, Given())
    assert draws.shape == (3, 5, 2)
    widen(vae)
    x = np.eye(6, dtype="float32")
    plain = vae.prior_sample(x, 40_000).log_likelihood
    np.testing.assert_allclose(plain, vae.log_likelihood(x, 2000), atol=0.1)


# Vamp


@pytest.mark.parametrize("learned", [False, True])
def test_the_vamp_density_is_that_of_the_mixture_of_its_posteriors(learned):
    vae = vamp_vae(learned_weights=learned)
    prior = vae.latent.prior
    if learned:
        prior.logits.assign([0.5, -1.0, 0.0, 2.0])
    q = vae.graph.posterior(prior.inputs.value)
    logits = prior.logits.value if learned else tf.zeros([4])
    components = tfd.Independent(tfd.Normal(q.mean(), q.stddev()), 1)
    oracle = tfd.MixtureSameFamily(tfd.Categorical(logits=logits), components)
    z = tf.random.stateless_normal([5, 7, 2], SEED)
    bound = prior.bind(vae.graph.given())
    np.testing.assert_allclose(bound.log_prob(z), oracle.log_prob(z), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "posterior",
    ["full_normal", "low_rank_normal:rank=1", "autoregressive_flow:steps=2,widths=8,context=4"],
)
def test_the_vamp_density_is_the_mean_of_its_components_for_every_posterior(posterior):
    vae = vamp_vae(posterior=posterior)
    bound = vae.latent.prior.bind(vae.graph.given())
    z = tf.random.stateless_normal([3, 5, 2], SEED)
    q = vae.graph.posterior(vae.latent.prior.inputs.value)
    each = np.stack([q.rows([k]).log_prob(z.numpy().reshape(15, 1, 2))[:, 0] for k in range(4)])
    expected = scipy.special.logsumexp(each, 0).reshape(3, 5) - np.log(4.0)
    np.testing.assert_allclose(bound.log_prob(z), expected, rtol=1e-4, atol=1e-5)


def test_vamp_samples_come_from_random_components_by_their_weights():
    vae = vamp_vae(learned_weights=True)
    prior, posterior = vae.latent.prior, vae.latent.posterior
    prior.inputs.assign(np.eye(4, 6))
    prior.logits.assign(np.log([0.1, 0.2, 0.3, 0.4]))
    kernel, bias = posterior.projection.get_weights()
    bias[2:] = -5.0  # narrow
    kernel[:, 2:] = 0.0
    posterior.projection.set_weights([50.0 * kernel, bias])
    means = vae.graph.posterior(prior.inputs.value).mean().numpy()
    apart = np.linalg.norm(means[:, None] - means, axis=-1)[np.triu_indices(4, 1)]
    assert apart.min() > 0.1
    z = vae.sample(4000, seed=3).z
    distance = np.linalg.norm(z[:, None] - means, axis=-1)
    assert distance.min(1).max() < 0.05
    counts = np.bincount(distance.argmin(1), minlength=4) / 4000
    np.testing.assert_allclose(counts, [0.1, 0.2, 0.3, 0.4], atol=4 * 0.5 / np.sqrt(4000))
    order = distance.argmin(1)
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 4 / np.sqrt(4000)


def test_pseudo_inputs_start_at_examples_and_stay_in_range(binary):
    vae = vamp_vae(5)
    assert vae.latent.prior.network_input == NetworkInput((6,), 0.0, 1.0)
    vae.adapt(binary)
    start = vae.latent.prior.inputs.numpy()
    nearest = np.abs(start[:, None] - binary).max(-1).min(1)
    assert nearest.max() < 0.05
    assert len(np.unique(start.round(), axis=0)) > 1
    few = vamp_vae(5)
    few.adapt(binary[:2])
    assert len(np.unique(few.latent.prior.inputs.numpy(), axis=0)) == 5
    given = vamp_vae(pseudo_inputs=binary[:3])
    given.adapt(binary)
    np.testing.assert_array_equal(given.latent.prior.inputs, binary[:3])
    assert given.latent.prior.components == 3


@pytest.mark.parametrize(
    ("likelihood", "expected"),
    [("bernoulli", (0.0, 1.0)), ("normal", (-np.inf, np.inf))],
)
def test_the_range_of_the_network_follows_the_likelihood(likelihood, expected):
    vae = kv.VAE((6,), 2, network="dense:widths=8", likelihood=likelihood, prior="vamp")
    assert vae.latent.prior.network_input[1:3] == expected


def test_pseudo_inputs_outside_the_range_are_clipped_and_can_come_back():
    leaf = tf.Variable([-0.5, 0.5, 1.5])
    for sign, expected in ((1.0, [0.0, 1.0, 1.0]), (-1.0, [-1.0, -1.0, 0.0])):
        with tf.GradientTape() as tape:
            kept = kv.priors.vamp._kept_within(leaf, 0.0, 1.0)
            loss = sign * tf.reduce_sum(kept)
        np.testing.assert_array_equal(kept, [0.0, 0.5, 1.0])
        np.testing.assert_array_equal(tape.gradient(loss, leaf), expected)


def test_gradients_reach_pseudo_inputs_and_the_encoder_through_the_prior():
    vae = vamp_vae(learned_weights=True)
    z = tf.random.stateless_normal([3, 5, 2], SEED)
    variables = [*vae.latent.prior.trainable_variables, *vae.encoder.trainable_variables]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(vae.latent.log_prior(z, vae.graph.given()))
    for gradient in tape.gradient(loss, [v.value for v in variables]):
        assert np.abs(gradient).max() > 0.0
    trainable = {id(v) for v in vae.trainable_variables}
    assert {id(v) for v in vae.latent.prior.trainable_variables} <= trainable


def test_with_a_vamp_prior_both_estimates_of_the_likelihood_agree(binary):
    vae = vamp_vae()
    widen(vae)
    plain = vae.prior_sample(binary[:4], 10_000)
    weighted = vae.importance_sample(binary[:4], 10_000)
    error = np.hypot(plain.monte_carlo_error, weighted.monte_carlo_error)
    assert np.all(error < 0.1)
    assert np.all(np.abs(plain.log_likelihood - weighted.log_likelihood) < 4.0 * error)


def test_many_passes_for_a_density_are_warned_of():
    with pytest.warns(UserWarning, match="vamp' takes 2,000 passes .*autoregressive_flow"):
        kv.VAE(
            (6,),
            2,
            network="dense:widths=8",
            posterior="autoregressive_flow:steps=4,widths=8",
            prior="vamp:components=250",
        )


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: kv.VAE((6,), 2, posterior="point", objective="reconstruction", prior="vamp"),
            "prior 'vamp' needs a posterior that offers density, which 'point' does not",
        ),
        (
            lambda: kv.VAE((6,), 2, prior=kv.priors.Vamp(pseudo_inputs=np.zeros((3, 5)))),
            r"pseudo_inputs have shape \(3, 5\); expected \(components, 6\)",
        ),
        (lambda: kv.priors.Vamp(pseudo_inputs=np.zeros((0, 6))), "holds no example"),
        (lambda: kv.priors.Vamp(2).setup(2), "was set up without `network_input`"),
        (lambda: kv.priors.Vamp(0), "components is 0; expected a whole number"),
        (lambda: kv.priors.Mixture(2, "ful"), "covariance is 'ful'.*Did you mean 'full'"),
        (lambda: kv.priors.Flow(bound=0.0), "bound is 0.0; expected a finite number above 0"),
        (lambda: vamp_vae().latent.prior.bind(Given()), "was bound without an encoder"),
    ],
)
def test_what_cannot_be_is_refused_in_words(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


@pytest.mark.parametrize(
    "spec",
    [
        "mixture:components=10",
        "vamp:components=5,learned_weights=true",
        "flow:steps=2,widths=[8,8]",
    ],
)
def test_priors_are_named_with_options(spec):
    vae = kv.VAE((6,), 2, network="dense:widths=8", prior=spec)
    assert vae.latent.prior.short_name == spec.partition(":")[0]
    assert np.isfinite(vae.elbo(np.ones((3, 6)))).all()


def test_the_recipes_are_their_parts():
    vamp = kv.recipes.vamp_vae((6,), 2, components=7, network="dense:widths=8")
    assert (vamp.latent.prior.short_name, vamp.latent.prior.components) == ("vamp", 7)
    iaf = kv.recipes.iaf_vae((6,), 2, steps=2, network="dense:widths=8")
    assert iaf.latent.posterior.short_name == "autoregressive_flow"
    assert len(iaf.latent.posterior.chain) == 2


# Priors fitted to codes


@pytest.fixture(scope="module")
def shifted():
    """A linear-Gaussian model whose data come from z ~ N(m, S) and not from its prior."""
    model = LinearGaussian()
    rng = np.random.default_rng(2)
    z = rng.normal(size=(3000, 2)) @ np.array([[0.5, 0.4], [0.0, 0.3]]) + np.array([1.0, -2.0])
    x = z @ model.weights.T + model.bias + 0.7 * rng.normal(size=(3000, 5))
    model.vae.compile("adam")
    return model.vae, x.astype("float32")


@pytest.mark.parametrize("prior", ["mixture:components=1", "mixture", "flow:steps=2,widths=16"])
def test_a_fitted_prior_is_the_aggregate_posterior(prior, shifted, tmp_path):
    vae, x = shifted
    before = [v.numpy() for v in vae.variables]
    new = vae.fit_prior(x, prior, samples=2)
    for old, variable in zip(before, vae.variables):
        np.testing.assert_array_equal(variable.numpy(), old)
    for part in ("encoder", "decoder", "likelihood", "sampling"):
        for one, other in zip(getattr(vae, part).weights, getattr(new, part).weights):
            assert one is not other
            np.testing.assert_array_equal(one.numpy(), other.numpy())
    np.testing.assert_array_equal(new.encode(x[:9]).mean, vae.encode(x[:9]).mean)
    codes = kv.evaluation.aggregate_posterior(vae, x)
    draws = new.sample(20_000, seed=1).z
    np.testing.assert_allclose(draws.mean(0), codes.mean(0), atol=0.06)
    np.testing.assert_allclose(np.cov(draws.T), np.cov(codes.T), atol=0.06)
    assert new.log_likelihood(x[:200]).mean() > vae.log_likelihood(x[:200]).mean() + 0.5
    assert set(new.evaluate(x[:50], verbose=0, return_dict=True)) >= {"loss", "elbo"}
    new.save(tmp_path / "fitted.keras")
    loaded = kv.load(tmp_path / "fitted.keras")
    np.testing.assert_array_equal(loaded.sample(5, seed=2).x, new.sample(5, seed=2).x)
    exported = tf.saved_model.load(str(kv.export.saved_model(new, tmp_path / "exported")))
    drawn = exported.signatures["sample"](n=tf.constant(5), seed=tf.constant([0, 2]))
    np.testing.assert_allclose(drawn["z"], new.sample(5, seed=2).z, atol=1e-5)


def test_fitting_repeats_by_seed_and_takes_streams(shifted):
    vae, x = shifted
    keras.utils.set_random_seed(0)
    one = vae.fit_prior(x[:300], "flow:steps=2,widths=4", seed=3)
    keras.utils.set_random_seed(0)
    two = vae.fit_prior(x[:300], "flow:steps=2,widths=4", seed=3)
    for a, b in zip(one.weights, two.weights):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    stream = tf.data.Dataset.from_tensor_slices((x[:300], x[:300, 0])).batch(70)
    new = vae.fit_prior(stream, kv.priors.Mixture(1, "diagonal"))
    codes = vae._codes(x[:300], 1, 0)[0]
    errors = 4.0 * codes.std(0) / np.sqrt(len(codes))
    assert np.all(np.abs(new.latent.prior.means[0] - codes.mean(0)) < 2 * errors)


def test_an_autoencoder_gets_a_prior_afterwards(binary):
    vae = kv.recipes.autoencoder((6,), 2, network="dense:widths=8")
    new = vae.fit_prior(binary, "mixture:components=2")
    codes = vae.encode(binary).mean
    assert new.latent.prior.short_name == "mixture"
    assert not new.compiled
    assert not new.latent.prior.trainable_variables
    assert new.latent.prior.get_config()["trainable"] is False
    np.testing.assert_allclose(new.sample(5000, seed=0).z.mean(0), codes.mean(0), atol=0.1)


def test_a_vamp_prior_can_be_fitted_to_codes(binary):
    vae = kv.VAE((6,), 2, network="dense:widths=8")
    fresh = vae._with_prior("vamp:components=4")
    codes = tf.constant(vae._codes(binary, 1, 0)[0])
    before = fresh.latent.log_prior(codes, fresh.graph.given()).numpy().mean()
    new = vae.fit_prior(binary, "vamp:components=4")
    assert new.latent.log_prior(codes, new.graph.given()).numpy().mean() > before
    np.testing.assert_array_equal(new.encode(binary).mean, vae.encode(binary).mean)


@pytest.mark.parametrize(
    ("prior", "rows", "sentence"),
    [
        ("standard_normal", 20, "has no weights that codes could be fitted by"),
        ("mixture:components=30", 20, "There are 20 codes and 30 components"),
        ("mixtur", 20, "Did you mean 'mixture'"),
        ("mixture", 1, "fewer than two examples"),
    ],
)
def test_what_cannot_be_fitted_is_refused(prior, rows, sentence, binary):
    vae = kv.VAE((6,), 2, network="dense:widths=8")
    with pytest.raises(ValueError, match=sentence):
        vae.fit_prior(binary[:rows], prior)
