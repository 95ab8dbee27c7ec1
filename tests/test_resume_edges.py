"""What a training may be given, and what may befall it, when it is cut off and goes on."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
import workers
from test_exact_resume import Cut, assert_same, state

import keras_vae as kv
from keras_vae import _checkpoints, executing, runs

pytestmark = pytest.mark.usefixtures("deterministic")

X = np.random.default_rng(0).normal(size=(70, 6)).astype("float32")


def model(optimizer=None, condition=None, **compiled):
    keras.utils.set_random_seed(5)
    network = "dense:widths=[8]"
    vae = kv.VAE((6,), 2, network=network, likelihood="normal", condition=condition)
    vae.compile(keras.optimizers.Adam(0.01) if optimizer is None else optimizer, **compiled)
    return vae


def train(folder, more=(), vae=None, x=X, steps=1, **options):
    vae = model() if vae is None else vae
    checkpoint = kv.callbacks.Checkpoint(folder, steps=steps)
    options = {"epochs": 3, "batch_size": 10, "verbose": 0} | options
    return vae, vae.fit(x, callbacks=[checkpoint, *more], **options)


def assert_cut_changes_nothing(tmp_path, made, place=(1, 3), more=list, **options):
    whole = train(tmp_path / "whole", more(), made(), **options)
    with pytest.raises(ConnectionResetError):
        train(tmp_path / "cut", [*more(), Cut(*place)], made(), **options)
    assert_same(whole, train(tmp_path / "cut", more(), made(), **options))


KINDS = {
    "float16": {"x": X.astype("float16")},
    "float64": {"x": X.astype("float64")},
    "tensor": {"x": tf.constant(X)},
    "labels in a list": {"x": X, "y": [n % 3 for n in range(70)]},
    "a mapping": {"x": {"x": X, "condition": np.arange(70) % 3}},
    "in order": {"x": X, "shuffle": False},
    "split": {"x": X, "validation_split": 0.3, "batch_size": 7},
    "every other epoch": {"x": X, "validation_data": X[:20], "validation_freq": 2},
    "from a later epoch": {"x": X, "initial_epoch": 1, "epochs": 4},
}


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.slow] if n else []) for n, k in enumerate(KINDS)]
)
def test_whatever_arrays_are_given_a_cut_changes_nothing(kind, tmp_path):
    conditioned = kind in ("labels in a list", "a mapping")
    assert_cut_changes_nothing(
        tmp_path, lambda: model(condition=3 if conditioned else None), **KINDS[kind]
    )


@pytest.mark.parametrize(
    ("each", "place"),
    [
        (3, (1, 3)),
        pytest.param(1, (1, 3), marks=pytest.mark.slow),
        pytest.param(3, (1, None), marks=pytest.mark.slow),
        pytest.param(7, (2, 0), marks=pytest.mark.slow),
    ],
)
def test_however_steps_run_a_cut_changes_nothing(each, place, tmp_path):
    def made():
        return model(metrics=["mse"], weighted_metrics=["mae"], steps_per_execution=each)

    options = {"steps": 2, "validation_data": X[:20]}
    assert_cut_changes_nothing(tmp_path, made, place, **options)


@pytest.mark.parametrize("kind", ["arrays", pytest.param("keras_vae.data", marks=pytest.mark.slow)])
def test_steps_taken_together_end_with_the_epoch_that_was_cut(kind, tmp_path, monkeypatch):
    """What was left out comes behind the epoch's end in the same iterator."""
    many = lambda self, seconds: setattr(self, "_steps", 100)  # noqa: E731
    monkeypatch.setattr(executing.Execution, "_adapt", many)
    taken = []

    class Count(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            taken.append(int(self.model.optimizer.iterations))

    def trained(folder, *more):
        if kind == "arrays":
            return train(folder, [*more, Count()], steps=3)
        parts = dict.fromkeys(("train", "validation", "test"), X)
        made = kv.data.load(parts, 10, seed=3).train
        return train(folder, [*more, Count()], x=made, steps=3, batch_size=None)

    whole = trained(tmp_path / "whole")
    with pytest.raises(ConnectionResetError):
        trained(tmp_path / "cut", Cut(0, 4))
    assert_same(whole, trained(tmp_path / "cut"))
    assert taken == [7, 14, 21] * 2


@pytest.mark.slow
def test_steps_between_checkpoints_need_not_fit_those_of_an_execution(tmp_path):
    made = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            made.append([p.step for p in _checkpoints.written(tmp_path)][-1:])

    train(tmp_path, [Look()], model(steps_per_execution=2), steps=3, epochs=1)
    assert made == [[], [], [4], [6]]


@pytest.mark.slow
def test_accumulated_gradients_and_averages_go_on(tmp_path):
    def made():
        return model(
            keras.optimizers.Adam(
                0.01, gradient_accumulation_steps=3, use_ema=True, ema_momentum=0.9
            )
        )

    def more():
        return [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)]

    assert_cut_changes_nothing(tmp_path, made, (1, 4), more, validation_data=X[:20])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mixed_float16", "mixed_bfloat16"])
def test_a_cut_within_an_epoch_of_narrow_numbers_changes_nothing(name, policy, tmp_path):
    policy(name)
    assert_cut_changes_nothing(tmp_path, model, validation_data=X[:20])


@pytest.mark.slow
def test_arrays_on_two_replicas_go_on(two_replicas, tmp_path):
    def made():
        with two_replicas.scope():
            return model()

    def trained(folder, *more):
        vae, history = train(folder, more, made(), x=X[:65], validation_data=X[:20])
        variables = [*vae.variables, *vae.optimizer.variables]
        return [kv.distribute.primary(each).numpy() for each in variables], history.history

    whole = trained(tmp_path / "whole")
    with pytest.raises(ConnectionResetError):
        trained(tmp_path / "cut", Cut(1, 3))
    weights, history = trained(tmp_path / "cut")
    for one, other in zip(whole[0], weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert history == whole[1]


@pytest.mark.slow
def test_a_model_that_was_saved_and_loaded_goes_on(tmp_path):
    path = tmp_path / "model.keras"
    vae, _ = train(tmp_path / "before", epochs=1)
    vae.save(path)

    def made():
        keras.utils.set_random_seed(5)
        return kv.load(path)

    assert_cut_changes_nothing(tmp_path, made, validation_data=X[:20])


class Saw(keras.callbacks.Callback):
    """Counts batches, and remembers things of every kind."""

    kept = ("batches", "table", "names", "array", "number", "nothing")

    def __init__(self):
        super().__init__()
        self.batches, self.table, self.names = 0, {"a": [1.5, 2]}, ["x", "y"]
        self.array, self.number, self.nothing = np.arange(3.0), np.int64(4), None

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1
        assert np.isfinite(float(np.asarray(logs["loss"])))


@pytest.mark.slow
def test_callbacks_get_back_all_kinds_of_things_wherever_they_stand(tmp_path):
    with pytest.raises(ConnectionResetError):
        train(tmp_path, [Saw(), Cut(1, 3)])
    saw = Saw()
    saw.table = saw.names = saw.array = saw.number = saw.nothing = "other"
    train(tmp_path, [keras.callbacks.TerminateOnNaN(), saw])
    assert saw.batches == 21
    assert (saw.table, saw.names, saw.number) == ({"a": [1.5, 2]}, ["x", "y"], 4)
    np.testing.assert_array_equal(saw.array, np.arange(3.0))
    assert saw.nothing is None
    saw.table = object()
    with pytest.raises(TypeError, match=r"Saw.table is a object, which a checkpoint cannot keep"):
        train(tmp_path / "other", [saw])


@pytest.mark.slow
def test_what_stopped_a_training_within_an_epoch_stops_it_again(tmp_path):
    class Enough(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training |= batch == 3

    class Killed(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            raise ConnectionResetError

    options = {"validation_data": X[:20]}
    whole = train(tmp_path / "whole", [Enough()], **options)
    with pytest.raises(ConnectionResetError):
        train(tmp_path / "cut", [Enough(), Killed()], **options)
    assert_same(whole, train(tmp_path / "cut", **options))


@pytest.mark.slow
def test_steps_to_leave_out_do_not_outlive_a_training(tmp_path):
    with pytest.raises(ConnectionResetError):
        train(tmp_path, [Cut(0, 5)])
    vae = model()
    with pytest.raises(ConnectionResetError):
        train(tmp_path, [Cut(0, 2)], vae)
    before = int(vae.optimizer.iterations)
    vae.fit(X, batch_size=10, verbose=0)
    assert int(vae.optimizer.iterations) == before + 7


@pytest.mark.slow
def test_wrong_callbacks_and_arrays_are_refused_in_words(tmp_path):
    vae, ours = model(), kv.callbacks.Checkpoint(tmp_path)
    for wrong in ([ours, kv.callbacks.Checkpoint(tmp_path)], keras.callbacks.CallbackList([ours])):
        with pytest.raises(ValueError, match=r"Checkpoint\(s\) in a .*expected one, in a list"):
            vae.fit(X, callbacks=wrong, verbose=0)
    with pytest.raises(ValueError, match="x 70, y 69; expected as many"):
        vae.fit(X, np.zeros(69), callbacks=ours, verbose=0)
    with pytest.raises(ValueError, match="validation_split=0.999 of 70 examples leaves none"):
        vae.fit(X, callbacks=ours, verbose=0, validation_split=0.999)
    for right in (ours, (ours,), [[ours]]):
        vae.fit(X, callbacks=right, verbose=0, epochs=1)
    assert list(tmp_path.iterdir())


@pytest.mark.slow
def test_callbacks_are_shown_the_arrays_that_fit_was_given(tmp_path):
    shown = []

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            shown.append(self.model.fit_data[0][0])

    train(tmp_path, [Look()], epochs=1)
    assert shown[0] is X


def test_other_data_within_an_epoch_is_refused_in_words(tmp_path):
    with pytest.raises(ConnectionResetError):
        train(tmp_path, [Cut(1, 5)])
    for other in ({"batch_size": 7}, {"x": X[:60]}, {"x": X[:69]}):
        with pytest.raises(ValueError, match="within an epoch of 7 steps over 70 examples"):
            train(tmp_path, **other)
    with pytest.raises(ValueError, match="another model or optimiser"):
        train(tmp_path, vae=model(keras.optimizers.SGD(0.1)))
    train(tmp_path)


def test_files_of_another_layout_are_refused_in_words(tmp_path):
    told = {"passes": 1, "history": {}, "stopped": False}
    np.savez(tmp_path / "epoch-000001.npz", told=np.array(json.dumps(told)))
    with pytest.raises(ValueError, match="was written by another version of keras_vae"):
        train(tmp_path)


@pytest.mark.slow
def test_batches_may_be_shuffled_whole(tmp_path):
    with pytest.raises(ConnectionResetError):
        train(tmp_path, [Cut(1, 3)], shuffle="batch")
    with pytest.warns(UserWarning, match="training goes on at the start of epoch 2"):
        _, history = train(tmp_path, shuffle="batch")
    assert history.epoch == [0, 1, 2]


def test_what_a_kill_left_half_written_is_removed(tmp_path):
    left = tmp_path / ".part-epoch-000001-step-00000003.npz"
    left.write_bytes(b"PK")
    (tmp_path / "epoch-000000-step-00000002.npz.worker-1").write_bytes(b"PK")
    (tmp_path / ".part-of-theirs.npz").write_bytes(b"")
    train(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        ".part-of-theirs.npz",
        "epoch-000002-step-00000007.npz",
        "epoch-000003.npz",
    }


@pytest.mark.slow
def test_all_workers_take_a_checkpoint_of_which_every_part_is_whole(tmp_path):
    arrays, told = {"metric 0 0": np.zeros(3)}, {"layout": 1}
    for step in (3, 4):
        position = _checkpoints.Position(0, step)
        _checkpoints.write(position.path(tmp_path), {"a": np.zeros(2)} | arrays, told)
        if step == 3:
            _checkpoints.write(position.path(tmp_path, 1), arrays)
    for damaged in (False, True):
        if damaged:
            _checkpoints.Position(0, 4).path(tmp_path, 1).write_bytes(b"PK")
        for worker in (0, 1):
            found = _checkpoints.last_checkpoint(tmp_path, worker, workers=2)
            assert found.position == (0, 3)


def test_a_full_disk_ends_in_words_and_the_last_checkpoint_stays(tmp_path, monkeypatch):
    class Fill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                monkeypatch.setattr(_checkpoints.np, "savez", full)

    def full(file, **arrays):
        file.write(b"PK")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    words = "epoch-000001-step-00000001.npz could not be written: No space left on device"
    with pytest.raises(OSError, match=words):
        train(tmp_path, [Fill()])
    monkeypatch.undo()
    assert not list(tmp_path.glob(".part-*"))
    assert_same(train(tmp_path / "whole"), train(tmp_path))


@pytest.mark.slow
def test_a_place_that_is_no_folder_is_said_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="could not be written: "):
        train(tmp_path / "file" / "checkpoint")


class Sends(keras.callbacks.Callback):
    """Sends this process a signal at a moment of the training."""

    def __init__(self, number, moment):
        super().__init__()

        def send(*args, **kwargs):
            if not getattr(self, "sent", False):
                self.sent = True
                os.kill(os.getpid(), number)

        setattr(self, moment, send)


MOMENTS = [
    "on_epoch_begin",
    "on_train_batch_begin",
    "on_test_begin",
    "on_test_batch_end",
    "on_epoch_end",
    "on_train_end",
]


@pytest.mark.parametrize(
    "moment",
    [pytest.param(m, marks=[pytest.mark.slow] if n > 1 else []) for n, m in enumerate(MOMENTS)],
)
def test_a_signal_at_any_moment_ends_a_training_and_loses_nothing(moment, tmp_path):
    options = {"validation_data": X[:20], "epochs": 2}
    whole = train(tmp_path / "whole", **options)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", [Sends(signal.SIGINT, moment)], **options)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    with pytest.raises(SystemExit) as ended:
        train(tmp_path / "cut", [Sends(signal.SIGTERM, moment)], **options)
    assert ended.value.code == 143
    assert_same(whole, train(tmp_path / "cut", **options))


@pytest.mark.slow
def test_signals_are_left_to_others_elsewhere(tmp_path):
    def ignored():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            train(tmp_path / "ignored", [Sends(signal.SIGINT, "on_train_batch_begin")], epochs=1)
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    ignored()
    ended = []
    thread = threading.Thread(
        target=lambda: ended.append(train(tmp_path / "thread", epochs=1)[1].epoch)
    )
    thread.start()
    thread.join()
    assert ended == [[0]]


@pytest.mark.slow
def test_a_second_fit_of_one_callback_goes_on_or_is_over(tmp_path):
    vae, checkpoint = model(), kv.callbacks.Checkpoint(tmp_path, steps=1)
    options = {"batch_size": 10, "verbose": 0, "callbacks": [checkpoint]}
    vae.fit(X, epochs=2, **options)
    weights = state(vae)
    assert vae.fit(X, epochs=2, **options).epoch == [0, 1]
    for one, other in zip(weights, state(vae), strict=True):
        np.testing.assert_array_equal(one, other)
    assert vae.fit(X, epochs=3, **options).epoch == [0, 1, 2]
    assert_same((vae, vae.history), train(tmp_path / "whole"))


@pytest.mark.slow
def test_a_run_counts_the_seconds_of_epochs_that_were_cut_off(tmp_path):
    clock = kv.callbacks.clock.Clock()
    clock.on_train_begin()
    clock.seconds = 90.0
    logs = {}
    clock.on_epoch_end(0, logs)
    assert 90.0 <= logs["seconds"] < 91.0
    told, _ = kv.callbacks.checkpoint._kept([clock])
    assert 90.0 <= told[0]["values"]["seconds"] < 91.0


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    ["model", *(pytest.param(p, marks=pytest.mark.slow) for p in ("saved_model", "removal"))],
)
def test_a_run_that_is_killed_at_its_end_is_finished(place, tmp_path):
    code = f"""
import os, shutil, sys
import keras_vae as kv
from keras_vae import configs, export, runs
def killed(*args, **kwargs):
    os._exit(9)
if "{place}" == "model": kv.VAE.save = killed
if "{place}" == "saved_model": export.saved_model = killed
remove = shutil.rmtree
def removed(path, **options):
    killed() if os.path.exists(path) and str(path).endswith(runs.GONE) else remove(path, **options)
if "{place}" == "removal": shutil.rmtree = removed
config = configs.Config(data="digits", epochs=1, network="dense:widths=[8]", latent_dim=2)
runs.train(config, sys.argv[1])
"""
    folder, environ = tmp_path / "run", {**os.environ, "PYTHONPATH": str(workers.ROOT)}
    command = [sys.executable, "-c", code, str(folder)]
    assert subprocess.run(command, env=environ, capture_output=True).returncode == 9
    assert runs.is_whole(folder) == (place == "removal")
    config = kv.configs.Config.read(folder / "config.json")
    runs.train(config, folder, resume=True)
    assert runs.is_whole(folder) and not (folder / ".part-checkpoint").exists()
    with (folder / "history.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 1
