"""A training that goes on from a checkpoint, in the same process or after an accident."""

import keras
import numpy as np
import pytest

import keras_vae as kv


def model(seed=0, **options):
    keras.utils.set_random_seed(seed)
    vae = kv.VAE((6,), 2, network="dense:widths=[8]")
    vae.compile(keras.optimizers.Adam(0.01), **options)
    return vae


def train(vae, x, folder=None, epochs=2, more=(), **options):
    """Returns the history of a `fit` that writes a checkpoint after every epoch."""
    ours = [] if folder is None else [kv.callbacks.Checkpoint(folder, share=1.0)]
    options = {"verbose": 0, "shuffle": False, "epochs": epochs} | options
    return vae.fit(x, callbacks=[*more, *ours], **options)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_equal(one, other):
    for first, second in zip(one.weights, other.weights):
        np.testing.assert_array_equal(second.numpy(), first.numpy(), err_msg=first.path)


def assert_same_logs(received, expected):
    assert received.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(received[name], values, rtol=1e-6, err_msg=name)


class Interrupted(keras.callbacks.Callback):
    """Ends a training as Ctrl-C does."""

    def on_train_batch_begin(self, batch, logs=None):
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["float32", "mixed_float16", "bfloat16"])
def test_a_second_model_of_the_process_goes_on_from_the_first(name, binary, policy, tmp_path):
    policy(name)
    whole = model()
    expected = train(whole, binary, epochs=4)
    train(model(), binary, tmp_path)
    cut = model(seed=1)  # whose optimiser Keras gives another name
    history = train(cut, binary, tmp_path, epochs=4)
    assert_equal(whole, cut)
    assert history.epoch == expected.epoch
    assert_same_logs(history.history, expected.history)


def test_networks_of_one_s_own_need_no_names(binary, tmp_path):
    def made():
        keras.utils.set_random_seed(0)
        encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5, "tanh")])
        vae = kv.VAE((6,), 2, encoder=encoder, network="dense:widths=[8]")
        vae.compile("adam")
        return vae

    first, second = made(), made()
    train(first, binary, tmp_path)
    train(second, binary, tmp_path)
    assert_equal(first, second)


def test_another_model_or_optimiser_is_refused(binary, tmp_path):
    train(model(), binary, tmp_path)
    wider = kv.VAE((6,), 2, network="dense:widths=[9]")
    other = model()
    wider.compile("adam")
    other.compile(keras.optimizers.Adamax(0.01))
    for vae in (wider, other):
        with pytest.raises(ValueError, match="is of another model or optimiser"):
            train(vae, binary, tmp_path, epochs=4)


def test_a_folder_whose_training_has_ended_gives_its_end(binary, tmp_path):
    vae = model()
    ended = train(vae, binary, tmp_path)
    epochs, values = list(ended.epoch), {k: list(v) for k, v in ended.history.items()}
    other = model(seed=1)
    again = train(other, binary, tmp_path)
    assert_equal(vae, other)
    assert again.epoch == epochs
    assert_same_logs(again.history, values)


def test_what_interrupts_a_resumed_training_leaves_the_next_fit_alone(binary, tmp_path):
    vae = model()
    train(vae, binary, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(vae, binary, tmp_path, epochs=4, more=[Interrupted()])
    assert train(vae, binary).epoch == [0, 1]


@pytest.mark.parametrize("damage", [b"", b"PK\3\4 and no more"], ids=["empty", "cut"])
def test_damaged_checkpoints_give_way_to_new_ones(damage, binary, tmp_path):
    for epochs in (8, 9):
        (tmp_path / f"epoch-00000{epochs}.npz").write_bytes(damage)
    assert kv.callbacks.last_checkpoint(tmp_path) is None
    with pytest.warns(UserWarning, match="is damaged .*so the one before it is taken"):
        train(model(), binary, tmp_path)
    assert names(tmp_path) == ["epoch-000001.npz", "epoch-000002.npz"]


def test_wherever_a_checkpoint_is_damaged_the_one_before_serves(binary, tmp_path):
    train(model(), binary, tmp_path)
    last = tmp_path / "epoch-000002.npz"
    whole = last.read_bytes()
    found = set()
    for place in range(0, len(whole), 41):
        last.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        found.add(kv.callbacks.last_checkpoint(tmp_path).epochs)
    assert found <= {1, 2}  # what is unused may be damaged
    last.write_bytes(whole[: len(whole) // 2])
    assert kv.callbacks.last_checkpoint(tmp_path).epochs == 1


def test_files_of_others_are_left_alone(binary, tmp_path):
    theirs = ["epoch-1-best.npz", "epoch-01.npz"]
    for name in theirs:
        np.savez(tmp_path / name, told=np.array("{}"))
    train(model(), binary, tmp_path, epochs=3)
    assert names(tmp_path) == sorted([*theirs, "epoch-000002.npz", "epoch-000003.npz"])


def test_metrics_of_several_values_are_kept(binary, tmp_path):
    metrics = [keras.metrics.F1Score(threshold=0.5)]
    train(model(metrics=metrics), binary, tmp_path)
    metrics = [keras.metrics.F1Score(threshold=0.5)]
    history = train(model(metrics=metrics), binary, tmp_path, epochs=3)
    assert np.shape(history.history["f1_score"]) == (3, 6)


def test_epochs_are_counted_from_the_first_one_given(binary, tmp_path):
    train(model(), binary, tmp_path, epochs=5, initial_epoch=3)
    history = train(model(), binary, tmp_path, epochs=7, initial_epoch=3)
    assert history.epoch == [3, 4, 5, 6]
    assert {len(values) for values in history.history.values()} == {4}
