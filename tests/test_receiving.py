"""Arrays become the batches that Keras would make of them."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_vae as kv
from keras_vae.data import pipeline

LABELS = np.arange(90) % 3
WEIGHTS = np.linspace(0.5, 1.5, 90).astype("float32")


def assert_close(received, expected):
    assert received.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(received[name], values, rtol=1e-5, err_msg=name)


def trained(given, kind=kv.VAE, **options):
    """Returns what one epoch logs, in order, of a model of seed 0."""
    keras.utils.set_random_seed(0)
    vae = kind((6,), 2, network="dense:widths=[8]")
    vae.compile("adam")
    options = {"shuffle": False, "verbose": 0, "batch_size": 20} | options
    return vae.fit(given, **options).history


class Own(kv.VAE):
    """Steps of a user's own, which look at what Keras delivers."""

    def train_step(self, data):
        assert data.dtype == tf.float32 and data.shape[1:] == (6,)
        return super().train_step(tf.identity(data))

    def test_step(self, data):
        return super().test_step(tf.identity(data))

    def predict_step(self, data):
        return self.encoder(tf.identity(data))


def test_steps_of_a_subclass_receive_x_itself(binary):
    expected = trained(binary, validation_data=binary)
    assert_close(trained(binary, Own, validation_data=binary), expected)
    keras.utils.set_random_seed(0)
    vae = Own((6,), 2, network="dense:widths=[8]")
    np.testing.assert_allclose(vae.predict(binary, verbose=0), vae.encoder(binary), rtol=1e-6)


@pytest.mark.parametrize(
    "given",
    [
        lambda x: {"x": [x]},
        lambda x: {"x": (x,)},
        lambda x: {"x": tf.constant(x)},
        lambda x: {"x": x.astype("float64")},
        lambda x: {"x": x.astype("uint8")},
        lambda x: {"x": x, "y": list(LABELS)},
        lambda x: {"x": x, "y": [LABELS]},
        lambda x: {"x": x, "y": (LABELS, x)},
        lambda x: {"x": {"x": x}},
        lambda x: {"x": x, "validation_split": 0.0},
    ],
    ids=["list", "tuple", "tensor", "double", "bytes", "y", "y in list", "two", "mapping", "split"],
)
def test_whatever_form_arrays_have_they_are_the_same_examples(given, binary):
    told = given(binary)
    assert_close(trained(told.pop("x"), **told), trained(binary))


def test_weights_and_labels_stay_with_their_examples(binary):
    order = np.random.default_rng(1).permutation(90)
    keras.utils.set_random_seed(0)
    vae = kv.VAE((6,), 2, network="dense:widths=[8]", condition=3)
    vae.compile("adam")
    one = vae.evaluate(binary, LABELS, sample_weight=WEIGHTS, return_dict=True, verbose=0)
    other = vae.evaluate(
        binary[order], LABELS[order], 7, sample_weight=WEIGHTS[order], return_dict=True, verbose=0
    )
    assert_close(other, one)


def test_every_pass_has_all_examples_in_an_order_of_its_own():
    batches = pipeline.of_arrays((np.arange(70), np.arange(70)), 8, True, (0, 1))
    passes = [list(batches.as_numpy_iterator()) for _ in range(2)]
    orders = [np.concatenate([first for first, _ in each]) for each in passes]
    for order, found in zip(orders, passes):
        np.testing.assert_array_equal(np.sort(order), np.arange(70))
        np.testing.assert_array_equal(order, np.concatenate([second for _, second in found]))
    assert np.any(orders[0] != orders[1]) and np.any(orders[0] != np.arange(70))


def test_nothing_is_left_of_arrays_that_were_scored(binary, monkeypatch):
    made = []
    whole = pipeline.Passes.__init__

    def remembered(self, *args):
        made.append(weakref.ref(self))
        whole(self, *args)

    monkeypatch.setattr(pipeline.Passes, "__init__", remembered)
    vae = kv.VAE((6,), 2, network="dense:widths=[8]")
    vae.compile("adam")
    vae.evaluate(binary, verbose=0)
    vae.predict(binary, verbose=0)
    gc.collect()
    assert len(made) == 2 and not any(each() for each in made)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"y": LABELS[:5]}, "x 90, y 5; expected as many of each"),
        ({"sample_weight": WEIGHTS[:3]}, "sample_weight 3"),
        ({"x": np.zeros((0, 6), "float32")}, "x 0; expected .* some"),
        ({"batch_size": -3}, "batch_size is -3; expected a whole number of at least 1"),
        ({"validation_split": 0.999}, "leaves none on one side"),
    ],
    ids=["labels", "weights", "none", "batch size", "split"],
)
def test_what_does_not_fit_is_refused_in_words(options, words, binary):
    with pytest.raises(ValueError, match=words):
        trained(**({"given": options.pop("x", binary)} | options))
