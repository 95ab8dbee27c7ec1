"""Objectives against identities, closed forms and known gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from linear_gaussian import LATENT_DIM, LinearGaussian

import keras_vae as kv
from keras_vae import estimators, objectives
from keras_vae._types import Given, Inputs
from keras_vae.objectives import base

RNG = np.random.default_rng(0)


def composed(objective, x, seed=0, model=None, noise=None, weights=None):
    """Returns the pass and the output of an objective on a linear-Gaussian model."""
    vae = (model or LinearGaussian(widen=1.3)).vae
    objective.setup(LATENT_DIM)
    if noise is None:
        shape = (objective.samples, len(x), LATENT_DIM)
        noise = np.random.default_rng(seed).normal(size=shape).astype("float32")
    inputs = Inputs(tf.constant(x), weights, Given())
    seeds = tf.constant([0, seed])
    forward = vae.graph.forward(
        inputs, tf.convert_to_tensor(noise), step=10, seed=seeds, path=objective.path
    )
    return forward.latent_pass, objective.evaluate(forward.latent_pass)


@pytest.fixture(scope="module")
def x():
    return LinearGaussian().sample(32)


# Importance weights


def test_one_bound_is_iwae_and_bounds_of_one_sample_are_the_sampled_elbo(x):
    noise = RNG.normal(size=(14, len(x), LATENT_DIM)).astype("float32")
    one, iwae = composed(objectives.IWAE(14), x, noise=noise)
    _, whole = composed(objectives.MIWAE(1, 14), x, noise=noise)
    _, apart = composed(objectives.MIWAE(14, 1), x, noise=noise)
    weights = base.log_weights(one).numpy().astype("float64")
    np.testing.assert_allclose(whole.loss, iwae.loss, rtol=1e-6)
    np.testing.assert_allclose(apart.loss, -weights.mean(0), rtol=1e-5)
    expected = -np.log(np.exp(weights - weights.max(0)).mean(0)) - weights.max(0)
    np.testing.assert_allclose(iwae.loss, expected, rtol=1e-5)


def test_the_two_axes_of_miwae_are_told_apart(x):
    noise = RNG.normal(size=(14, len(x), LATENT_DIM)).astype("float32")
    one, wide = composed(objectives.MIWAE(2, 7), x, noise=noise)
    _, tall = composed(objectives.MIWAE(7, 2), x, noise=noise)
    weights = base.log_weights(one).numpy().astype("float64")
    for output, shape in ((wide, (2, 7, -1)), (tall, (7, 2, -1))):
        grouped = np.exp(weights).reshape(shape)
        np.testing.assert_allclose(output.loss, -np.log(grouped.mean(1)).mean(0), rtol=1e-5)
    assert wide.loss.numpy().mean() < tall.loss.numpy().mean()


def test_the_bound_rises_with_nested_draws_towards_log_p():
    model = LinearGaussian(widen=1.5)
    x = model.sample(400)
    losses = [
        composed(objectives.IWAE(samples), x, model=model)[1].loss.numpy().mean()
        for samples in (1, 4, 16, 64)
    ]
    assert losses == sorted(losses, reverse=True)
    assert abs(losses[-1] + model.log_prob(x).mean()) < 0.05


def test_ciwae_lies_between_its_ends(x):
    noise = RNG.normal(size=(6, len(x), LATENT_DIM)).astype("float32")
    _, elbo = composed(objectives.ELBO(samples=6), x, noise=noise)
    _, iwae = composed(objectives.IWAE(6), x, noise=noise)
    ends = [composed(objectives.CIWAE(w, 6), x, noise=noise)[1].loss for w in (1.0, 0.0, 0.25)]
    np.testing.assert_allclose(ends[0], elbo.loss, rtol=1e-6)
    np.testing.assert_allclose(ends[1], iwae.loss, rtol=1e-6)
    np.testing.assert_allclose(ends[2], 0.25 * elbo.loss + 0.75 * iwae.loss, rtol=1e-5)
    with pytest.raises(ValueError, match="elbo_weight is 1.5; expected a number between 0 and 1"):
        objectives.CIWAE(1.5)


def gradients(objective, x, noise, model):
    """Returns the gradients of an objective's loss for the projection and the decoder."""
    vae = model.vae
    objective.setup(LATENT_DIM)
    inference = vae.latent.posterior.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        _, output = composed(objective, x, model=model, noise=noise)
        targets = {
            group: tf.reduce_mean(output.group_losses.get(group, output.loss))
            for group in ("inference", "generative")
        }
    sources = {"inference": inference, "generative": vae.decoder.trainable_variables}
    return {group: tape.gradient(targets[group], sources[group]) for group in sources}


def test_the_two_gradients_of_piwae_are_those_of_its_two_bounds(x):
    model = LinearGaussian(widen=1.3)
    noise = RNG.normal(size=(6, len(x), LATENT_DIM)).astype("float32")
    both = gradients(objectives.PIWAE(2, 3), x, noise, model)
    inference = gradients(objectives.MIWAE(2, 3), x, noise, model)["inference"]
    generative = gradients(objectives.IWAE(6), x, noise, model)["generative"]
    for received, expected in zip(both["inference"], inference):
        np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-7)
    for received, expected in zip(both["generative"], generative):
        np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-7)
    _, output = composed(objectives.PIWAE(2, 3), x, model=model, noise=noise)
    _, iwae = composed(objectives.IWAE(6), x, model=model, noise=noise)
    np.testing.assert_array_equal(output.loss, iwae.loss)


# Gradients of the encoder


def test_sticking_the_landing_has_no_gradient_left_at_the_posterior(x):
    model = LinearGaussian(widen=1.0)
    for seed in range(5):
        noise = np.random.default_rng(seed).normal(size=(1, len(x), LATENT_DIM)).astype("float32")
        sticking = gradients(objectives.ELBO(gradient="sticking_the_landing"), x, noise, model)
        single = gradients(objectives.IWAE(1, "sticking_the_landing"), x, noise, model)
        standard = gradients(objectives.IWAE(1), x, noise, model)
        for one, other in zip(sticking["inference"], single["inference"]):
            assert np.abs(one).max() < 1e-5
            assert np.abs(other).max() < 1e-5
        assert max(np.abs(g).max() for g in standard["inference"]) > 1e-2


def encoder_gradients(objective, x, model, draws):
    """Returns the encoder's gradient for each of many draws of the noise, (draws, P)."""

    @tf.function(autograph=False)
    def one(noise):
        return tf.concat(
            [tf.reshape(g, [-1]) for g in gradients(objective, x, noise, model)["inference"]], 0
        )

    shape = (draws, objective.samples, len(x), LATENT_DIM)
    noise = np.random.default_rng(1).normal(size=shape).astype("float32")
    return np.stack([one(tf.constant(each)).numpy() for each in noise])


def test_dreg_has_the_mean_of_the_standard_gradient_and_keeps_its_signal():
    model = LinearGaussian(widen=1.4)
    x = model.sample(4)
    ratios = {}
    for samples in (4, 64):
        found = {
            kind: encoder_gradients(objectives.IWAE(samples, kind), x, model, 600)
            for kind in ("standard", "dreg")
        }
        means = {kind: values.mean(0) for kind, values in found.items()}
        errors = [values.std(0, ddof=1) / np.sqrt(len(values)) for values in found.values()]
        error = np.sqrt(np.square(errors).sum(0)) + 1e-7
        assert (np.abs(means["dreg"] - means["standard"]) < 4.5 * error).all()
        for kind, values in found.items():
            signal = np.linalg.norm(means["dreg"])
            ratios[kind, samples] = signal / np.linalg.norm(values.std(0, ddof=1))
    assert ratios["standard", 64] < 0.8 * ratios["standard", 4]
    assert ratios["dreg", 64] > 0.9 * ratios["dreg", 4]


@pytest.mark.parametrize("objective", ["iwae:samples=2,gradient=sticking_the_landing"])
def test_biased_gradients_are_refused(objective):
    with pytest.raises(ValueError, match=r"2 samples, where it is biased.*dreg"):
        kv.VAE((6,), 2, objective=objective)
    for other in ("capacity=3", "free_bits=0.5"):
        with pytest.raises(ValueError, match="beside capacity or free_bits"):
            kv.VAE((6,), 2, objective=f"elbo:gradient=sticking_the_landing,{other}")


# Free bits and capacity


def kl_gradient(objective, x, weights=None):
    """Returns the pass and the gradient of what is followed for the KL of each group, (B, G)."""
    one, _ = composed(objective, x, weights=weights)
    parts = tf.constant(one.draw.kl_parts.numpy())
    with tf.GradientTape() as tape:
        tape.watch(parts)
        one.draw.kl_parts, one.draw.kl = parts, tf.reduce_sum(parts, -1)
        output = objective.evaluate(one)
        followed = kv.distribute.global_mean(output.group_losses["inference"], weights)
    return parts.numpy(), tape.gradient(followed, parts).numpy()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("floor", [0.0, 0.3, 100.0])
def test_free_bits_free_groups_by_the_mean_over_the_batch(floor, weighted, x):
    weights = tf.constant(RNG.random(len(x)), tf.float32) if weighted else None
    objective = objectives.ELBO(beta=2.0, free_bits=floor + 1e-9)
    parts, gradient = kl_gradient(objective, x, weights)
    shares = np.full(len(x), 1 / len(x)) if weights is None else weights / sum(weights)
    means = np.average(parts, 0, shares)
    expected = 2.0 * np.asarray(shares)[:, None] * (means > floor)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_free_bits_and_capacity_by_example(x):
    parts, gradient = kl_gradient(objectives.ELBO(free_bits=0.5, per_example=True), x)
    np.testing.assert_allclose(gradient, (parts > 0.5) / len(x), rtol=1e-6)
    whole = parts.sum(1, keepdims=True)
    middle = float(np.median(whole))
    parts, gradient = kl_gradient(objectives.ELBO(capacity=middle, per_example=True), x)
    expected = np.sign(whole - np.float32(middle)) / len(x)
    np.testing.assert_allclose(gradient, np.broadcast_to(expected, parts.shape), rtol=1e-6)


def test_capacity_pulls_the_mean_to_its_value_and_the_bound_is_what_is_reported(x):
    for capacity, sign in ((0.1, 1.0), (100.0, -1.0)):
        objective = objectives.ELBO(beta=3.0, capacity=capacity)
        _, gradient = kl_gradient(objective, x)
        np.testing.assert_allclose(gradient, sign * 3.0 / len(x), rtol=1e-6)
        _, held = composed(objective, x)
        _, plain = composed(objectives.ELBO(beta=3.0), x)
        np.testing.assert_array_equal(held.loss, plain.loss)


@pytest.mark.parametrize("free_bits", [None, "linear(start=1,end=0,steps=10)"])
@pytest.mark.parametrize("per_example", [True, False])
def test_capacity_goes_by_estimates_of_the_kl_below_0_too(per_example, free_bits, x):
    objective = objectives.ELBO(capacity=5.0, free_bits=free_bits, per_example=per_example)
    one, _ = composed(objective, x)
    parts = tf.reshape(tf.linspace(-2.0, 1.0, len(x)), [-1, 1])
    with tf.GradientTape() as tape:
        tape.watch(parts)
        one.draw.kl_parts, one.draw.kl = parts, parts[:, 0]
        followed = tf.reduce_mean(objective.evaluate(one).group_losses["inference"])
    np.testing.assert_allclose(tape.gradient(followed, parts), -1.0 / len(x), rtol=1e-5)


def test_the_kl_of_sticking_the_landing_keeps_its_digits_beside_large_events(x):
    objective = objectives.ELBO(gradient="sticking_the_landing")
    one, small = composed(objective, x)
    one.log_px = one.log_px - 1e7
    kl = objective.evaluate(one).terms["kl_loss"]
    np.testing.assert_allclose(kl, small.terms["kl_loss"], rtol=1e-5, atol=1e-5)


def test_capacity_holds_the_kl_term_in_training(binary):
    vae = kv.VAE((6,), 2, network="dense:widths=[16]", objective="elbo:beta=20,capacity=1.5")
    vae.compile(keras.optimizers.Adam(0.02))
    history = vae.fit(binary, batch_size=30, epochs=60, verbose=0).history
    assert abs(np.mean(history["kl_loss"][-5:]) - 1.5) < 0.2


@pytest.mark.parametrize(
    ("objective", "name", "ramp"),
    [
        ("elbo:beta=linear(start=0,end=2,steps=10)", "beta", (0, 2, 10)),
        ("elbo:capacity=linear(end=25,steps=5)", "capacity", (0, 25, 5)),
        ("elbo:free_bits=linear(start=1,end=0,steps=8)", "free_bits", (1, 0, 8)),
        ("ciwae:elbo_weight=linear(start=1,end=0,steps=8)", "elbo_weight", (1, 0, 8)),
        ("dip:off_diagonal=linear(end=3,steps=6),diagonal=1", "off_diagonal", (0, 3, 6)),
        ("mmd:weight=linear(end=3,steps=6)", "weight", (0, 3, 6)),
        ("factor:weight=linear(end=3,steps=6),widths=4", "weight", (0, 3, 6)),
        ("total_correlation:beta=linear(end=3,steps=6)", "beta", (0, 3, 6)),
    ],
)
def test_schedules_equal_their_formula_at_ten_steps(objective, name, ramp, binary):
    start, end, steps = ramp
    expected = start + (end - start) * np.minimum(np.arange(10) / steps, 1.0)
    vae = kv.VAE((6,), 2, network="dense:widths=[4]", objective=objective)
    vae.compile("sgd")
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(logs[name] * (batch + 1) - sum(seen))  # logs are running means

    vae.fit(binary, batch_size=9, verbose=0, callbacks=[Look()])
    np.testing.assert_allclose(seen, expected, atol=2e-5)
    assert vae.objective.weights_at(3)[name] == pytest.approx(expected[3], abs=1e-6)


# Total correlation


@pytest.mark.parametrize("size", [1, 2, 7])
def test_stratified_weights_are_those_of_the_paper(size):
    data, others = 50, max(size - 1, 1)
    weights = np.exp(estimators.stratified_log_weights(size, data))
    np.testing.assert_allclose(weights.sum(1), 1.0, rtol=1e-5)
    if size > 1:
        np.testing.assert_allclose(np.diag(weights), 1 / data, rtol=1e-5)
        row = np.sort(np.delete(weights[0], 0))
        expected = np.sort([(data - others) / (data * others), *[1 / others] * (size - 2)])
        np.testing.assert_allclose(row, expected, rtol=1e-5)
    flat = np.exp(estimators.weighted_log_weights(size, data))
    np.testing.assert_allclose(flat.sum(1), size / data, rtol=1e-5)


@pytest.mark.parametrize("sampling", ["stratified", "weighted"])
def test_the_parts_of_the_kl_add_up_to_it(sampling, x):
    objective = objectives.TotalCorrelation(1.0, sampling=sampling, data_size=500)
    one, output = composed(objective, x)
    parts = [output.terms[name] for name in estimators.Decomposition._fields]
    sampled = tf.reduce_mean(one.draw.log_qz - one.draw.log_pz, 0)
    np.testing.assert_allclose(sum(parts), sampled, rtol=1e-4, atol=1e-4)
    bound = output.terms["reconstruction_loss"] + sampled
    np.testing.assert_allclose(output.loss, bound, rtol=1e-5, atol=1e-4)


def test_the_total_correlation_is_that_of_correlated_codes():
    rng = np.random.default_rng(2)
    correlation, own, count = 0.8, 0.3, 3000
    covariance = np.array([[1.0, correlation], [correlation, 1.0]])
    codes = rng.multivariate_normal([0, 0], covariance - own**2 * np.eye(2), count)
    z = codes + own * rng.normal(size=codes.shape)
    elements = -0.5 * np.square((z[:, None] - codes[None]) / own) - np.log(own * np.sqrt(2 * np.pi))
    elements = tf.constant(elements[None], tf.float32)
    density = tf.reduce_sum(elements, -1)
    found = estimators.decompose(
        tf.linalg.diag_part(density),
        tf.zeros([1, count]),
        density,
        elements,
        estimators.stratified_log_weights(count, count),
    )
    exact = -0.5 * np.log(1.0 - correlation**2)
    assert found.total_correlation.numpy().mean() == pytest.approx(exact, rel=0.05)


def test_the_size_of_the_data_is_counted_or_asked_for(binary):
    def fitted(data, likelihood="bernoulli", **given):
        objective = objectives.TotalCorrelation(**given)
        vae = kv.VAE(
            (6,), 2, network="dense:widths=[4]", likelihood=likelihood, objective=objective
        )
        vae.compile("sgd")
        vae.fit(data, verbose=0)
        return vae.objective

    assert fitted(binary).num_examples.numpy() == len(binary)
    counts = {"x": binary, "offset": np.ones(len(binary), "float32")}
    counted = fitted(counts, likelihood="poisson:size_factor=True")
    assert counted.num_examples.numpy() == len(binary)
    assert not fitted(binary, data_size=1000).variables
    dataset = tf.data.Dataset.from_tensor_slices(binary).batch(10)
    with pytest.raises(ValueError, match="number of training examples.*data_size=60000"):
        fitted(dataset)
    fitted(dataset, data_size=90)


def test_a_data_set_of_ours_is_counted():
    data = kv.data.load("digits", 64)
    assert data.train.num_examples == data.counts["train"]


# Covariance, discrepancy, discriminator


@pytest.mark.parametrize("kind", [1, 2])
def test_the_covariance_that_is_pulled_is_that_of_numpy(kind, x):
    objective = objectives.DIP(kind, 2.0, 3.0)
    one, output = composed(objective, x)
    mean, spread = one.draw.q.mean().numpy(), one.draw.q.stddev().numpy()
    expected = np.cov(mean, rowvar=False, bias=True)
    if kind == 2:
        expected += np.diag(np.square(spread).mean(0))
    np.testing.assert_allclose(objective.covariance(one), expected, rtol=1e-4, atol=1e-5)
    off = expected - np.diag(np.diag(expected))
    penalty = 2.0 * np.square(off).sum() + 3.0 * np.square(np.diag(expected) - 1.0).sum()
    np.testing.assert_allclose(output.terms["covariance_loss"], penalty, rtol=1e-4)
    weights = tf.constant([2.0] + [1.0] * (len(x) - 1))
    heavy, _ = composed(objective, x, weights=weights)
    twice = np.cov(np.concatenate([mean, mean[:1]]), rowvar=False, bias=True)
    received = objectives.DIP(1, 2.0, 3.0)
    received.setup(LATENT_DIM)
    np.testing.assert_allclose(received.covariance(heavy), twice, rtol=1e-4, atol=1e-5)


def test_the_weights_of_dip_are_those_of_the_paper():
    assert objectives.DIP(1, 2.0).diagonal_at(0) == 20.0
    assert objectives.DIP(2, 2.0).diagonal_at(0) == 2.0
    assert objectives.DIP(1, 2.0, 3.0).diagonal_at(0) == 3.0


@pytest.mark.parametrize(("kind", "ratio"), [(1, 10.0), (2, 1.0)])
def test_the_weights_of_dip_keep_their_ratio_under_a_schedule(kind, ratio, x):
    objective = objectives.DIP(kind, "linear(start=0,end=4,steps=10)")
    again = objectives.DIP.from_config(objective.get_config())
    _, expected = composed(objectives.DIP(kind, 4.0, 4.0 * ratio), x)  # at step 10
    for received in (objective, again):
        _, output = composed(received, x)
        np.testing.assert_allclose(output.loss, expected.loss, rtol=1e-6)


@pytest.mark.parametrize("kernel", estimators.KERNELS)
def test_the_discrepancy_is_a_double_loop_and_0_for_equals(kernel):
    rng = np.random.default_rng(3)

    def value(a, b):
        distance = np.square(a - b).sum()
        if kernel == "rbf":
            return np.exp(-distance / (2 * len(a)))
        scales = 2 * len(a) * np.array([0.1, 0.2, 0.5, 1, 2, 5, 10])
        return (scales / (scales + distance)).sum()

    a, b = rng.normal(size=(5, 3)), rng.normal(1.0, size=(7, 3))

    def apart(rows):
        pairs = [value(p, q) for i, p in enumerate(rows) for j, q in enumerate(rows) if i != j]
        return np.mean(pairs)

    expected = apart(a) + apart(b) - 2 * np.mean([value(p, q) for p in a for q in b])
    received = estimators.mmd2(tf.constant(a, tf.float32), tf.constant(b, tf.float32), kernel)
    assert float(received) == pytest.approx(expected, rel=1e-4)
    equals = [
        float(estimators.mmd2(*tf.constant(rng.normal(size=(2, 50, 3)), tf.float32), kernel))
        for _ in range(200)
    ]
    assert abs(np.mean(equals)) < 4 * np.std(equals) / np.sqrt(len(equals))
    assert min(equals) < 0.0
    one = tf.zeros([1, 3])
    assert float(estimators.mmd2(one, one + 1.0, kernel)) == 0.0


def test_dimensions_are_shuffled_each_by_itself():
    z = np.random.default_rng(4).normal(size=(2, 300, 3)).astype("float32")
    z[..., 1] = z[..., 0]
    seed = tf.constant([0, 1])
    shuffled = kv.objectives.permute_dimensions(tf.constant(z), seed).numpy()
    for axis in range(3):
        for draw in range(2):
            np.testing.assert_array_equal(
                np.sort(shuffled[draw, :, axis]), np.sort(z[draw, :, axis])
            )
    assert abs(np.corrcoef(shuffled[0, :, 0], shuffled[0, :, 1])[0, 1]) < 0.2
    assert np.mean(shuffled[0] == z[0]) < 0.05


def test_neither_the_model_nor_the_discriminator_moves_the_others_weights(binary):
    vae = kv.VAE((6,), 2, network="dense:widths=[8]", objective="factor:widths=8")
    inputs = Inputs(tf.constant(binary), None, Given())
    noise = vae.graph.noise(inputs.x, 1, tf.constant([0, 0]))
    with tf.GradientTape(persistent=True) as tape:
        one = vae.graph.forward(inputs, noise, step=0, seed=tf.constant([0, 0])).latent_pass
        output = vae.objective.evaluate(one)
        judged = tf.reduce_mean(output.group_losses["objective"])
        loss = tf.reduce_mean(output.loss)
    own = vae.objective.trainable_variables
    others = vae.encoder.trainable_variables + vae.latent.trainable_variables
    assert all(gradient is None for gradient in tape.gradient(judged, others))
    assert all(np.abs(g).max() > 0 for g in tape.gradient(judged, own))
    assert set(output.group_losses) == {"objective"}
    groups = dict(vae._variable_groups())
    assert {id(v) for v in groups["objective"]} == {id(v) for v in own}
    assert any(np.abs(g).max() > 0 for g in tape.gradient(loss, others))


def test_the_discriminator_estimates_the_total_correlation_of_codes():
    rng = np.random.default_rng(5)
    objective = objectives.Factor(widths=(32, 32))
    objective.setup(2)
    optimizer = keras.optimizers.Adam(1e-2)
    optimizer.build(objective.trainable_variables)
    covariance = [[1.0, 0.8], [0.8, 1.0]]

    @tf.function(autograph=False)
    def step(z, seed):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(objective._judged(z, seed))
        optimizer.apply(tape.gradient(loss, objective.trainable_variables))

    for turn in range(300):
        z = rng.multivariate_normal([0, 0], covariance, (1, 500)).astype("float32")
        step(tf.constant(z), tf.constant([0, turn]))
    z = rng.multivariate_normal([0, 0], covariance, (1, 20000)).astype("float32")
    found = float(tf.reduce_mean(objective.log_odds(tf.constant(z))))
    assert found == pytest.approx(-0.5 * np.log(1 - 0.8**2), abs=0.1)


@pytest.mark.parametrize(
    "objective", ["iwae", "factor", "dip", "total_correlation", "mmd:kl_weight=0.5"]
)
def test_pairs_that_cannot_work_are_refused_in_words(objective):
    with pytest.raises(ValueError, match="offers .*density.*'point' does not"):
        kv.VAE((6,), 2, posterior="point", objective=objective)


@pytest.mark.parametrize("objective", ["elbo:beta=0", "total_correlation:dimension_kl_weight=0"])
def test_a_learned_prior_that_nothing_would_train_is_refused(objective):
    with pytest.raises(ValueError, match="does not train the prior, and 'mixture' has weights"):
        kv.VAE((6,), 2, prior="mixture:components=2", objective=objective)
    warm = objective.replace("=0", "=linear(steps=3)")
    kv.VAE((6,), 2, prior="mixture:components=2", objective=warm)


@pytest.mark.parametrize("weight", ["elbo:capacity=-1", "dip:off_diagonal=-1", "mmd:weight=-1"])
def test_negative_weights_are_refused(weight):
    with pytest.raises(ValueError, match="expected a number of at least 0"):
        kv.VAE((6,), 2, objective=weight)


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        ("elbo:beta=linear(start=-1)", "beta has the start -1; expected a number of at least 0"),
        ("ciwae:elbo_weight=cosine(end=3)", "elbo_weight has the end 3; .* between 0 and 1"),
    ],
)
def test_schedules_to_weights_that_are_none_are_refused(objective, words):
    with pytest.raises(ValueError, match=words):
        kv.VAE((6,), 2, objective=objective)


def test_recipes_are_the_papers_settings():
    recipes = kv.recipes
    tc, factor = recipes.tc_vae((6,), 2, 4.0), recipes.factor_vae((6,), 2, 35.0)
    dip, info = recipes.dip_vae((6,), 2, 1, 5.0), recipes.info_vae((6,), 2, 0.25, 10.0)
    assert (tc.objective.beta(0), factor.objective.weight(0)) == (4.0, 35.0)
    assert (dip.objective.kind, dip.objective.diagonal_at(0)) == (1, 50.0)
    assert (info.objective.weight(0), info.objective.kl_weight(0)) == (9.25, 0.75)
