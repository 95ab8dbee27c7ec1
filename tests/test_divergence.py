"""Steps that are not finite change nothing; trainings that diverge roll back, and end in words."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_vae as kv

pytestmark = pytest.mark.filterwarnings("ignore:.*were left out because")
X = np.random.default_rng(0).normal(size=(60, 6)).astype("float32")
BAD = (2, 3, 7)  # batches of ten, in an epoch of nine


def with_bad():
    """Returns X in batches of ten with three batches between that overflow."""
    parts = iter(np.split(X, 6))
    rows = [np.full((10, 6), 1e30, "float32") if n in BAD else next(parts) for n in range(9)]
    return np.concatenate(rows)


def model(norm=False, seed=0, optimizer=None, **compiled):
    keras.utils.set_random_seed(seed)
    encoder = None
    if norm:
        encoder = keras.Sequential(
            [
                keras.Input((6,)),
                keras.layers.Dense(8, name="dense"),
                keras.layers.BatchNormalization(name="norm"),
                keras.layers.Dropout(0.3, seed=1, name="drop"),
            ]
        )
    vae = kv.VAE(
        (6,), 2, encoder=encoder, network="dense:widths=[8]", likelihood="normal:variance=optimal"
    )
    vae.compile(optimizer or keras.optimizers.Adam(0.01), **compiled)
    return vae


def fit(vae, x, **options):
    options = {"batch_size": 10, "shuffle": False, "verbose": 0, "epochs": 2} | options
    return vae.fit(x, **options).history


def assert_same_weights(one, other, **close):
    ours = [*one.variables, *one.optimizer.variables]
    for first, second in zip(ours, [*other.variables, *other.optimizer.variables]):
        np.testing.assert_allclose(first.numpy(), second.numpy(), err_msg=first.path, **close)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("norm", [False, True])
def test_a_step_that_is_not_finite_changes_nothing(norm, jit_compile):
    clean, hurt = (model(norm, jit_compile=jit_compile) for _ in range(2))
    expected, received = fit(clean, X), fit(hurt, with_bad())
    assert int(hurt.guard.skipped) == 2 * len(BAD) and int(clean.guard.skipped) == 0
    assert_same_weights(clean, hurt, rtol=0, atol=0)
    assert received == expected


@pytest.mark.parametrize("kind", ["nan gradient", "nan loss"])
def test_a_gradient_alone_or_a_loss_alone_is_enough(kind):
    @tf.custom_gradient
    def spoiled(value):
        bad = float("nan")
        return value * (1.0 if kind == "nan gradient" else bad), lambda up: up * bad

    vae = model()
    before = vae.get_weights()
    honest = vae.objective._evaluate

    def evaluate(latent_pass):
        output = honest(latent_pass)
        output.loss = spoiled(output.loss)
        return output

    vae.objective._evaluate = evaluate
    fit(vae, X, epochs=1)
    assert int(vae.guard.skipped) == int(vae.guard.in_a_row) == 6
    for one, other in zip(before, vae.get_weights()):
        np.testing.assert_array_equal(one, other)


def test_the_same_on_two_replicas(two_replicas):
    with two_replicas.scope():
        clean, hurt = model(norm=False), model(norm=False)
    fit(clean, X)
    fit(hurt, with_bad())
    assert int(hurt.guard.skipped.numpy()) == 2 * len(BAD)
    for first, second in zip(clean.weights, hurt.weights):
        one, other = kv.distribute.primary(first).numpy(), kv.distribute.primary(second).numpy()
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7, err_msg=first.path)


def test_batches_are_kept_and_counted(tmp_path):
    vae, watcher = model(), kv.callbacks.Divergence(tmp_path / "batches", in_a_row=50)
    with pytest.warns(UserWarning, match="step.s. were left out .*their batches are in"):
        history = fit(vae, with_bad(), callbacks=[watcher], epochs=5)
    assert history["skipped_steps"] == [3, 6, 9, 12, 15]
    kept = sorted((tmp_path / "batches").iterdir())
    assert len(kept) == 10 and all((np.load(path) == np.float32(1e30)).all() for path in kept)


@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize("checkpoints", [False, True])
def test_a_training_that_stays_bad_rolls_back_and_ends(scheduled, checkpoints, tmp_path):
    rate = keras.optimizers.schedules.CosineDecay(0.01, 1000) if scheduled else 0.01
    vae = model(optimizer=keras.optimizers.Adam(rate))
    bad = np.full((400, 6), 1e30, "float32")
    watcher = kv.callbacks.Divergence(in_a_row=4, rollbacks=2)
    callbacks = [watcher]
    if checkpoints:
        callbacks.append(kv.callbacks.Checkpoint(tmp_path / "checkpoint", steps=1))
    x = np.concatenate([X, bad])
    ended = pytest.raises(FloatingPointError, match="diverged: 4 steps .*after 2 rollback")
    with pytest.warns(UserWarning, match="goes back to its last good state"), ended:
        fit(vae, x, callbacks=callbacks, epochs=3)
    clean = model(optimizer=keras.optimizers.Adam(rate))
    if checkpoints:  # as after the last good step; without one, as at the start of the epoch
        fit(clean, X, epochs=1)
    for one, other in zip(clean.trainable_variables, vae.trainable_variables):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-6)
    assert int(vae.guard.skipped) <= 3 * 4 + 8
    iterations = vae.optimizer.iterations
    lowered = float(np.asarray(vae.optimizer.learning_rate))
    expected = float(rate(iterations)) if scheduled else 0.01
    assert lowered == pytest.approx(expected / 4, rel=1e-5)


def test_a_lower_learning_rate_may_save_a_training():
    vae = model(optimizer=keras.optimizers.SGD(1e12))
    watcher = kv.callbacks.Divergence(in_a_row=3, rollbacks=60, factor=0.5)
    with pytest.warns(UserWarning, match="goes back to its last good state"):
        history = fit(vae, np.tile(X, (10, 1)), callbacks=[watcher], epochs=12)
    assert np.isfinite(history["loss"][-1]) and watcher.rolled_back > 5
    assert all(np.isfinite(weight).all() for weight in vae.get_weights())


def test_gradients_that_stay_large_do_not_stop_a_training():
    vae, free = model(gradient_limit=1e-3), model()
    before = vae.get_weights()
    fit(vae, X, epochs=4)  # 24 steps: ten are left out, then one is taken
    assert int(vae.guard.skipped) == 0 and int(vae.optimizer.iterations) == 2
    assert any(np.any(one != other) for one, other in zip(before, vae.get_weights()))
    high = model(gradient_limit=1e6)
    fit(high, X)
    fit(free, X)
    assert_same_weights(high, free, rtol=1e-6, atol=1e-7)


def test_a_limit_is_kept_in_the_file_and_checked(tmp_path, two_replicas):
    vae = model(gradient_limit=3.0)
    vae.save(tmp_path / "vae.keras")
    assert kv.load(tmp_path / "vae.keras").guard.limit == 3.0
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="gradient_limit is"):
            model(gradient_limit=wrong)
    with two_replicas.scope(), pytest.raises(ValueError, match="gradient_limit"):
        model(gradient_limit=1.0)
    for wrong, words in (({"factor": 1.0}, "factor"), ({"in_a_row": 0}, "in_a_row")):
        with pytest.raises(ValueError, match=words):
            kv.callbacks.Divergence(**wrong)


def test_a_lowered_schedule_survives_a_resume(tmp_path):
    rate = keras.optimizers.schedules.CosineDecay(0.01, 1000)
    scaled = kv.callbacks.divergence.Scaled(rate, 0.25)
    config = keras.saving.serialize_keras_object(scaled)
    again = keras.saving.deserialize_keras_object(config)
    assert float(again(500)) == pytest.approx(0.25 * float(rate(500)))
    x = np.concatenate([X, np.full((40, 6), 1e30, "float32"), X])

    def train(vae, epochs):
        callbacks = [
            kv.callbacks.Divergence(in_a_row=4, rollbacks=5),
            kv.callbacks.Checkpoint(tmp_path, steps=1),
        ]
        with pytest.warns(UserWarning, match="rollback"):
            fit(vae, x, callbacks=callbacks, epochs=epochs)
        return callbacks[0]

    train(model(optimizer=keras.optimizers.Adam(rate)), 1)
    second = model(optimizer=keras.optimizers.Adam(rate))
    watcher = train(second, 2)
    assert watcher.scale == 0.25 and watcher.rolled_back == 2
    assert second.optimizer._learning_rate.factor == pytest.approx(0.25)
