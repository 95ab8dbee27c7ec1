"""Callbacks write what TensorBoard shows, and draw a bar that tells of the training."""

import importlib.util
import io
import re
import sys
import warnings

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


IMAGE = (8, 8, 1)
SCALARS = {
    "weights/beta",
    "training/examples_per_second",
    "training/gradient_norm",
    "latents/active_units",
}
HISTOGRAMS = {"latents/posterior_mean", "latents/posterior_stddev", "latents/kl_per_dimension"}
PICTURES = {"samples", "plane", "reconstructions", "traversals", "kl_per_dimension"}


def examples():
    return events(IMAGE, 8), np.arange(8) % 3


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A folder that a training of images wrote, with its model, history and seconds."""
    folder = tmp_path_factory.mktemp("board")
    callback = kv.callbacks.TensorBoard(
        folder,
        image_freq=2,
        num_images=5,
        seed=5,
        label_names=("a", "b", "c"),
        hparams={"epochs": 3, "of": {"shape": IMAGE, "rate": 0.5, "none": None}},
    )
    objective = kv.objectives.ELBO(beta=kv.schedules.Linear(0.0, 1.0, steps=18))
    vae, x = compiled(IMAGE, objective=objective), events(IMAGE)
    fitted = vae.fit(
        x,
        validation_data=examples(),
        batch_size=8,
        epochs=3,
        callbacks=[callback],
        verbose=0,
    )
    return folder, vae, fitted.history


def picture(tags, name, index=-1):
    _, value = tags[f"pictures/{name}"][index]
    return tf.io.decode_png(value.tolist()[2]).numpy() / 255.0


@pytest.mark.parametrize(("split", "prefix"), [("train", ""), ("validation", "val_")])
def test_the_loss_and_its_terms_are_written_for_both_splits(board, split, prefix):
    folder, _, history = board
    tags = logged(folder / split)
    for name in ("loss", "reconstruction_loss", "kl_loss", "elbo", "beta"):
        values = tags[f"epoch_{name}"]
        assert [step for step, _ in values] == [0, 1, 2]
        np.testing.assert_allclose(
            series(tags, f"epoch_{name}"), history[f"{prefix}{name}"], rtol=1e-6
        )


def test_every_tag_is_written_as_often_as_it_should(board):
    tags = logged(board[0] / "train")
    for name in SCALARS | {"epoch_learning_rate"}:
        assert [step for step, _ in tags[name]] == [0, 1, 2], name
    for name in HISTOGRAMS | {f"pictures/{name}" for name in PICTURES}:
        assert [step for step, _ in tags[name]] == [0, 2], name
    assert {t for t in tags if not t.startswith("epoch_")} == (
        SCALARS | HISTOGRAMS | {f"pictures/{name}" for name in PICTURES}
    )
    assert not {t for t in logged(board[0] / "validation") if t.startswith(("pictures", "latents"))}


def test_the_values_are_those_of_the_model(board):
    folder, vae, _ = board
    tags, (x, _) = logged(folder / "train"), examples()
    assert series(tags, "weights/beta") == pytest.approx([3 / 18, 6 / 18, 9 / 18])
    assert series(tags, "training/gradient_norm")[-1] == pytest.approx(vae.gradient_norm(x))
    active = kv.evaluation.active_dimensions(vae.encode(x).mean).sum()
    assert series(tags, "latents/active_units")[-1] == active
    assert min(series(tags, "training/examples_per_second")) > 0.0
    for name, values in zip(("mean", "stddev"), vae.encode(x)):
        bins = tags[f"latents/posterior_{name}"][-1][1]
        assert bins[:, 2].sum() == values.size
        assert bins[0, 0] == pytest.approx(values.min(), abs=1e-5)
        assert bins[-1, 1] == pytest.approx(values.max(), abs=1e-5)


def test_the_pictures_are_the_means_that_the_model_decodes(board):
    folder, vae, _ = board
    tags, (x, _) = logged(folder / "train"), examples()
    close = {"atol": 1.0 / 255.0}
    means = vae.sample(5, seed=5).mean
    drawn = picture(tags, "samples")
    assert drawn.shape == (2 * 9 - 1, 3 * 9 - 1, 1)
    np.testing.assert_allclose(drawn[:8, :8], means[0], **close)
    np.testing.assert_allclose(drawn[9:, 9:17], means[4], **close)
    pairs = picture(tags, "reconstructions")
    np.testing.assert_allclose(pairs[:8, 9:17], x[1], **close)
    np.testing.assert_allclose(pairs[9:, 9:17], vae.reconstruct(x)[1], **close)
    plane = picture(tags, "plane")
    assert plane.shape == (15 * 8, 15 * 8, 1)
    np.testing.assert_allclose(plane[56:64, 56:64], vae.decode(np.zeros((1, 2)))[0], **close)


def test_the_gradient_s_norm_is_that_of_the_loss(binary):
    vae = compiled(likelihood="normal")
    norm = vae.gradient_norm(binary)
    before = [v.numpy() for v in vae.weights]
    with tf.GradientTape() as tape:  # the bound in closed form, from the same draws
        noise = vae.graph.noise(tf.constant(binary), 1, tf.constant(vae.sampling.seed))
        q = vae.posterior(binary)
        z = q.mean() + q.stddev() * noise
        p = vae.observation(z)
        kl = 0.5 * (q.mean() ** 2 + q.variance() - 1.0 - 2.0 * tf.math.log(q.stddev()))
        loss = tf.reduce_mean(tf.reduce_sum(kl, -1) - p.log_prob(binary))
    gradients = tape.gradient(loss, [v.value for v in vae.trainable_variables])
    assert norm == pytest.approx(float(tf.linalg.global_norm(gradients)), rel=1e-4)
    assert all(np.array_equal(b, v.numpy()) for b, v in zip(before, vae.weights))


def test_the_graph_shows_encoder_and_decoder(board):
    (path,) = (board[0] / "train").iterdir()
    graphs = [e.graph_def for e in tf.compat.v1.train.summary_iterator(str(path)) if e.graph_def]
    graph = tf.compat.v1.GraphDef.FromString(graphs[0])
    names = {node.name.split("/")[0] for node in graph.node}
    assert {"encoder_1", "decoder_1"} <= names or {"encoder", "decoder"} <= names, names


def test_the_projector_gets_codes_labels_and_pictures(board):
    folder, vae, _ = board
    x, labels = examples()
    config = (folder / "projector_config.pbtxt").read_text()
    for file in ("codes.tsv", "labels.tsv", "sprite.png"):
        assert f'"{file}"' in config
    codes = np.loadtxt(folder / "codes.tsv", delimiter="\t")
    np.testing.assert_allclose(codes, vae.encode(x).mean, rtol=1e-4, atol=1e-5)
    words = (folder / "labels.tsv").read_text().splitlines()
    assert words == [("a", "b", "c")[label] for label in labels]
    sprite = tf.io.decode_png(tf.io.read_file(str(folder / "sprite.png"))).numpy()
    assert sprite.shape == (24, 24, 1)
    np.testing.assert_allclose(sprite[8:16, 8:16, 0] / 255.0, x[4, ..., 0])


def test_the_hyperparameters_are_flat(board):
    from tensorboard.plugins.hparams import plugin_data_pb2

    values = {"loss", "elbo", "val_loss", "val_elbo"}
    finals = logged(board[0])
    assert {name for name in finals if name.startswith("final/")} == {f"final/{n}" for n in values}
    for name in values:
        assert series(finals, f"final/{name}") == pytest.approx([board[2][name][-1]])
    found = {}
    for path in board[0].glob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                content = value.metadata.plugin_data.content
                data = plugin_data_pb2.HParamsPluginData.FromString(content)
                found[data.WhichOneof("data")] = data
    found.pop(None)  # the scalars
    assert set(found) == {"experiment", "session_start_info", "session_end_info"}
    hparams = found["session_start_info"].session_start_info.hparams
    assert set(hparams) == {"epochs", "of/shape", "of/rate", "of/none"}
    assert hparams["of/rate"].number_value == 0.5
    assert hparams["of/shape"].string_value == str(IMAGE)


def test_pictures_are_ten_of_each_tag_at_most(tmp_path):
    callback = kv.callbacks.TensorBoard(tmp_path, num_images=1)
    vae = compiled(IMAGE)
    vae.fit(events(IMAGE, 4), epochs=23, batch_size=4, callbacks=[callback], verbose=0)
    tags = logged(tmp_path / "train")
    assert [step for step, _ in tags["pictures/samples"]] == [*range(0, 23, 3), 22]
    assert len(tags["training/gradient_norm"]) == 23


def test_examples_may_be_given_and_streams_of_training_data_are_left_alone(tmp_path):
    seen = []

    def batches():
        seen.append(True)
        yield from events().reshape(3, 8, 6)

    stream = tf.data.Dataset.from_generator(
        batches, output_signature=tf.TensorSpec([None, 6])
    ).apply(tf.data.experimental.assert_cardinality(3))
    compiled().fit(
        stream, epochs=1, callbacks=[kv.callbacks.TensorBoard(tmp_path / "a")], verbose=0
    )
    assert len(seen) == 1
    tags = logged(tmp_path / "a" / "train")
    assert "training/examples_per_second" in tags
    assert not HISTOGRAMS & set(tags)
    assert not (tmp_path / "a" / "codes.tsv").exists()
    callback = kv.callbacks.TensorBoard(
        tmp_path / "b", examples=tf.data.Dataset.from_tensor_slices(events()).batch(5)
    )
    compiled().fit(stream, epochs=1, callbacks=[callback], verbose=0)
    assert set(logged(tmp_path / "b" / "train")) >= HISTOGRAMS
    assert len(np.loadtxt(tmp_path / "b" / "codes.tsv")) == 24


def test_a_training_that_goes_on_is_drawn_from_its_start_and_at_its_end(tmp_path):
    callback = kv.callbacks.TensorBoard(tmp_path, image_freq=3, num_images=1)
    options = {"epochs": 95, "initial_epoch": 91, "callbacks": [callback], "verbose": 0}
    compiled(IMAGE).fit(events(IMAGE, 4), **options)
    tags = logged(tmp_path / "train")
    assert [step for step, _ in tags["pictures/samples"]] == [91, 94]


def test_epochs_are_written_whatever_the_frequency_of_batches(tmp_path):
    fit(kv.callbacks.TensorBoard(tmp_path, update_freq=7))
    tags = logged(tmp_path / "train")
    assert {"epoch_loss", "training/gradient_norm", "pictures/kl_per_dimension"} <= set(tags)
    assert "final/loss" in logged(tmp_path)


def test_values_of_steps_go_to_a_writer_that_is_there(tmp_path):
    vae, x = compiled(), events()
    writer = tf.summary.create_file_writer(str(tmp_path / "own"))
    with writer.as_default():
        board = kv.callbacks.TensorBoard(tmp_path / "board")
        vae.fit(x, batch_size=8, epochs=2, verbose=0, callbacks=[board])
    assert [step for step, _ in logged(tmp_path / "own")["batch_loss"]] == list(range(1, 7))
    assert "batch_loss" not in logged(tmp_path / "board" / "train")


@pytest.mark.filterwarnings("ignore:invalid value", "ignore:overflow", "ignore:.*were left out")
def test_a_diverged_training_goes_on_and_is_called_so(tmp_path):
    vae, x = compiled(likelihood="normal"), events()
    vae.encoder.layers[-1].bias.assign(np.full(8, np.nan))
    watchers = [kv.callbacks.TensorBoard(tmp_path), kv.callbacks.CollapseWarning(1, 0)]
    vae.fit(x, validation_data=(x,), callbacks=watchers, verbose=0)
    found = kv.evaluation.collapse(vae, x)
    assert (found.diverged, found.collapsed) == (True, False)
    assert "the training has diverged" in found.sentence()


@pytest.mark.parametrize(
    "labels",
    [{"a": np.arange(24)}, np.zeros((24, 6)), [b"a", b"b"] * 12],
    ids=["map", "x", "words"],
)
def test_whatever_stands_in_the_place_of_labels_is_no_obstacle(tmp_path, labels):
    data = tf.data.Dataset.from_tensor_slices((events(), labels)).batch(8)
    callback = kv.callbacks.TensorBoard(tmp_path)
    compiled().fit(data, validation_data=data, callbacks=[callback], verbose=0)
    words = tmp_path / "labels.tsv"
    assert words.exists() is isinstance(labels, list)
    assert not words.exists() or words.read_text().split() == ["a", "b"] * 12


@pytest.mark.parametrize(
    ("examples", "words"),
    [
        (events((5,)), r"x has shape \(24, 5\); expected \(batch, 6\)"),
        ("digits", "examples is a str without examples; expected an array"),
        (tf.data.Dataset.from_tensor_slices(events()).batch(4).take(0), "without examples"),
        (np.zeros((0, 6)), "without examples"),
    ],
    ids=["shape", "word", "no batch", "no row"],
)
def test_examples_that_cannot_serve_are_refused_at_once(tmp_path, examples, words):
    for kind in (kv.callbacks.TensorBoard(tmp_path, examples=examples),
                 kv.callbacks.CollapseWarning(examples=examples)):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            compiled().fit(events(), callbacks=[kind], verbose=0)


def test_examples_may_be_lists_with_labels():
    found = kv.callbacks.base.watched(compiled(), (events().tolist(), ["a"] * 24), 5)
    assert found.x.shape == (5, 6)
    assert found.labels.tolist() == ["a"] * 5


def test_the_gradient_s_norm_follows_what_is_compiled_and_trained(binary):
    vae = compiled(objective=kv.objectives.ELBO(beta=kv.schedules.Linear(0.0, 50.0, steps=4)))
    start = vae.gradient_norm(binary)
    vae.fit(binary, epochs=2, verbose=0)
    assert vae.gradient_norm(binary) > 2.0 * start
    weights = [v.numpy() for v in vae.trainable_variables]
    vae.compile("adam")
    fresh = compiled(objective=kv.objectives.ELBO(beta=kv.schedules.Linear(0.0, 50.0, steps=4)))
    for variable, value in zip(fresh.trainable_variables, weights):
        variable.assign(value)
    assert vae.gradient_norm(binary) == pytest.approx(fresh.gradient_norm(binary), rel=1e-5)
    whole = vae.gradient_norm(binary)
    vae.encoder.trainable = False
    assert vae.gradient_norm(binary) < whole


def test_a_plain_autoencoder_is_watched_too(tmp_path):
    vae = kv.recipes.autoencoder((6,), 2, network="dense:widths=[8]")
    vae.compile()
    vae.fit(events(), epochs=1, callbacks=[kv.callbacks.TensorBoard(tmp_path)], verbose=0)
    tags = set(logged(tmp_path / "train"))
    assert "latents/active_units" in tags
    assert not {tag for tag in tags if "kl_per" in tag}


def test_workers_that_are_not_the_chief_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_vae.distribute.is_chief", lambda strategy: False)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*collapsed.*")
        vae = collapsed_fit(kv.callbacks.TensorBoard(tmp_path), kv.callbacks.CollapseWarning(1, 0))
    assert not vae.history.history["loss"][0] < 0.0
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("event_shape", [(6,), (4, 4, 2)])
def test_events_that_are_no_images_get_no_pictures_but_bars(tmp_path, event_shape):
    fit(kv.callbacks.TensorBoard(tmp_path), event_shape, epochs=1)
    tags = logged(tmp_path / "train")
    assert {tag for tag in tags if tag.startswith("pictures")} == {"pictures/kl_per_dimension"}
    assert not (tmp_path / "sprite.png").exists()


def test_colours_are_drawn(tmp_path):
    fit(kv.callbacks.TensorBoard(str(tmp_path), num_images=4), (4, 4, 3), epochs=1)
    assert picture(logged(tmp_path / "train"), "samples").shape == (9, 9, 3)


@pytest.mark.slow
def test_watching_changes_no_figure(tmp_path):
    keras.utils.set_random_seed(0)
    _, plain = fit(kv.callbacks.Progress(rich.console.Console(file=io.StringIO())), IMAGE)
    keras.utils.set_random_seed(0)
    _, watched = fit(kv.callbacks.TensorBoard(tmp_path), IMAGE)
    assert watched == plain


# Collapse


def collapsed_fit(*callbacks, beta=1000.0, epochs=2, **options):
    vae = compiled(objective=kv.objectives.ELBO(beta=beta), **options)
    x = two_clusters()
    vae.compile(keras.optimizers.Adam(0.02))
    vae.fit(x, validation_data=(x,), epochs=epochs, batch_size=30, callbacks=callbacks, verbose=0)
    return vae


def two_clusters(count=300):
    rng = np.random.default_rng(3)
    centre = np.where(rng.random((count, 1)) < 0.5, 0.95, 0.05)
    return (rng.random((count, 6)) < centre).astype("float32")


def test_a_collapsed_model_is_called_so_once():
    with pytest.warns(UserWarning, match="The posterior has collapsed: 0 of 2") as caught:
        collapsed_fit(kv.callbacks.CollapseWarning(2, min_steps=25), epochs=30)
    ours = [str(each.message) for each in caught if "collapsed" in str(each.message)]
    assert len(ours) == 1
    assert "a model without latents" in ours[0]
    assert "Try a warm-up" in ours[0]
    epochs = int(re.search(r"for (\d+) epochs", ours[0])[1])
    assert epochs >= 4  # more than 2, since 4 epochs of 10 steps make 25 steps of standing still


def test_a_healthy_model_is_not():
    x = two_clusters()
    watch = kv.callbacks.CollapseWarning(patience=3, min_steps=60)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*collapsed.*")
        vae = collapsed_fit(watch, beta=1.0, epochs=25)
    found = kv.evaluation.collapse(vae, x)
    assert not found.collapsed
    assert found.sentence() == f"{found.active.sum()} of 2 latent dimensions are active."
    assert -found.elbo < found.without_latents


def test_the_score_without_latents_is_the_entropy_of_each_column():
    x = two_clusters(1000)
    share = x.mean(0)
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share)).sum()
    score = kv.evaluation.score_without_latents
    assert score(compiled(), x) == pytest.approx(entropy + 6 / 2000, rel=1e-5)
    real = np.random.default_rng(0).normal(2.0, 3.0, (1000, 6)).astype("float32")
    normal = compiled(likelihood="normal:variance=learned")
    expected = (0.5 * np.log(2 * np.pi * np.e * real.var(0))).sum()
    assert score(normal, real) == pytest.approx(expected + 12 / 2000, rel=1e-3)
    assert score(compiled(), x[:49]) is None


def test_a_small_gain_over_many_elements_is_no_collapse():
    """Three nats among 1,100: the optimum of a model of one factor, set by hand."""
    rng, size, slope = np.random.default_rng(0), 784, 0.107
    direction = np.full(size, slope, np.float32)
    x = rng.normal(size=(500, 1)) * direction + rng.normal(size=(500, size))
    identity = keras.Sequential([keras.Input((size,)), keras.layers.Reshape((size,))])
    decoder = keras.Sequential([keras.Input((1,)), keras.layers.Dense(size, name="out")])
    vae = kv.VAE((size,), 1, encoder=identity, decoder=decoder, likelihood="normal")
    decoder.layers[-1].kernel.assign(direction[None])
    variance = 1.0 / (1.0 + direction @ direction)
    kernel = np.stack([variance * direction, np.zeros(size)], 1)
    vae.latent.posterior.projection.kernel.assign(kernel)
    vae.latent.posterior.projection.bias.assign([0.0, 0.5 * np.log(variance)])
    found = kv.evaluation.collapse(vae, x.astype("float32"))
    gain = 0.5 * (direction @ direction - np.log1p(direction @ direction))
    assert found.elbo + found.without_latents == pytest.approx(gain + 784 / 1000, abs=2.0)
    assert not found.collapsed


def test_few_examples_make_no_verdict_of_a_model_that_uses_its_latents():
    x = two_clusters()
    vae = collapsed_fit(beta=1.0, epochs=25)
    assert not any(kv.evaluation.collapse(vae, x[:count]).collapsed for count in (2, 10, 49, 300))


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
        ({"num_images": 0}, ValueError, "num_images is 0; expected a whole number of at least 1"),
        ({"num_images": 2.5}, TypeError, "num_images is 2.5"),
        ({"image_freq": -1}, ValueError, "image_freq is -1; expected a whole number of at least 0"),
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
