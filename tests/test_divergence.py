"""Steps that are not finite change nothing; trainings that diverge roll back, and end in words."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_vae as kv
from keras_vae import _checkpoints

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


@pytest.mark.parametrize("frozen", [False, True])
def test_the_same_where_groups_of_weights_follow_losses_of_their_own(frozen):
    def made():
        encoder = model(norm=True).encoder
        objective = "iwae:samples=3,gradient=dreg"
        vae = kv.VAE((6,), 2, encoder=encoder, likelihood="normal", objective=objective)
        for layer in encoder.layers[:2] if frozen else ():
            layer.trainable = False
        vae.compile(keras.optimizers.Adam(0.01))
        return vae

    clean, hurt = made(), made()
    expected, received = fit(clean, X), fit(hurt, with_bad())
    assert int(hurt.guard.skipped) == 2 * len(BAD)
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


@pytest.mark.parametrize("limit", [None, 3.0])
@pytest.mark.parametrize("name", ["mirrored", "one_device"])
def test_the_same_under_a_strategy_over_one_device(name, limit, one_replica):
    strategy = one_replica if name == "mirrored" else tf.distribute.OneDeviceStrategy("CPU:0")
    more = {} if name == "mirrored" else {"gradient_accumulation_steps": 2}

    def trained():
        adam = keras.optimizers.Adam(0.01, clipnorm=1.0, **more)
        vae = model(norm=True, optimizer=adam, gradient_limit=limit)
        return vae, fit(vae, with_bad(), validation_data=X)

    clean, expected = trained()
    with strategy.scope():
        vae, received = trained()
    assert int(vae.guard.skipped.numpy()) == int(clean.guard.skipped) == 2 * len(BAD)
    assert_same_weights(clean, vae, rtol=1e-5, atol=1e-6)
    for name, values in expected.items():
        np.testing.assert_allclose(values, received[name], rtol=1e-5, err_msg=name)


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


@pytest.mark.slow
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


def constant_rate():
    return 0.01


def spoil(vae):
    """Makes a weight too large for any loss to be finite, as a step too far would."""
    vae.trainable_variables[0].assign(tf.fill(vae.trainable_variables[0].shape, 1e38))


def test_an_epoch_without_a_step_has_no_loss_and_is_said():
    vae = model()
    with pytest.warns(UserWarning, match="12 step.s. were left out .*Divergence keeps"):
        history = fit(vae, np.full((60, 6), 1e30, "float32"))
    assert np.isnan(history["loss"]).all() and np.isnan(history["elbo"]).all()


@pytest.mark.parametrize("checkpoints", [False, True])
def test_a_state_from_which_no_step_can_be_taken_gives_way_to_the_one_before(checkpoints, tmp_path):
    class Spoil(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                spoil(self.model)

    vae, watcher = model(), kv.callbacks.Divergence(in_a_row=2, rollbacks=3)
    callbacks = [watcher, Spoil()]
    if checkpoints:
        callbacks.append(kv.callbacks.Checkpoint(tmp_path / "checkpoint", steps=3))
    with pytest.warns(UserWarning, match=r"rollback \d of 3"):
        history = fit(vae, X, callbacks=callbacks, epochs=5)
    assert watcher.rolled_back == 2 and np.isfinite(history["loss"]).all()


def test_a_rate_that_is_a_function_is_lowered():
    vae = model(optimizer=keras.optimizers.SGD(constant_rate))
    assert kv.callbacks.divergence.lower_rate(vae, 0.5) is None
    assert float(vae.optimizer.learning_rate) == pytest.approx(0.005)
    fit(vae, X)


def test_batches_that_cannot_be_kept_end_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    watcher = kv.callbacks.Divergence(tmp_path / "file" / "skipped", in_a_row=50)
    with pytest.warns(UserWarning, match="batches could not be kept .*Not a directory"):
        fit(model(), with_bad(), callbacks=[watcher], epochs=1)


@pytest.mark.slow
def test_a_lowered_schedule_survives_a_resume_within_an_epoch(tmp_path):
    rate = keras.optimizers.schedules.CosineDecay(0.01, 1000)
    x = np.concatenate([X[:20], np.full((40, 6), 1e30, "float32"), X])

    class Cut(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 9:
                raise ConnectionResetError

    def train(folder, more=()):
        vae, watcher = (
            model(optimizer=keras.optimizers.Adam(rate)),
            kv.callbacks.Divergence(in_a_row=4, rollbacks=5),
        )
        checkpoint = kv.callbacks.Checkpoint(folder, steps=1)
        fit(vae, x, callbacks=[watcher, checkpoint, *more], epochs=2)
        return vae

    with pytest.warns(UserWarning, match="rollback"):
        whole = train(tmp_path / "whole")
    with pytest.warns(UserWarning, match="rollback"), pytest.raises(ConnectionResetError):
        train(tmp_path / "cut", [Cut()])
    with pytest.warns(UserWarning, match="rollback"):
        assert_same_weights(whole, train(tmp_path / "cut"), rtol=1e-6, atol=1e-7)


def test_a_fit_without_checkpoints_rolls_back_to_none(tmp_path):
    watcher = kv.callbacks.Divergence()
    fit(model(), X, callbacks=[watcher, kv.callbacks.Checkpoint(tmp_path)], epochs=1)
    assert watcher.checkpoints is None


def test_the_limit_of_a_scaled_loss_is_that_of_the_gradient(policy):
    policy("mixed_float16")
    limited, free = model(gradient_limit=1e4), model()
    assert isinstance(limited.optimizer, keras.optimizers.LossScaleOptimizer)
    for vae in (limited, free):
        fit(vae, X, epochs=4)
    assert_same_weights(limited, free, rtol=0, atol=0)
    low = model(gradient_limit=1e-3)
    fit(low, X, epochs=4)
    assert 0 < int(low.sampling.step) < 24


def test_a_limit_serves_gradients_whose_squares_overflow():
    guard = kv.guarding.Guard(limit=2.0)
    optimizer, variable = keras.optimizers.SGD(1.0), keras.Variable([0.0, 0.0])
    guard.limited.assign(10)
    huge = [(tf.constant([3e30, 4e30]), variable)]
    take, gradients = guard.judge(tf.zeros(1), huge, optimizer)
    assert bool(take) and int(guard.limited) == 0
    np.testing.assert_allclose(gradients[0][0], [1.2, 1.6], rtol=1e-6)
    rows = tf.IndexedSlices(tf.constant([[3.0, 4.0]]), tf.constant([1]), tf.constant([2, 2]))
    take, gradients = guard.judge(tf.zeros(1), [(rows, variable), (None, variable)], optimizer)
    assert not bool(take) and int(guard.limited) == 1 and gradients[1][0] is None


def test_half_precision_gradients_are_summed_in_single():
    guard, variable = kv.guarding.Guard(), keras.Variable(np.zeros(100_000, "float16"))
    gradients = [(tf.ones(100_000, tf.float16), variable)]
    take, _ = guard.judge(tf.zeros(1), gradients, keras.optimizers.SGD(1.0))
    assert bool(take)


def test_accumulated_gradients_leave_out_what_is_not_finite():
    def made():
        return model(optimizer=keras.optimizers.Adam(0.01, gradient_accumulation_steps=3))

    clean, hurt = made(), made()
    fit(clean, X)
    fit(hurt, with_bad())
    assert_same_weights(clean, hurt, rtol=0, atol=0)


def test_a_run_that_diverges_keeps_its_last_good_model(tmp_path, monkeypatch):
    def diverge(vae, config, data, folder, console):
        _checkpoints.write(folder / "checkpoint" / "epoch-000001.npz", {}, {"layout": 1})
        raise FloatingPointError("The training diverged.")

    monkeypatch.setattr(kv.runs, "_fit", diverge)
    config = kv.configs.Config(data="digits", epochs=1, network="dense:widths=[8]", latent_dim=2)
    with pytest.raises(FloatingPointError, match="diverged"):
        kv.runs.train(config, tmp_path / "run")
    assert kv.load(tmp_path / "run" / "model.keras").event_shape == (8, 8, 1)
    assert not kv.runs.is_whole(tmp_path / "run")
