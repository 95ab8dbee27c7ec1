"""Several steps in one call: the same numbers, and callbacks that see what they must."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_vae as kv
from keras_vae import _hooks, executing

STEPS = 12


def make(**compiled):
    keras.utils.set_random_seed(0)
    vae = kv.VAE((6,), 2, network="dense:widths=[8]")
    vae.compile(keras.optimizers.Adam(0.01), **compiled)
    return vae


@pytest.fixture
def fast(monkeypatch):
    """Executions of as many steps as they may have, whatever the machine does meanwhile."""
    monkeypatch.setattr(executing, "SECONDS", 1e9)


def assert_near(one, other):
    assert int(one.sampling.step.numpy()) == int(other.sampling.step.numpy()) > 0
    for a, b in zip(one.get_weights(), other.get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def unknown(x):
    spec = tf.TensorSpec([None, 6], tf.float32)
    return tf.data.Dataset.from_generator(
        lambda: iter(np.array_split(x, STEPS)), output_signature=spec
    )


DATA = {
    "arrays": lambda x: ((x,), {"batch_size": 8}),
    "weighted": lambda x: ((x, x[:, 0], np.arange(90.0)), {"batch_size": 8}),
    "dataset": lambda x: ((tf.data.Dataset.from_tensor_slices(x).batch(8),), {}),
    "of unknown length": lambda x: ((unknown(x),), {}),
    "endless": lambda x: (
        (tf.data.Dataset.from_tensor_slices(x).batch(8).repeat(),),
        {"steps_per_epoch": 7, "validation_steps": 5},
    ),
}


@pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")  # Keras's, once
@pytest.mark.parametrize("kind", DATA)
def test_steps_at_once_are_the_steps_one_by_one(kind, binary, fast):
    models, histories = [], []
    for compiled in ({}, {"steps_per_execution": 1}):
        vae = make(**compiled)
        (x, *others), arguments = DATA[kind](binary)
        validation = x if not others else (x, *others)
        if kind in ("arrays", "weighted"):
            arguments["validation_batch_size"] = 16
            validation = (x, *others)
        history = vae.fit(
            x,
            *others[:1],
            epochs=5,
            verbose=0,
            validation_data=validation,
            **arguments,
            **({"sample_weight": others[1]} if others else {}),
        )
        models.append(vae)
        histories.append(history.history)
    assert models[0]._executions["train"]._steps == executing.MOST_STEPS
    assert models[1]._executions["train"]._steps == 1
    assert_near(*models)
    for name, values in histories[1].items():
        np.testing.assert_allclose(histories[0][name], values, rtol=1e-5, err_msg=name)


class Watcher(keras.callbacks.Callback):
    """Notes which step it is told of, and which the model has taken."""

    def __init__(self, every=...):
        super().__init__()
        self.seen = []
        if every is not ...:
            self.every_steps = every

    def on_epoch_begin(self, epoch, logs=None):
        self.before = int(self.model.sampling.step.numpy())

    def on_train_batch_end(self, batch, logs=None):
        taken = int(self.model.sampling.step.numpy()) - self.before
        assert taken == batch + 1 + self.model.ahead
        self.seen.append((batch + 1, taken))
        assert np.isfinite(logs["loss"])


@pytest.mark.parametrize("verbose", [0, 2])
def test_callbacks_see_the_model_after_each_step_they_want(binary, fast, verbose):
    each, some, none = Watcher(), Watcher(4), Watcher(None)
    make().fit(binary, batch_size=8, epochs=4, verbose=verbose, callbacks=[each])
    assert each.seen == [(step, step) for step in range(1, STEPS + 1)] * 4
    make().fit(binary, batch_size=8, epochs=4, verbose=verbose, callbacks=[some, Watcher(6)])
    assert len(some.seen) == 4 * STEPS
    assert {step for step, taken in some.seen if step == taken} >= {2, 4, 6, 8, 10, 12}
    make().fit(binary, batch_size=8, epochs=4, verbose=verbose, callbacks=[none])
    assert len(none.seen) == 4 * STEPS
    assert none.seen[-1] == (STEPS, STEPS)
    assert (1, STEPS) in none.seen


class Over(kv.callbacks.Progress):
    """A hook of one's own over one of ours, whose `every_steps` does not speak of it."""

    def __new__(cls, every=None):
        own = type("Own", (cls,), {} if every is None else {"every_steps": every})
        own.on_train_batch_end = lambda self, batch, logs=None: None
        return keras.callbacks.Callback.__new__(own)

    def __init__(self, every=None):
        super().__init__()


def with_hook(callback):
    """Sets a hook as an attribute."""
    callback.on_train_batch_end = lambda batch, logs=None: None
    return callback


def test_callbacks_that_look_at_tests_see_each_batch(binary, fast):
    class Each(keras.callbacks.Callback):
        seen = ()

        def on_test_batch_end(self, batch, logs=None):
            count = self.model.metrics[0].count.numpy()
            self.seen = (*self.seen, count)

    vae, each = make(), Each()
    for _ in range(3):
        vae.evaluate(binary, batch_size=30, verbose=0)
    vae.evaluate(binary, batch_size=30, verbose=0, callbacks=[each])
    assert each.seen == (30.0, 60.0, 90.0)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("callbacks", "expected"),
    [
        ([], None),
        ([keras.callbacks.ProgbarLogger(), keras.callbacks.EarlyStopping()], None),
        ([keras.callbacks.ModelCheckpoint("a.keras"), keras.callbacks.History()], None),
        ([keras.callbacks.ModelCheckpoint("a.keras", save_freq=3)], 1),
        ([keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_: None)], 1),
        ([keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: None)], None),
        ([kv.callbacks.Checkpoint("a"), kv.callbacks.Progress()], None),
        ([kv.callbacks.Checkpoint("a", steps=12), kv.callbacks.Divergence(in_a_row=8)], 4),
        ([kv.callbacks.Divergence(), Watcher()], 1),
        ([kv.callbacks.TensorBoard("a")], None),
        ([kv.callbacks.TensorBoard("a", update_freq=10)], 1),
        ([kv.callbacks.TensorBoard("a", profile_batch=3)], 1),
        ([keras.callbacks.TensorBoard("a")], 1),
        ([Over()], 1),
        ([Over(every=8)], 8),
        ([with_hook(keras.callbacks.ProgbarLogger())], 1),
        ([with_hook(kv.callbacks.Progress())], 1),
    ],
)
def test_what_callbacks_want(callbacks, expected):
    assert _hooks.every_step_of(callbacks) == expected


def test_a_step_of_ones_own_is_taken_one_by_one(binary, fast):
    class Own(kv.VAE):
        def train_step(self, data):
            return {**super().train_step(data), "seven": tf.constant(7.0)}

    class Last(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.logs = logs

    vae, last = Own((6,), 2, network="dense:widths=[8]"), Last()
    vae.compile("adam")
    vae.fit(binary, verbose=0, epochs=2, callbacks=[last])
    assert last.logs["seven"] == 7.0
    assert vae._executions["train"]._steps == 1


@pytest.mark.parametrize("option", [{"run_eagerly": True}, {"jit_compile": True}], ids=str)
def test_eager_and_compiled_steps_are_those_of_keras(option, binary, fast):
    # XLA has noise of its own, so each is held against the same without our loop.
    one_by_one = {"jit_compile": option.get("jit_compile", False), "steps_per_execution": 1}
    models = make(**option), make(**one_by_one)
    for vae in models:
        vae.fit(binary, batch_size=30, epochs=4, shuffle=False, verbose=0)
    assert_near(*models)


def test_what_breaks_off_leaves_the_next_fit_alone(binary, fast):
    class Breaks(keras.callbacks.Callback):
        every_steps = None

        def on_train_batch_end(self, batch, logs=None):
            if self.model.ahead:
                raise InterruptedError

    vae = make()
    with pytest.raises(InterruptedError):
        vae.fit(binary, batch_size=8, epochs=3, verbose=0, callbacks=[Breaks()])
    before = int(vae.sampling.step.numpy())
    vae.train_on_batch(binary[:10])
    assert int(vae.sampling.step.numpy()) == before + 1
    vae.fit(binary, batch_size=8, verbose=0)
    assert int(vae.sampling.step.numpy()) == before + 1 + STEPS


def test_what_callbacks_do_with_the_model_leaves_the_pass_alone(binary, fast):
    class Aside(keras.callbacks.Callback):
        every_steps = None
        seen = ()

        def on_train_batch_end(self, batch, logs=None):
            self.seen = (*self.seen, self.model.ahead)
            if batch == 5:
                self.model.evaluate(binary, verbose=0)
                self.model.test_on_batch(binary[:4])
                self.model.train_on_batch(binary[:4])

    vae, aside = make(), Aside()
    vae.fit(binary, batch_size=8, epochs=5, verbose=0, callbacks=[aside])
    assert len(aside.seen) == 5 * STEPS
    assert int(vae.sampling.step.numpy()) == 5 * (STEPS + 1)
    assert aside.seen[-STEPS:] == tuple(range(STEPS))[::-1]


def test_a_chosen_number_is_saved_and_a_found_one_is_not(binary, tmp_path):
    for compiled, expected in (({}, False), ({"steps_per_execution": 3}, True)):
        vae = make(**compiled)
        vae.fit(binary, verbose=0)
        assert ("steps_per_execution" in vae.get_compile_config()) == expected
        vae.save(tmp_path / "vae.keras")
        loaded = kv.load(tmp_path / "vae.keras")
        assert loaded._one_by_one == expected
        assert loaded.steps_per_execution == (3 if expected else 1)


@pytest.mark.quick
def test_a_wrong_number_of_steps_is_refused_in_words():
    for wrong in (0, 2.5):
        with pytest.raises((TypeError, ValueError), match="every_steps is"):
            _hooks.every_step_of([Watcher(wrong)])


def test_a_number_set_afterwards_is_that_of_keras(binary, fast):
    vae = make()
    vae.steps_per_execution = 4
    vae.fit(binary, batch_size=8, epochs=3, verbose=0)
    assert int(vae.sampling.step.numpy()) == 3 * STEPS


def test_a_model_that_was_not_compiled_is_told_so(binary):
    vae = kv.VAE((6,), 2, network="dense:widths=[8]")
    with pytest.raises(ValueError, match=r"You must call `compile\(\)`"):
        vae.fit(binary, verbose=0)


@pytest.mark.parametrize("option", [{}, {"jit_compile": True}, {"steps_per_execution": 2}], ids=str)
def test_layers_are_not_rewritten_by_autograph(option, binary):
    seen = []

    class Looks(keras.layers.Layer):
        def call(self, x):
            seen.append(str(tf.__internal__.autograph.control_status_ctx().status))
            return x

    layers = [keras.layers.Dense(4), Looks()]
    vae = kv.VAE((6,), 2, encoder=keras.Sequential(layers), network="dense:widths=[8]")
    vae.compile("adam", **option)
    seen.clear()
    vae.fit(binary, verbose=0)
    assert seen and not any("ENABLED" in status for status in seen)
