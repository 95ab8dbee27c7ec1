"""A training that is cut off at any step ends as one that never was, bit for bit."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_vae as kv

pytestmark = pytest.mark.usefixtures("deterministic")


class Cut(keras.callbacks.Callback):
    """Ends a training as an accident would: at a step of an epoch, or at an epoch's end."""

    def __init__(self, epoch, step=None):
        super().__init__()
        self.at, self.epoch = (epoch, step), 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise ConnectionResetError

    def on_test_begin(self, logs=None):
        if (self.epoch, None) == self.at:
            raise ConnectionResetError


EVENTS = np.random.default_rng(0).normal(size=(70, 6)).astype("float32")
KINDS = ("arrays", "pairs", "kv.data", "streamed")
SLOW = ("pairs", "kv.data", "streamed")


def data(kind):
    """Returns what `fit` is given, of seven steps per epoch."""
    held = {"validation_data": EVENTS[:20], "validation_batch_size": 10}
    if kind == "arrays":
        return {"x": EVENTS, "batch_size": 10, **held}
    if kind == "pairs":
        weights = np.linspace(0.5, 1.5, 70).astype("float32")
        y = np.arange(70) % 3
        return {
            "x": EVENTS,
            "y": y,
            "sample_weight": weights,
            "batch_size": 10,
            "validation_split": 0.0,
            "validation_data": (EVENTS[:20], y[:20]),
        }
    source = EVENTS if kind == "kv.data" else tf.data.Dataset.from_tensor_slices(EVENTS)
    made = kv.data.load({"train": source, "validation": source, "test": source}, 10, seed=3)
    return {"x": made.train, "validation_data": made.validation}


def model(kind="arrays", **compiled):
    keras.utils.set_random_seed(5)
    network = kv.networks.dense_encoder((6,), [8])
    noisy = keras.Sequential([network, keras.layers.Dropout(0.2, seed=4, name="drop")])
    vae = kv.VAE(
        (6,),
        2,
        encoder=noisy if kind != "pairs" else None,
        network="dense:widths=[8]",
        likelihood="normal",
        objective="elbo:beta=linear(steps=15)",
        condition=3 if kind == "pairs" else None,
    )
    optimizer = keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9)
    vae.compile(optimizer, **compiled)
    return vae


def callbacks():
    return [
        keras.callbacks.ReduceLROnPlateau("val_elbo", mode="max", factor=0.5, patience=1),
        keras.callbacks.EarlyStopping(
            "val_elbo", mode="max", patience=2, start_from_epoch=1, restore_best_weights=True
        ),
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.99),
    ]


def train(kind, folder, more=(), vae=None, epochs=4, **options):
    vae = model(kind) if vae is None else vae
    checkpoint = kv.callbacks.Checkpoint(folder, **options)
    history = vae.fit(
        **data(kind), epochs=epochs, verbose=0, callbacks=[checkpoint, *callbacks(), *more]
    )
    return vae, history


def state(vae):
    return [v.numpy() for v in (*vae.variables, *vae.optimizer.variables)]


def assert_same(one, other):
    for vae, history in [one]:
        again, repeated = other
        for first, second in zip(state(vae), state(again), strict=True):
            np.testing.assert_array_equal(first, second)
        assert (history.epoch, history.history) == (repeated.epoch, repeated.history)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The ends of trainings that were never cut off, by the kind of data."""
    made = {}

    def of(kind):
        if kind not in made:
            made[kind] = train(kind, tmp_path_factory.mktemp(kind), steps=1)
        return made[kind]

    return of


PLACES = [(0, 0), (0, 3), (1, 6), (1, None), (2, 4), (3, None)]


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.slow] if k in SLOW else []) for k in KINDS]
)
def test_any_step_of_any_epoch_is_one_to_go_on_from(kind, undisturbed, tmp_path):
    places = PLACES if kind == "arrays" else PLACES[1::3]
    for number, place in enumerate(places):
        folder = tmp_path / str(number)
        with pytest.raises(ConnectionResetError):
            train(kind, folder, [Cut(*place)], steps=1)
        assert_same(undisturbed(kind), train(kind, folder, steps=1))


@pytest.mark.slow
def test_a_training_that_is_cut_off_again_and_again(undisturbed, tmp_path):
    for place in itertools.product(range(4), (2, 5)):
        with pytest.raises(ConnectionResetError):
            train("kv.data", tmp_path, [Cut(*place)], steps=1, keep=1)
    assert_same(undisturbed("kv.data"), train("kv.data", tmp_path, steps=1))
