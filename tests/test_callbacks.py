"""Callbacks write what TensorBoard shows, and draw a bar that tells of the training."""

import importlib.util
import io
import sys

import keras
import numpy as np
import pytest
import rich.console
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import keras_vae as kv


def compiled(event_shape=(6,), **options):
    vae = kv.VAE(event_shape, 2, network="dense:widths=[8]", **options)
    vae.compile()
    return vae


def events(event_shape=(6,), count=24):
    rng = np.random.default_rng(0)
    return (rng.random((count, *event_shape)) < 0.5).astype(np.float32)


def fit(callback, event_shape=(6,), epochs=2, **options):
    vae, x = compiled(event_shape), events(event_shape)
    options = {"validation_data": x[:8], "batch_size": 8, "verbose": 0, **options}
    history = vae.fit(x, epochs=epochs, callbacks=[callback], **options)
    return vae, history.history


def logged(folder):
    """Returns tag -> [(step, value)] of one folder of event files."""
    reader = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    reader.Reload()
    return {
        tag: [(event.step, tf.make_ndarray(event.tensor_proto)) for event in reader.Tensors(tag)]
        for tag in reader.Tags()["tensors"]
    }


def series(tags, name):
    return [float(value) for _, value in tags[name]]


# TensorBoard


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A folder that a training of images wrote, with its model and history."""
    folder = tmp_path_factory.mktemp("board")
    callback = kv.callbacks.TensorBoard(folder, num_images=3, image_freq=2, seed=5)
    vae, history = fit(callback, (8, 8, 1), epochs=3)
    return folder, vae, history


@pytest.mark.parametrize(("split", "prefix"), [("train", ""), ("validation", "val_")])
def test_the_loss_and_its_terms_are_written_for_both_splits(board, split, prefix):
    folder, _, history = board
    tags = logged(folder / split)
    for name in ("loss", "reconstruction_loss", "kl_loss", "elbo"):
        values = tags[f"epoch_{name}"]
        assert [step for step, _ in values] == [0, 1, 2]
        np.testing.assert_allclose(
            series(tags, f"epoch_{name}"), history[f"{prefix}{name}"], rtol=1e-6
        )


def test_prior_samples_are_written_as_images_every_other_epoch(board):
    tags = logged(board[0] / "train")
    assert [step for step, _ in tags["prior_samples"]] == [0, 2]
    for _, value in tags["prior_samples"]:
        width, height, *pictures = value.tolist()
        assert (int(width), int(height)) == (8, 8)
        assert len(pictures) == 3
    assert "prior_samples" not in logged(board[0] / "validation")


def test_the_images_are_the_means_of_the_models_samples(board):
    folder, vae, _ = board
    _, value = logged(folder / "train")["prior_samples"][-1]
    pictures = np.stack([tf.io.decode_png(png).numpy() for png in value.tolist()[2:]])
    means = vae.sample(3, seed=5).mean
    assert pictures.shape == means.shape == (3, 8, 8, 1)
    np.testing.assert_allclose(pictures / 255.0, means, atol=1.0 / 255.0)


def test_no_images_are_written_where_none_are_wanted(tmp_path):
    fit(kv.callbacks.TensorBoard(tmp_path, num_images=0), (8, 8, 1), epochs=1)
    tags = logged(tmp_path / "train")
    assert "epoch_loss" in tags
    assert "prior_samples" not in tags


@pytest.mark.parametrize("event_shape", [(6,), (4, 4, 2)])
def test_events_that_are_no_images_get_none(tmp_path, event_shape):
    fit(kv.callbacks.TensorBoard(tmp_path), event_shape, epochs=1)
    tags = logged(tmp_path / "train")
    assert len(tags["epoch_loss"]) == 1
    assert "prior_samples" not in tags


def test_colours_are_drawn(tmp_path):
    fit(kv.callbacks.TensorBoard(str(tmp_path), num_images=2), (4, 4, 3), epochs=1)
    ((step, value),) = logged(tmp_path / "train")["prior_samples"]
    assert step == 0
    assert tf.io.decode_png(value.tolist()[2]).shape == (4, 4, 3)


def test_drawing_images_changes_no_figure(tmp_path):
    keras.utils.set_random_seed(0)
    _, plain = fit(kv.callbacks.Progress(rich.console.Console(file=io.StringIO())), (8, 8, 1))
    keras.utils.set_random_seed(0)
    _, watched = fit(kv.callbacks.TensorBoard(tmp_path), (8, 8, 1))
    assert watched == plain


def test_without_tensorboard_the_construction_fails_with_the_remedy(monkeypatch, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "tensorboard" else find(name, *more),
    )
    with pytest.raises(ImportError, match="pip install tensorboard"):
        kv.callbacks.TensorBoard(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"num_images": -1}, ValueError, "num_images is -1; expected a whole number of at least 0"),
        ({"num_images": 2.5}, TypeError, "num_images is 2.5"),
        ({"image_freq": 0}, ValueError, "image_freq is 0; expected a whole number of at least 1"),
        ({"seed": "x"}, TypeError, "seed is 'x'; expected a whole number"),
    ],
)
def test_bad_options_are_refused_at_construction(tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        kv.callbacks.TensorBoard(tmp_path, **options)


def test_options_of_keras_are_passed_on(tmp_path):
    callback = kv.callbacks.TensorBoard(tmp_path, write_graph=False, histogram_freq=2)
    assert isinstance(callback, keras.callbacks.TensorBoard)
    assert (callback.write_graph, callback.histogram_freq) == (False, 2)


# Progress


def progress(terminal=False):
    file = io.StringIO()
    console = rich.console.Console(file=file, width=120, force_terminal=terminal)
    return kv.callbacks.Progress(console), file


def test_a_bar_ends_with_the_last_epoch_and_its_values():
    bar, file = progress()
    _, history = fit(bar)
    text = file.getvalue()
    assert "epoch 2/2" in text
    assert "100%" in text
    for name in ("loss", "kl_loss", "val_elbo"):
        assert f"{name} {history[name][-1]:.2f}" in text
    assert "epoch 1/2" not in text


def test_a_bar_without_validation_shows_the_training_values():
    bar, file = progress()
    _, history = fit(bar, validation_data=None)
    assert f"loss {history['loss'][-1]:.2f}" in file.getvalue()
    assert "val_" not in file.getvalue()


def test_a_bar_serves_a_fit_that_goes_on_and_a_second_fit():
    bar, file = progress()
    vae, x = compiled(), events()
    vae.fit(x, epochs=3, initial_epoch=1, callbacks=[bar], verbose=0)
    assert "epoch 3/3" in file.getvalue()
    assert "100%" in file.getvalue()
    vae.fit(x, epochs=5, callbacks=[bar], verbose=0)
    assert "epoch 5/5" in file.getvalue()


@pytest.mark.filterwarnings(
    "ignore:Your input ran out of data"
)  # Keras's, at the end of each epoch
def test_a_bar_serves_data_of_unknown_length():
    bar, file = progress()
    stream = tf.data.Dataset.from_generator(
        lambda: iter(events().reshape(3, 8, 6)), output_signature=tf.TensorSpec([None, 6])
    )
    compiled().fit(stream, epochs=2, callbacks=[bar], verbose=0)
    assert "epoch 2/2" in file.getvalue()
    assert "loss " in file.getvalue()


def test_a_bar_serves_steps_that_run_in_groups():
    bar, file = progress()
    vae = compiled()
    vae.compile(steps_per_execution=2)
    vae.fit(events(count=40), batch_size=8, epochs=2, callbacks=[bar], verbose=0)
    assert "epoch 2/2" in file.getvalue()
    assert "100%" in file.getvalue()


def test_a_terminal_is_given_back_after_the_training():
    bar, file = progress(terminal=True)
    before = sys.stdout, sys.stderr
    fit(bar)
    assert (sys.stdout, sys.stderr) == before
    text = file.getvalue()
    assert "epoch 2/2" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor, hidden and shown
