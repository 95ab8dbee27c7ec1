"""Models as files: `.keras` in a fresh process, SavedModels where the package is absent."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_vae as kv

ABSENT = ("keras", "tf_keras", "tensorflow_probability", "keras_vae")
#: Loads a SavedModel where none of the packages can be imported, and writes what it answers.
BLOCKED = f"""
import sys
for name in {ABSENT!r}:
    sys.modules[name] = None
import numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
data = np.load(sys.argv[2])
call, seed = model.signatures, tf.constant([3, 9])
out = {{}}
for size in (7, 3):
    x = tf.constant(data["x"][:size])
    encoding = call["encode"](x=x)
    out[f"mean{{size}}"], out[f"stddev{{size}}"] = encoding["mean"], encoding["stddev"]
    out[f"decoded{{size}}"] = call["decode"](z=encoding["mean"])["mean"]
    out[f"reconstructed{{size}}"] = call["reconstruct"](x=x)["mean"]
    out[f"elbo{{size}}"] = call["elbo"](x=x, seed=seed)["elbo"]
    likelihood = call["log_likelihood"](x=x, num_samples=tf.constant(50), seed=seed)
    out[f"likelihood{{size}}"] = likelihood["log_likelihood"]
for repeat in (1, 2):
    drawn = call["sample"](n=tf.constant(5), seed=seed)
    out |= {{f"sample_{{name}}{{repeat}}": value for name, value in drawn.items()}}
np.savez(sys.argv[3], **out)
"""
FRESH = """
import sys, numpy as np, keras, keras_vae
model = keras.models.load_model(sys.argv[1])
x = np.load(sys.argv[2])["x"]
out = {f"w{i}": np.asarray(w) for i, w in enumerate(model.weights)}
out["reconstructed"] = model.predict(x, verbose=0)
out["optimizer"] = np.asarray(model.optimizer.variables[-1])
out["loss"] = model.fit(x, verbose=0, shuffle=False).history["loss"][0]
out["elbo"] = model.elbo(x)
np.savez(sys.argv[3], **out)
"""


def run(script, *arguments):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(arguments[-1]) as out:
        return dict(out)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("model")
    x = kv.data.digits.source().test.x.rows(0, 40) / np.float32(16)
    vae = kv.VAE(
        (8, 8, 1), 3, network="conv:filters=[4],width=8", likelihood="normal:variance=optimal"
    )
    vae.compile(keras.optimizers.Adam(0.01))
    vae.fit(x, epochs=2, verbose=0)
    np.savez(folder / "data.npz", x=x)
    return vae, x, folder


def test_a_fresh_process_loads_the_model_with_nothing_but_an_import(model):
    vae, x, folder = model
    vae.save(folder / "vae.keras")
    out = run(FRESH, folder / "vae.keras", folder / "data.npz", folder / "fresh.npz")
    for index, variable in enumerate(vae.weights):
        np.testing.assert_array_equal(out[f"w{index}"], variable.numpy())
    np.testing.assert_array_equal(out["optimizer"], vae.optimizer.variables[-1].numpy())
    np.testing.assert_allclose(out["reconstructed"], vae.reconstruct(x), atol=1e-6)
    # Training goes on just as it would have here.
    again = kv.load(folder / "vae.keras")
    loss = again.fit(x, verbose=0, shuffle=False).history["loss"][0]
    np.testing.assert_allclose(out["loss"], loss, rtol=1e-6)
    np.testing.assert_allclose(out["elbo"], again.elbo(x), rtol=1e-5)


def test_the_saved_model_needs_tensorflow_alone(model):
    vae, x, folder = model
    path = kv.export.saved_model(vae, folder / "exported")
    out = run(BLOCKED, path, folder / "data.npz", folder / "blocked.npz")
    close = {"rtol": 1e-5, "atol": 1e-5}
    for size in (7, 3):
        rows = x[:size]
        encoding = vae.encode(rows)
        np.testing.assert_allclose(out[f"mean{size}"], encoding.mean, **close)
        np.testing.assert_allclose(out[f"stddev{size}"], encoding.stddev, **close)
        np.testing.assert_allclose(out[f"decoded{size}"], vae.decode(encoding.mean), **close)
        np.testing.assert_allclose(out[f"reconstructed{size}"], vae.reconstruct(rows), **close)
        np.testing.assert_allclose(out[f"elbo{size}"], vae.elbo(rows, seed=(3, 9)), **close)
        expected = vae.log_likelihood(rows, 50, seed=(3, 9))
        np.testing.assert_allclose(out[f"likelihood{size}"], expected, **close)
    for name, values in vae.sample(5, seed=(3, 9))._asdict().items():
        np.testing.assert_allclose(out[f"sample_{name}1"], values, **close)
        np.testing.assert_array_equal(out[f"sample_{name}1"], out[f"sample_{name}2"])


@pytest.mark.parametrize(
    ("posterior", "prior"),
    [
        ("autoregressive_flow:steps=2,widths=8,context=4", "vamp:components=3"),
        pytest.param("full_normal", "flow:steps=2,widths=8", marks=pytest.mark.slow),
        pytest.param("low_rank_normal:rank=2", "mixture:components=3", marks=pytest.mark.slow),
    ],
)
def test_learned_posteriors_and_priors_need_tensorflow_alone(posterior, prior, tmp_path):
    x = (np.random.default_rng(0).random((7, 6)) < 0.5).astype("float32")
    vae = kv.VAE((6,), 3, network="dense:widths=8", posterior=posterior, prior=prior)
    np.savez(tmp_path / "data.npz", x=x)
    path = kv.export.saved_model(vae, tmp_path / "exported")
    out = run(BLOCKED, path, tmp_path / "data.npz", tmp_path / "blocked.npz")
    close = {"rtol": 1e-5, "atol": 1e-5}
    for size in (7, 3):
        encoding = vae.encode(x[:size])
        np.testing.assert_allclose(out[f"mean{size}"], encoding.mean, **close)
        np.testing.assert_allclose(out[f"stddev{size}"], encoding.stddev, **close)
        np.testing.assert_allclose(out[f"elbo{size}"], vae.elbo(x[:size], seed=(3, 9)), **close)
        expected = vae.log_likelihood(x[:size], 50, seed=(3, 9))
        np.testing.assert_allclose(out[f"likelihood{size}"], expected, **close)
    for name, values in vae.sample(5, seed=(3, 9))._asdict().items():
        np.testing.assert_allclose(out[f"sample_{name}1"], values, **close)


def test_encoder_and_decoder_can_be_taken_out(model, tmp_path):
    vae, x, _ = model
    for part, inputs in (("encoder", x), ("decoder", np.zeros((2, 3), "float32"))):
        network = getattr(vae, part)
        network.save(tmp_path / f"{part}.keras")
        loaded = keras.models.load_model(tmp_path / f"{part}.keras")
        np.testing.assert_array_equal(
            loaded.predict(inputs, verbose=0), network.predict(inputs, verbose=0)
        )


def test_weights_alone_can_be_saved_and_loaded(model, tmp_path):
    vae, x, _ = model
    vae.save_weights(tmp_path / "vae.weights.h5")
    other = kv.VAE.from_config(vae.get_config())
    assert np.abs(other.reconstruct(x) - vae.reconstruct(x)).max() > 1e-3
    other.load_weights(tmp_path / "vae.weights.h5")
    np.testing.assert_array_equal(other.reconstruct(x), vae.reconstruct(x))


def test_an_export_overwrites_nothing_and_leaves_nothing_behind(model, tmp_path, monkeypatch):
    vae, _, _ = model
    (tmp_path / "taken").mkdir()
    with pytest.raises(FileExistsError, match="taken"):
        kv.export.saved_model(vae, tmp_path / "taken")

    def fail(module, path, signatures):
        Path(path).mkdir()
        (Path(path) / "half").write_text("written")
        raise OSError("no room")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="no room"):
        kv.export.saved_model(vae, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_model_in_half_precision_keeps_its_policy_and_its_loss_scale(binary, policy, tmp_path):
    policy("mixed_float16")
    vae = kv.VAE((6,), 2, network="dense:widths=8")
    vae.compile("adam")
    history = vae.fit(binary, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    vae.save(tmp_path / "half.keras")
    policy("float32")
    loaded = kv.load(tmp_path / "half.keras")
    assert loaded.dtype_policy.name == "mixed_float16"
    assert loaded.encoder.layers[-1].compute_dtype == "float16"
    assert isinstance(loaded.optimizer, keras.optimizers.LossScaleOptimizer)
    for one, other in zip(vae.optimizer.variables, loaded.optimizer.variables):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_frozen_parts_stay_frozen_after_a_reload(binary, tmp_path):
    vae = kv.VAE((6,), 2, network="dense:widths=8")
    vae.latent.posterior.trainable = False
    vae.compile(keras.optimizers.SGD(0.5))
    vae.fit(binary, epochs=1, verbose=0)
    vae.save(tmp_path / "frozen.keras")
    loaded = kv.load(tmp_path / "frozen.keras")
    assert len(loaded.trainable_variables) == len(vae.trainable_variables)
    before = loaded.latent.posterior.projection.kernel.numpy()
    loaded.fit(binary, epochs=1, verbose=0)
    np.testing.assert_array_equal(loaded.latent.posterior.projection.kernel.numpy(), before)
    vae.trainable = False
    assert not kv.VAE.from_config(vae.get_config()).trainable_variables


def test_load_refuses_what_is_no_vae(tmp_path):
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    other.save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match=r"Sequential; expected a keras_vae\.VAE"):
        kv.load(tmp_path / "other.keras")


def test_load_says_what_is_wrong_with_a_file(model, tmp_path):
    vae, _, _ = model
    vae.save(tmp_path / "whole.keras")
    content = (tmp_path / "whole.keras").read_bytes()
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.keras"):
        kv.load(tmp_path / "none.keras")
    for size in (0, 100, len(content) // 2, len(content) - 10):
        (tmp_path / "half.keras").write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"half\.keras is damaged"):
            kv.load(tmp_path / "half.keras")
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 255
    (tmp_path / "flipped.keras").write_bytes(flipped)
    with pytest.raises(ValueError, match=r"flipped\.keras is damaged"):
        kv.load(tmp_path / "flipped.keras")


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("config.json", lambda content: content[:200]),
        ("config.json", lambda content: b"[" * 100_000),
        ("config.json", lambda content: content.replace(b"VAE", b"Unknown")),
        ("config.json", lambda content: content.replace(b'"module"', b'"modul"')),
        ("config.json", lambda content: None),
        ("model.weights.h5", lambda content: None),
        ("model.weights.h5", lambda content: content[:500]),
    ],
)
def test_load_says_in_a_sentence_that_a_part_of_a_file_is_damaged(part, change, model, tmp_path):
    model[0].save(tmp_path / "whole.keras")
    with zipfile.ZipFile(tmp_path / "whole.keras") as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    parts[part] = change(parts[part])
    with zipfile.ZipFile(tmp_path / "spoilt.keras", "w") as spoilt:
        for name, content in parts.items():
            if content is not None:
                spoilt.writestr(name, content)
    with pytest.raises(ValueError, match=r"spoilt\.keras (is damaged|holds|lacks|needs)") as caught:
        kv.load(tmp_path / "spoilt.keras")
    assert len(str(caught.value)) < 500


def test_the_model_in_the_tree_opens_and_is_what_its_card_says():
    folder = Path(__file__).parents[1] / "saved_models" / "digits"
    card = (folder / "README.md").read_text()
    figures = json.loads((folder / "metrics.json").read_text())
    model = tf.saved_model.load(str(folder))
    data = kv.data.load("digits")
    x = tf.concat(list(data.test), 0)
    seed = tf.constant([0, 0])
    elbo = model.signatures["elbo"](x=x, seed=seed)["elbo"]
    np.testing.assert_allclose(np.mean(elbo), figures["elbo"], atol=0.02)
    likelihood = model.signatures["log_likelihood"](x=x, num_samples=tf.constant(500), seed=seed)
    assert -np.mean(likelihood["log_likelihood"]) == pytest.approx(figures["nll"], abs=0.05)
    assert f"{-figures['elbo']:.2f}" in card
    assert f"{figures['nll']:.2f}" in card
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < 3_000_000
