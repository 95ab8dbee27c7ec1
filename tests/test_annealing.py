"""Three estimators of log p(x) on a model where it is known."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from linear_gaussian import LinearGaussian

import keras_vae as kv
from keras_vae import estimators
from keras_vae.evaluation import Annealing

#: var(w) / E[w]^2 of importance weights from a posterior 1.6 times too wide, in two dimensions.
WIDE = 1.6
RELATIVE_VARIANCE = (WIDE**2 / np.sqrt(2 * WIDE**2 - 1)) ** 2 - 1


def normal_path(z):
    """From N(0, I) to a correlated, unnormalised normal."""
    precision = tf.constant([[3.0, 1.0], [1.0, 2.0]])
    quadratic = tf.einsum("cbi,ij,cbj->cb", z - 1.0, precision, z - 1.0)
    log_start = -0.5 * tf.reduce_sum(tf.square(z), -1) - np.log(2 * np.pi)
    return log_start, -0.5 * quadratic - log_start


def draws(shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


@pytest.fixture(scope="module")
def wide():
    """The model with too wide a posterior, data, and the truth."""
    model = LinearGaussian(widen=WIDE)
    x = model.sample(2000)
    return model, x, model.log_prob(x)


# Importance sampling


def test_the_error_falls_and_the_bias_with_it_as_the_theory_says(wide):
    model, x, truth = wide
    for samples in (40, 160, 640):
        distance = model.vae.log_likelihood(x, samples, seed=3, batch_size=500) - truth
        expected = np.sqrt(RELATIVE_VARIANCE / samples)
        assert distance.std() == pytest.approx(expected, rel=0.1)
        bias = -RELATIVE_VARIANCE / (2 * samples)
        assert abs(distance.mean() - bias) < 3 * expected / np.sqrt(len(x)) + 0.2 * abs(bias)


def test_the_tail_is_heavy_where_the_posterior_is_too_narrow(wide):
    x = wide[1][:100]
    narrow = LinearGaussian(widen=0.2).vae.importance_sample(x, 2000)
    assert np.mean(narrow.pareto_k > 0.7) > 0.8
    assert np.all(wide[0].vae.importance_sample(x, 2000).pareto_k < 0.5)


def test_every_sample_counts_and_none_beyond(monkeypatch):
    monkeypatch.setattr("keras_vae.graph.CHUNK_ROWS", 70)
    model = LinearGaussian()  # the exact posterior: all weights are equal
    for samples in (1, 6, 7, 8, 30):
        estimate = model.vae.importance_sample(model.sample(10), samples)
        np.testing.assert_allclose(estimate.effective_sample_size, samples, rtol=1e-3)


# Plain Monte Carlo over the prior


class BySeed(kv.priors.StandardNormal):
    """A prior that can draw by seeds only."""

    def from_noise(self, noise, given):
        return None


def test_plain_monte_carlo_is_right_and_worse_than_importance_sampling(wide):
    model, x, truth = wide
    plain = model.vae.prior_sample(x, 500, seed=1, batch_size=500)
    distance = np.abs(plain.log_likelihood - truth) / plain.monte_carlo_error
    assert np.mean(distance < 3.0) > 0.97
    weighed = model.vae.importance_sample(x, 500, seed=1, batch_size=500)
    assert plain.monte_carlo_error.mean() > 2.0 * weighed.monte_carlo_error.mean()
    assert np.mean(plain.effective_sample_size < weighed.effective_sample_size) > 0.95


@pytest.mark.parametrize("prior", [kv.priors.StandardNormal, BySeed])
def test_chunks_and_batches_leave_plain_monte_carlo_alone(monkeypatch, prior):
    def model():
        made = LinearGaussian()
        made.vae.latent.prior = prior()
        made.vae.latent.prior.setup(2)
        return made

    whole, x = model(), model().sample(12)
    reference = whole.vae.prior_sample(x, 100, seed=2)
    parts = whole.vae.prior_sample(x[::-1], 100, seed=2, batch_size=5)
    np.testing.assert_allclose(parts.log_likelihood[::-1], reference.log_likelihood, atol=1e-5)
    monkeypatch.setattr("keras_vae.graph.CHUNK_ROWS", 12 * 7)
    chunked = model().vae.prior_sample(x, 100, seed=2)
    np.testing.assert_allclose(chunked.log_likelihood, reference.log_likelihood, atol=1e-5)
    distance = np.abs(reference.log_likelihood - whole.log_prob(x)) / reference.monte_carlo_error
    assert np.all(distance < 5.0)


# Hamiltonian transitions


def test_leapfrog_steps_can_be_taken_back():
    z, momentum, size = draws((3, 4, 2)), draws((3, 4, 2), 1), tf.fill([4], 0.2)
    start = estimators.at(normal_path, z)
    end, moved = estimators.leapfrog(normal_path, start, momentum, 0.7, size, 9)
    assert np.abs(end.z - z).max() > 0.5
    back, returned = estimators.leapfrog(normal_path, end, -moved, 0.7, size, 9)
    np.testing.assert_allclose(back.z, z, atol=1e-5)
    np.testing.assert_allclose(-returned, momentum, atol=1e-5)


def test_the_error_of_the_energy_is_of_second_order():
    z, momentum = draws((500, 1, 2)), draws((500, 1, 2), 1)
    start = estimators.at(normal_path, z)

    def energy(chain, momentum):
        return 0.5 * tf.reduce_sum(momentum**2, -1) - chain.log_density(1.0)

    errors = []
    for steps in (5, 10, 20):
        size = tf.fill([1], 1.0 / steps)
        end, moved = estimators.leapfrog(normal_path, start, momentum, 1.0, size, steps)
        errors.append(np.abs(energy(end, moved) - energy(start, momentum)).mean())
    ratios = np.array(errors[:-1]) / errors[1:]
    np.testing.assert_allclose(ratios, 4.0, rtol=0.15)


def test_transitions_leave_the_density_alone():
    """Draws of the end of the path remain draws of it, however coarse the steps."""
    precision = np.array([[3.0, 1.0], [1.0, 2.0]])
    root = np.linalg.cholesky(np.linalg.inv(precision))
    z = 1.0 + np.random.default_rng(0).normal(size=(20_000, 1, 2)) @ root.T
    chain = estimators.at(normal_path, tf.constant(z, tf.float32))
    for turn in range(4):
        noise = draws((20_000, 1, 4), 10 + turn)
        chain, chances = estimators.transition(normal_path, chain, 1.0, tf.fill([1], 0.9), 3, noise)
        assert 0.4 < chances.numpy().mean() < 0.95
    end = chain.z.numpy()[:, 0]
    assert np.abs(end - z[:, 0]).mean() > 0.3
    np.testing.assert_allclose(end.mean(0), 1.0, atol=0.02)
    np.testing.assert_allclose(np.cov(end.T), root @ root.T, atol=0.02)


def test_schedules_rise_from_nought_to_one():
    for kind in estimators.SCHEDULES:
        betas = estimators.schedule(kind, 40).numpy()
        assert betas.shape == (41,)
        assert (betas[0], betas[-1]) == (0.0, pytest.approx(1.0, abs=1e-6))
        assert np.all(np.diff(betas) > 0.0)
    with pytest.raises(ValueError, match=r"schedule is 'sigmod'.*Did you mean 'sigmoid'"):
        estimators.schedule("sigmod", 4)


# Annealed importance sampling


def test_annealing_finds_a_known_normalising_constant():
    betas = estimators.schedule("linear", 60)

    @tf.function
    def run(z):
        def noise(stream, chains):
            return lambda turn: tf.random.stateless_normal([chains, 40, 4], [stream, turn])

        first = draws((8, 40, 2), 1)
        sizes, acceptance = estimators.pilot(normal_path, first, betas, 4, noise(0, 8))
        return estimators.anneal(normal_path, z, betas, sizes, 4, noise(1, 200)), acceptance

    log_weights, acceptance = run(draws((200, 40, 2)))
    found = estimators.log_mean_exp(log_weights).numpy()
    truth = np.log(2 * np.pi) - 0.5 * np.log(5.0)
    assert abs(found.mean() - truth) < 4 * found.std() / np.sqrt(40)
    assert found.std() < 0.1
    assert 0.5 < acceptance.numpy().mean() < 0.8


def test_one_temperature_is_plain_monte_carlo(wide):
    model, x, _ = wide
    seed = tf.constant([0, 4])
    found = model.vae.annealed_sample(x[:20], 30, 1, 2, seed=4)
    own = tf.random.experimental.stateless_fold_in(seed, 1)
    z = model.vae.graph.noise(tf.constant(x[:20]), 30, own).numpy()
    mean = z @ model.weights.T + model.bias
    log_px = scipy.stats.norm(mean, 0.7).logpdf(x[:20]).sum(-1)
    expected = scipy.special.logsumexp(log_px, 0) - np.log(30)
    np.testing.assert_allclose(found.log_likelihood, expected, atol=1e-4)


@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_annealing_is_right_and_better_with_more_temperatures(wide, start):
    model, x, truth = wide
    errors = []
    for temperatures in (10, 80):
        found = model.vae.annealed_sample(x[:300], 8, temperatures, 5, batch_size=300, start=start)
        distance = found.log_likelihood - truth[:300]
        bias = 0.5 * np.mean(found.monte_carlo_error**2)
        assert abs(distance.mean() + bias) < 3 * distance.std() / np.sqrt(300) + 0.5 * bias
        errors.append(distance.std())
    assert 0.55 < found.acceptance.mean() < 0.75  # of the longer path: ten steps are few to adapt
    assert errors[1] < 0.6 * errors[0]


def test_chunks_and_batches_leave_annealing_alone(wide, monkeypatch):
    model, x, _ = wide
    whole = model.vae.annealed_sample(x[:40], 5, 30, 4, seed=1, batch_size=40)
    monkeypatch.setattr("keras_vae.graph.CHUNK_ROWS", 14)  # 2 chains at a time
    chunked = LinearGaussian(widen=WIDE).vae.annealed_sample(
        x[:40][::-1], 5, 30, 4, seed=1, batch_size=7
    )
    np.testing.assert_allclose(chunked.log_likelihood[::-1], whole.log_likelihood, atol=1e-5)
    assert np.all(whole.effective_sample_size <= 5.001)
    other = model.vae.annealed_sample(x[:40], 5, 30, 4, seed=2)
    assert np.abs(other.log_likelihood - whole.log_likelihood).max() > 1e-2


def test_the_truth_lies_between_the_bounds():
    model = LinearGaussian()
    bounds = kv.evaluation.bidirectional(model.vae, 300, 4, 3, Annealing(60, 5))
    truth = model.log_prob(bounds.x)
    for side, values in ((1.0, bounds.lower), (-1.0, bounds.upper)):
        distance = side * (values - truth)
        assert distance.mean() < 3 * distance.std() / np.sqrt(300)
    assert -3 * bounds.gap_standard_error < bounds.gap < 0.25


def test_what_annealing_cannot_do_is_said(wide):
    model, x, _ = wide
    with pytest.raises(ValueError, match="start is 'posterio'"):
        model.vae.annealed_sample(x, start="posterio")
    with pytest.raises(ValueError, match="leapfrog_steps is 0"):
        model.vae.annealed_sample(x, leapfrog_steps=0)
    with pytest.raises(ValueError, match="x holds 2000 rows and origin holds 3 rows"):
        model.vae.annealed_sample(x, origin=np.zeros((3, 2)))


# The record


@pytest.mark.parametrize("method", ["importance", "prior", "annealed"])
def test_estimates_come_with_their_errors(wide, method):
    model, x, truth = wide
    seen = []
    found = kv.evaluation.log_likelihood(
        model.vae, x[:150], method, 30, 1, seen.append, Annealing(20, 3)
    )
    assert (found.method, found.num_samples, seen) == (method, 30, [100, 50])
    for values in (found.log_likelihood, found.effective_sample_size, found.pareto_k):
        assert values.shape == (150,)
    assert np.all((found.effective_sample_size > 0.99) & (found.effective_sample_size < 30.01))
    assert found.standard_error == pytest.approx(truth[:150].std() / np.sqrt(150), rel=0.2)
    assert abs(found.mean - truth[:150].mean()) < 5 * found.monte_carlo_error_of_mean + 0.05
    assert found.high_pareto_k_share == np.mean(found.pareto_k > 0.7)
    assert (found.warning is None) == (found.high_pareto_k_share == 0.0)


def test_heavy_tails_are_warned_of():
    narrow = LinearGaussian(widen=0.2)
    found = kv.evaluation.log_likelihood(narrow.vae, narrow.sample(20), num_samples=1000)
    assert "are not to be trusted: the Pareto k of their weights is above 0.7" in found.warning
    few = kv.evaluation.log_likelihood(narrow.vae, narrow.sample(20), num_samples=1)
    assert (few.median_pareto_k, few.high_pareto_k_share, few.warning) == (None, None, None)
    assert few.monte_carlo_error_of_mean is None


def test_estimates_that_are_no_numbers_are_warned_of(wide):
    model, x, _ = wide
    rows = np.concatenate([x[:3], np.full((1, 5), 1e25, "float32")])
    found = kv.evaluation.log_likelihood(model.vae, rows, num_samples=100)
    assert found.log_likelihood[3] == -np.inf
    assert found.warning.startswith("The estimates of 1 of 4 examples are infinite or NaN")


def test_errors_of_equal_examples_do_not_cancel(wide):
    model, x, _ = wide
    rows = np.concatenate([np.repeat(x[:1], 60, 0), x[:1], x[1:40]])
    found = kv.evaluation.log_likelihood(model.vae, rows, num_samples=30)
    assert found.copies.tolist() == [61] * 61 + [1] * 39
    runs = [kv.evaluation.log_likelihood(model.vae, rows, "importance", 30, i) for i in range(60)]
    actual = np.std([each.mean for each in runs], ddof=1)
    assert np.mean([each.monte_carlo_error_of_mean for each in runs]) == pytest.approx(
        actual, rel=0.3
    )
    figures = kv.evaluation.evaluate(model.vae, rows, 30)
    assert figures["nll_monte_carlo_error"] == pytest.approx(found.monte_carlo_error_of_mean)


def test_one_example_is_not_called_collapsed(wide):
    model, x, _ = wide
    figures = kv.evaluation.evaluate(model.vae, x[:1], 50)
    assert (figures["active_units"], figures["collapsed"]) == (None, None)
    assert figures["verdict"] == "One example does not tell whether the latents are in use."


def test_more_samples_than_can_be_counted_are_refused(wide):
    model, x, _ = wide
    for score in (kv.evaluation.log_likelihood, kv.evaluation.evaluate):
        with pytest.raises(ValueError, match="num_samples is 3000000000"):
            score(model.vae, x[:2], num_samples=3_000_000_000)
    with pytest.raises(ValueError, match="num_samples is 3000000000"):
        model.vae.importance_sample(x[:2], 3_000_000_000)


def test_the_report_holds_the_estimate_and_the_verdict(wide):
    model, x, _ = wide
    figures = kv.evaluation.evaluate(model.vae, x[:150], 50, seed=1)
    found = kv.evaluation.log_likelihood(model.vae, x[:150], num_samples=50, seed=1)
    assert figures["nll"] == -found.mean
    assert figures["pareto_k"] == found.median_pareto_k
    assert figures["effective_sample_size"] == pytest.approx(found.effective_sample_size.mean())
    assert sum(figures["kl_per_dimension"]) == pytest.approx(figures["kl_loss"], rel=1e-5)
    assert (figures["collapsed"], figures["estimator"]) == (False, "importance")
    assert figures["verdict"] == "2 of 2 latent dimensions are active."
    with pytest.raises(ValueError, match="method is 'importence'"):
        kv.evaluation.evaluate(model.vae, x[:150], method="importence")


def test_a_model_without_a_density_has_a_likelihood_by_annealing():
    vae = kv.VAE((6,), 2, posterior="point", objective="reconstruction", network="dense:widths=[8]")
    x = np.eye(6, dtype="float32")
    assert kv.evaluation.evaluate(vae, x)["nll"] is None
    figures = kv.evaluation.evaluate(vae, x, 8, method="annealed", annealing=Annealing(20, 3))
    plain = kv.evaluation.evaluate(vae, x, 4000, method="prior")
    assert figures["nll"] == pytest.approx(plain["nll"], abs=0.1)
    assert (figures["elbo"], figures["kl_per_dimension"]) == (None, None)
