"""Densities over real numbers, intervals and classes, against SciPy, quadrature and differences."""

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import tensorflow as tf

import keras_vae as kv
from keras_vae.likelihoods.interval import logits_of_mean

EVENT = (2, 3)


def ready(likelihood, event_shape=EVENT):
    likelihood.setup(event_shape)
    return likelihood


def slope(head, params, x):
    """Returns log p(x|z) and its gradient with respect to the parameters."""
    params = tf.constant(params, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(params)
        value = head.log_prob(params, x)
    return value.numpy(), tape.gradient(value, params).numpy()


def differences(log_density, params, step=1e-5):
    """Returns the central differences of a float64 function of a vector, element by element."""
    params = np.asarray(params, "float64")
    nudges = step * np.eye(len(params))
    ends = [[log_density(params + sign * nudge) for sign in (1, -1)] for nudge in nudges]
    return np.array([(up - down) / (2 * step) for up, down in ends])


# Laplace and Student's t


@pytest.mark.parametrize("spread", ["fixed", "learned", "shared"])
@pytest.mark.parametrize("df", [None, 0.5, 4.0, "laplace"])
def test_location_scale_families_are_scipys(spread, df, rng):
    options = {"spread": spread, "scale": 0.6, "minimum_scale": 1e-6}
    laplace = df == "laplace"
    head = kv.likelihoods.Laplace(**options) if laplace else kv.likelihoods.StudentT(df, **options)
    head = ready(head)
    loc, log_scale, log_df = rng.normal(size=(3, 4, 7, *EVENT)).astype("float32")
    blocks = [loc, *([log_scale] if spread == "learned" else []), *([] if df else [log_df])]
    scale = np.exp(log_scale) if spread == "learned" else 0.6
    x = rng.standard_cauchy((7, *EVENT)).astype("float32")
    truth = scipy.stats.laplace(loc, scale)
    if not laplace:
        truth = scipy.stats.t(df or 1.0 + np.exp(log_df), loc, scale)
    params = np.concatenate(blocks, -1)
    assert head.params_shape(EVENT) == params.shape[2:]
    expected = truth.logpdf(x).sum((-2, -1))
    np.testing.assert_allclose(head.log_prob(params, x), expected, rtol=1e-4)
    np.testing.assert_array_equal(head.mean(params), loc)
    np.testing.assert_allclose(head.distribution(params).log_prob(x), expected, rtol=1e-4)


@pytest.mark.parametrize("df", [0.1, 3.0, 1e3, 1e6, 1e12])
def test_student_t_is_right_up_to_its_limit(df):
    head = ready(kv.likelihoods.StudentT(df, minimum_scale=1e-6), (1,))
    value, gradient = slope(head, [[0.3, -0.2]], [[2.5]])

    def exact(params):
        return scipy.stats.t(df, params[0], 1e-6 + np.exp(params[1])).logpdf(2.5)

    np.testing.assert_allclose(value, exact([0.3, -0.2]), rtol=1e-5)
    np.testing.assert_allclose(gradient[0], differences(exact, [0.3, -0.2]), rtol=1e-4)
    if df == 1e12:
        normal = scipy.stats.norm(0.3, np.exp(-0.2)).logpdf(2.5)
        np.testing.assert_allclose(value, normal, rtol=1e-5)


@pytest.mark.parametrize("name", ["laplace", "student_t:df=None", "student_t:df=1e8"])
@pytest.mark.parametrize("extreme", [-1e4, -100.0, 100.0, 1e4])
def test_scales_of_any_size_have_finite_gradients(name, extreme):
    head = ready(kv._registry.get("likelihood", name), (1,))
    params = [[0.5] + [extreme] * (head.params_per_element - 1)]
    value, gradient = slope(head, params, [[3.0]])
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()
    assert gradient[0, 1] * extreme < 0.0  # a way back


def test_heavy_tails_keep_an_outlier_from_moving_the_location():
    gradients = {
        name: slope(ready(kv._registry.get("likelihood", name), (1,)), [[0.0]], [[1000.0]])[1]
        for name in ("student_t:spread=fixed", "laplace:spread=fixed", "normal")
    }
    assert gradients["student_t:spread=fixed"] < 0.01
    np.testing.assert_allclose(gradients["laplace:spread=fixed"], 1.0)
    np.testing.assert_allclose(gradients["normal"], 1000.0)


@pytest.mark.parametrize("name", ["laplace", "student_t:df=6.0", "student_t:df=None"])
def test_decoders_of_real_likelihoods_start_at_the_moments(name, rng):
    head = ready(kv._registry.get("likelihood", name), (3,))
    mean, stddev = np.float32([0.0, 5.0, -1.0]), np.float32([1.0, 0.1, 30.0])
    start = head.distribution(head.initial_params(mean, stddev))
    np.testing.assert_allclose(start.mean(), mean)
    np.testing.assert_allclose(start.stddev(), stddev, rtol=0.03)


# Between 0 and 1


def continuous_bernoulli(x, logit):
    """Returns log of the density by its definition, in float64."""
    size = abs(np.float64(logit))
    normaliser = 0.0 if size < 1e-8 else np.log(size) - np.log(-np.expm1(-size))
    return normaliser + logit * x - max(logit, 0.0)


@pytest.mark.parametrize("share", [0.01, 0.5 - 1e-4, 0.5, 0.5 + 1e-4, 0.99])
def test_the_continuous_bernoulli_integrates_to_one(share):
    head = ready(kv.likelihoods.ContinuousBernoulli(), (1,))
    logit = np.float32(scipy.special.logit(share))
    places, weights = np.polynomial.legendre.leggauss(40)
    x = (0.5 + 0.5 * places).astype("float32")[:, None]
    density = np.exp(head.log_prob(np.full((40, 1), logit), x))
    np.testing.assert_allclose(0.5 * weights @ density, 1.0, atol=1e-5)
    np.testing.assert_allclose(
        0.5 * weights @ (density * x[:, 0]), head.mean(np.float32([[logit]]))[0, 0], atol=1e-5
    )


@pytest.mark.parametrize("logit", [-100.0, -5.0, -0.1, -1e-4, 0.0, 1e-6, 4e-4, 0.01, 3.0, 100.0])
@pytest.mark.parametrize("x", [0.0, 0.3, 1.0])
def test_the_continuous_bernoulli_is_right_at_and_off_one_half(x, logit):
    head = ready(kv.likelihoods.ContinuousBernoulli(), (1,))
    value, gradient = slope(head, [[logit]], [[x]])
    np.testing.assert_allclose(value, continuous_bernoulli(x, logit), rtol=1e-5, atol=1e-6)
    # An exponential family: the gradient is x less the mean.
    mean = 0.5 + logit / 12.0
    if abs(logit) > 1e-2:
        mean = 1.0 / -np.expm1(-np.float64(logit)) - 1.0 / logit
    np.testing.assert_allclose(gradient, [[x - mean]], atol=1e-6)
    np.testing.assert_allclose(head.mean(np.float32([[logit]])), [[mean]], atol=2e-6)


def test_logits_of_means_invert_the_mean():
    mean = np.float32([0.0011, 0.02, 0.4, 0.4999, 0.5, 0.6, 0.97, 0.9989])
    head = ready(kv.likelihoods.ContinuousBernoulli(), (8,))
    np.testing.assert_allclose(head.mean(logits_of_mean(mean)), mean, rtol=1e-4)
    start = head.initial_params(tf.constant([0.0, 1.0, 0.5]), tf.ones(3))
    assert np.isfinite(start).all()


def test_continuous_bernoulli_draws_have_its_moments():
    head = ready(kv.likelihoods.ContinuousBernoulli(), (3,))
    params = np.tile(np.float32([-3.0, 1e-5, 8.0]), (20000, 1))
    draws = head.sample(params, tf.constant([0, 1])).numpy()
    assert ((draws >= 0.0) & (draws <= 1.0)).all()
    error = 4.0 * draws.std(0) / np.sqrt(20000)
    assert (abs(draws.mean(0) - head.mean(params[:1]).numpy()[0]) < error).all()


@pytest.mark.parametrize("x", [1e-6, 0.3, 1.0 - 1e-6])
@pytest.mark.parametrize("logit", [-3.0, 0.0, 5.0])
@pytest.mark.parametrize("log_concentration", [-3.0, 1.0, 6.0])
def test_beta_is_scipys_also_at_the_ends(x, logit, log_concentration):
    head = ready(kv.likelihoods.Beta(), (1,))
    params, x = [logit, log_concentration], np.float32(x)

    def exact(params):
        share, concentration = scipy.special.expit(params[0]), np.exp(params[1])
        a, b = 1e-4 + concentration * share, 1e-4 + concentration * (1 - share)
        return scipy.stats.beta(a, b).logpdf(np.float64(x))

    value, gradient = slope(head, [params], [[x]])
    np.testing.assert_allclose(value, exact(params), rtol=2e-5, atol=2e-4)
    np.testing.assert_allclose(gradient[0], differences(exact, params), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("x", [1e-6, 0.5, 1.0 - 1e-6])
@pytest.mark.parametrize("logit", [-100.0, 100.0])
@pytest.mark.parametrize("log_concentration", [-100.0, 0.0, 100.0])
def test_beta_is_finite_at_extremes(x, logit, log_concentration):
    value, gradient = slope(ready(kv.likelihoods.Beta(), (1,)), [[logit, log_concentration]], [[x]])
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("log_concentration", [9.0, 10.0, 12.0, 30.0])
def test_beta_keeps_its_digits_at_every_concentration(log_concentration):
    x = np.float32(0.301)
    value, gradient = slope(ready(kv.likelihoods.Beta(), (1,)), [[-0.85, log_concentration]], [[x]])

    def exact(params):
        share, concentration = scipy.special.expit(params[0]), np.exp(params[1])
        a, b = 1e-4 + concentration * share, 1e-4 + concentration * (1 - share)
        return scipy.stats.beta(a, b).logpdf(np.float64(x))

    held = [np.float64(np.float32(-0.85)), min(log_concentration, 10.0)]
    np.testing.assert_allclose(value, exact(held), atol=0.02)
    np.testing.assert_allclose(gradient[0], differences(exact, held), rtol=0.02, atol=0.05)


def test_a_decoder_of_proportions_starts_at_the_moments():
    head = ready(kv.likelihoods.Beta(), (3,))
    mean, stddev = np.float32([0.02, 0.5, 0.9]), np.float32([0.01, 0.2, 0.05])
    start = head.distribution(head.initial_params(mean, stddev))
    np.testing.assert_allclose(start.mean(), mean, rtol=1e-2)
    np.testing.assert_allclose(start.stddev(), stddev, rtol=1e-2)


# Classes


def test_categorical_is_the_softmax(rng):
    head = ready(kv.likelihoods.Categorical(4))
    logits = rng.normal(size=(5, 7, 2, 12)).astype("float32") * 3
    x = rng.integers(0, 4, (7, *EVENT))
    assert head.params_shape(EVENT) == (2, 12)
    table = scipy.special.log_softmax(logits.reshape(5, 7, 2, 3, 4).astype("float64"), -1)
    expected = np.take_along_axis(table, np.tile(x, (5, 1, 1, 1))[..., None], -1)[..., 0]
    np.testing.assert_allclose(head.log_prob(logits, x), expected.sum((-2, -1)), rtol=1e-5)
    np.testing.assert_array_equal(head.mean(logits), table.argmax(-1))
    draws = head.sample(np.tile(logits[:1, 0], (5000, 1, 1)), tf.constant([0, 1])).numpy()
    for level in range(4):
        share, p = (draws == level).mean(0), np.exp(table[0, 0, ..., level])
        assert (abs(share - p) <= 4.5 * np.sqrt(p * (1 - p) / 5000) + 1e-9).all()
    np.testing.assert_array_equal(
        head.to_network(x), np.eye(4, dtype="float32")[x].reshape(7, 2, 12)
    )
    assert head.network_shape(EVENT) == (2, 12)


def test_one_hot_classes_score_like_whole_numbers(rng):
    whole, one_hot = kv.likelihoods.Categorical(4), kv.likelihoods.Categorical(4, one_hot=True)
    whole, one_hot = ready(whole, (2, 1)), ready(one_hot, (2, 4))
    logits = rng.normal(size=(7, 2, 4)).astype("float32")
    x = rng.integers(0, 4, (7, 2))
    vectors = np.eye(4, dtype="float32")[x]
    np.testing.assert_allclose(
        one_hot.log_prob(logits, vectors), whole.log_prob(logits, x[..., None]), rtol=1e-5
    )
    np.testing.assert_allclose(one_hot.mean(logits), scipy.special.softmax(logits, -1), rtol=1e-5)
    draws = one_hot.sample(logits, tf.constant([0, 1])).numpy()
    np.testing.assert_array_equal(draws.sum(-1), 1.0)
    assert one_hot.distribution(logits).event_shape == (2,) or one_hot.element_ndims == 1

    # Where one number of a vector is missing, the class is.
    mask = np.ones_like(vectors)
    mask[:, 0, 2] = 0.0
    vectors[:, 0, 2] = np.nan
    np.testing.assert_allclose(
        one_hot.log_prob(logits, vectors, mask=mask),
        ready(kv.likelihoods.Categorical(4), (1, 1)).log_prob(logits[:, 1:], x[:, 1:, None]),
        rtol=1e-5,
    )


@pytest.mark.parametrize("logit", [-100.0, 100.0])
def test_classes_are_finite_at_extremes(logit):
    value, gradient = slope(
        ready(kv.likelihoods.Categorical(3), (1,)), [[logit, 0.0, 1.0]], [[0.0]]
    )
    np.testing.assert_allclose(value, logit - max(logit, np.log1p(np.e)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(gradient.sum(), 0.0, atol=1e-6)


def test_one_hot_events_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"\(5,\); expected a last axis of 4"):
        kv.VAE((5,), 2, likelihood=kv.likelihoods.Categorical(4, one_hot=True))


# Missing entries


@pytest.mark.parametrize(
    "name",
    ["laplace", "beta", "poisson", "negative_binomial", "discretized_logistic", "categorical(3)"],
)
def test_missing_entries_count_nothing_even_where_they_hold_nan(name, rng):
    if name == "categorical(3)":
        head = kv.likelihoods.Categorical(3)
    else:
        head = kv._registry.get("likelihood", name)
    head = ready(head, (4,))
    params = tf.Variable(rng.normal(size=(5, *head.params_shape((4,)))), dtype=tf.float32)
    x = np.full((5, 4), 0.5 if name in ("laplace", "beta") else 1.0, "float32")
    mask = np.ones_like(x)
    mask[:, 2] = 0.0
    x[:, 2] = np.nan
    with tf.GradientTape() as tape:
        value = head.log_prob(params, x, mask=mask)
    gradient = tape.gradient(value, params).numpy()
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()
    x[:, 2] = 0.9 if name == "beta" else 2.0
    np.testing.assert_array_equal(value, head.log_prob(params, x, mask=mask))
    untouched = gradient.reshape(5, 4, -1)[:, 2] if "categorical" in name else gradient[:, 2]
    np.testing.assert_array_equal(untouched, 0.0)
    assert (abs(gradient) > 0).any()


# Supports


@pytest.mark.parametrize(
    ("likelihood", "value", "words"),
    [
        ("beta", 0.0, "between 0 and 1, but neither"),
        ("beta", 1.0, "between 0 and 1, but neither"),
        ("continuous_bernoulli", 1.5, "between 0 and 1"),
        ("poisson", 0.5, "counts"),
        ("negative_binomial", -1.0, "counts"),
        ("zero_inflated_negative_binomial", np.nan, "counts"),
        ("discretized_logistic", 256.0, "whole numbers from 0 to 255"),
        ("logistic_mixture", 0.5, "whole numbers from 0 to 255"),
        ("discretized_logistic:high=1.0", 0.001, "256 levels, equally far apart, from 0 to 1"),
        ("categorical:num_classes=3", 3.0, "whole numbers from 0 to 2"),
        ("categorical:num_classes=4,one_hot=True", 1.0, "one 1 among 0s"),
        ("student_t", np.inf, "finite numbers"),
    ],
)
def test_values_outside_the_support_are_refused_by_every_method(likelihood, value, words):
    vae = kv.VAE((4,), 2, likelihood=likelihood, network="dense:widths=[4]")
    x = np.full((6, 4), 0.5 if vae.likelihood.support in ("open_unit_interval", "real") else 0.0)
    if "one_hot" in likelihood:
        x[:, 0] = 1.0
    x[3, 2] = value
    x = x.astype("float32")
    vae.compile()
    calls = [lambda: vae.fit(x, verbose=0), lambda: vae.elbo(x), lambda: vae.evaluate(x, verbose=0)]
    for call in calls:
        with pytest.raises(ValueError, match=words):
            call()
    vae.compile(jit_compile=True)
    with pytest.raises(ValueError, match=words):
        vae.fit(x, verbose=0)


@pytest.mark.parametrize("likelihood", ["poisson", "categorical:num_classes=2", "bernoulli"])
def test_discrete_likelihoods_report_bits_per_dimension(likelihood, binary):
    vae = kv.VAE((6,), 2, likelihood=likelihood, network="dense:widths=[4]")
    metrics = kv.evaluation.evaluate(vae, binary, 20)
    np.testing.assert_allclose(metrics["bits_per_dim"], metrics["nll"] / 6 / np.log(2), rtol=1e-6)
    assert metrics["normalised"]


@pytest.mark.quick
def test_the_bernoulli_density_may_be_differentiated_twice():
    likelihood = kv.likelihoods.Bernoulli()
    likelihood.setup((7,))
    logits = tf.constant([[-30.0, -3.0, -1e-4, 0.0, 2.0, 5.0, 40.0]])
    x = tf.constant([[0.0, 1.0, 1.0, 0.0, 0.3, 1.0, 1.0]])
    with tf.GradientTape() as outer:
        outer.watch(logits)
        with tf.GradientTape() as inner:
            inner.watch(logits)
            value = likelihood.log_prob(logits, x)
        first = inner.gradient(value, logits)
    share = 1.0 / (1.0 + np.exp(-logits.numpy().astype(float)))
    np.testing.assert_allclose(first, x - share, atol=1e-7)
    np.testing.assert_allclose(outer.gradient(first, logits), -share * (1 - share), atol=1e-7)
