"""Files that mean harm are refused in a sentence, soon, in little memory, and run nothing."""

import contextlib
import dataclasses
import resource
import time
from pathlib import Path

import hostile
import keras
import numpy as np
import pytest

import keras_vae as kv
from keras_vae import _cluster, launching, runs

SECONDS, BYTES = 10.0, 2**30


def high_water():
    """Returns the most memory held since `reset`, or since the start where that is not known."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def refuse(call, pattern, kinds=(ValueError, TypeError)):
    """Checks that a call is refused in a sentence, within ten seconds and a gibibyte."""
    with contextlib.suppress(OSError):  # the high-water mark is that of the whole process there
        Path("/proc/self/clear_refs").write_text("5")
    before, start = high_water(), time.perf_counter()
    with pytest.raises(kinds, match=pattern) as caught:
        call()
    seconds, grown = time.perf_counter() - start, high_water() - before
    assert seconds < SECONDS
    assert grown < BYTES
    assert len(str(caught.value)) < 800
    return seconds, grown


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A file like any other, with a flow posterior, a Vamp prior and a condition."""
    vae = kv.VAE(
        (6,),
        2,
        network="dense:widths=[8]",
        posterior="autoregressive_flow:steps=2,widths=8,context=4",
        prior="vamp:components=3",
        condition=3,
    )
    path = tmp_path_factory.mktemp("good") / "good.keras"
    vae.save(path)
    return path


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if place % 3 else [])
        for place, name in enumerate(hostile.KERAS)
    ],
)
def test_a_hostile_model_is_refused(name, good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, pattern = hostile.KERAS[name]
    path = make(good, tmp_path / "bad.keras")
    refuse(lambda: kv.load(path), pattern)
    assert [each.name for each in tmp_path.iterdir()] == ["bad.keras"]


def test_the_file_they_are_made_of_opens(good, tmp_path):
    kv.load(good)
    kv.load(hostile.config_with(lambda config: None)(good, tmp_path / "same.keras"))
    kv.load(hostile.weights_with(lambda file, name: None)(good, tmp_path / "other.keras"))
    parts = hostile.members(good)
    packed = hostile.write(tmp_path / "packed.keras", parts, hostile.zipfile.ZIP_DEFLATED)
    for one, other in zip(kv.load(good).weights, kv.load(packed).weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_classes_and_functions_that_were_registered_open(tmp_path):
    @keras.saving.register_keras_serializable("hostile_tests")
    class Lambda(keras.layers.Layer):
        def call(self, x):
            return 2.0 * x

    @keras.saving.register_keras_serializable("hostile_tests")
    def wave(x):
        return keras.ops.sin(x)

    @keras.saving.register_keras_serializable("hostile_tests")
    class Mine(kv.VAE):
        pass

    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(4, activation=wave)(Lambda()(inputs) * 3.0)
    hidden = keras.layers.Dense(4, activation=keras.ops.tanh)(
        keras.ops.concatenate([hidden] * 2, -1)
    )
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, kernel_regularizer="l2")])
    outputs = keras.layers.Bidirectional(keras.layers.LSTM(2))(inner(hidden)[:, None])
    vae = Mine((6,), 2, encoder=keras.Model(inputs, outputs))
    vae.compile(keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(0.1, 9)))
    x = np.eye(6, dtype=np.float32)
    vae.fit(x, verbose=0)
    vae.save(tmp_path / "mine.keras")
    loaded = kv.load(tmp_path / "mine.keras")
    assert type(loaded) is Mine
    np.testing.assert_array_equal(loaded.reconstruct(x), vae.reconstruct(x))


@pytest.mark.parametrize("name", hostile.DATA)
def test_hostile_data_is_refused(name, tmp_path):
    suffix, make, pattern = hostile.DATA[name]
    path = make(tmp_path / f"bad{suffix}")
    refuse(lambda: kv.data.load(path), pattern)


JSON = {
    "nest": b'{"prior": ' * 100_000,
    "lists": b'{"data": ' + b"[" * 900 + b"]" * 900 + b"}",
    "long": b'{"data": "' + b"x" * 2**25 + b'"}',
    "many": b"[" + b"{}," * 2**22 + b"{}]",
    "digits": b'{"epochs": ' + b"9" * 10**6 + b"}",
    "large": b'{"epochs": ' + b"9" * 4000 + b"}",
    "infinite": b'{"learning_rate": 1e400}',
    "nan": b'{"learning_rate": NaN}',
    "batch": b'{"batch_size": 1000000000000}',
    "no text": bytes(range(256)),
    "system": b'{"prior": {"module": "os", "class_name": "function", "config": "system"}}',
    "file": b'{"prior": {"module": "keras.utils", "class_name": "function", "config": "get_file"}}',
    "lambda": b'{"network": {"class_name": "__lambda__", "config": {"value": "x"}}}',
    "layer": b'{"network": {"module": "keras.layers", "class_name": "TFSMLayer",'
    b' "config": {"filepath": "x"}}}',
    "deep prior": b'{"prior": {"class_name": "x", "config": '
    + b'{"a":' * 900
    + b"1"
    + b"}" * 900
    + b"}}",
}


@pytest.mark.parametrize("name", JSON)
def test_hostile_configs_are_refused(name, tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(JSON[name])

    def train():
        runs.train(runs.Config.read(path), tmp_path / "run")

    refuse(train, "expected|could not be read")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["nest", "long", "digits", "no text", "many"])
def test_hostile_figures_and_histories_are_read_or_refused(name, tmp_path):
    (tmp_path / "metrics.json").write_bytes(JSON[name])
    (tmp_path / "history.csv").write_bytes(JSON[name])
    refuse(lambda: runs.metrics(tmp_path), "could not be read|holds list")
    assert runs.training_seconds(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"cluster": {"worker": ["a:1"]}, "task": {"index": 1e400}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"index": ' + "9" * 5000 + "}}",
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": ["worker"]}}',
        '{"cluster": {"worker": [' + "[" * 500 + "]" * 500 + "]}}",
        '{"cluster": "worker"}',
        "\x00",
    ],
)
def test_a_hostile_tf_config_is_refused(text):
    refuse(lambda: _cluster.from_tf_config(text), "TF_CONFIG")


def test_a_hostile_list_of_hosts_is_refused():
    said = {"SLURM_STEP_TASKS_PER_NODE": "1(x2)", "SLURM_PROCID": "0"}
    for hosts in ("a[0-99999999999]", "a[0-1],b[0-999999999]"):
        refuse(lambda h=hosts: _cluster.from_slurm({**said, "SLURM_STEP_NODELIST": h}), "Slurm")
    said = {"SLURM_STEP_NODELIST": "a", "SLURM_PROCID": "0"}
    refuse(
        lambda: _cluster.from_slurm({**said, "SLURM_STEP_TASKS_PER_NODE": "999999999999"}), "Slurm"
    )


HUGE = 10**9
#: Numbers that would make a model, or data, too large.
NUMBERS = {
    "event": lambda n: kv.VAE([n], 2),
    "events": lambda n: kv.VAE([2**16] * 4, 2),
    "axes": lambda n: kv.VAE([1] * 9, 2),
    "latent": lambda n: kv.VAE((6,), n),
    "widths": lambda n: kv.networks.Dense([n]),
    "layers": lambda n: kv.networks.Dense([1] * 2**18),
    "filters": lambda n: kv.networks.Conv([n]),
    "width": lambda n: kv.networks.Conv(width=n),
    "blocks": lambda n: kv.networks.ResNet(blocks=n),
    "components of vamp": lambda n: kv.priors.Vamp(n),
    "components of mixture": lambda n: kv.priors.Mixture(n),
    "steps of prior": lambda n: kv.priors.Flow(n),
    "steps of posterior": lambda n: kv.posteriors.AutoregressiveFlow(n),
    "context": lambda n: kv.posteriors.AutoregressiveFlow(context=n),
    "rank": lambda n: kv.posteriors.LowRankNormal(n),
    "classes": lambda n: kv.likelihoods.Categorical(n),
    "levels": lambda n: kv.likelihoods.DiscretizedLogistic(n),
    "logistics": lambda n: kv.likelihoods.LogisticMixture(components=n),
    "sizes": lambda n: kv.likelihoods.Joint(["normal"], [n]),
    "samples": lambda n: kv.objectives.ELBO(samples=n),
    "importance": lambda n: kv.objectives.IWAE(samples=n),
    "discriminator": lambda n: kv.objectives.Factor(widths=n),
    "schedule": lambda n: kv.schedules.Linear(steps=n * n),
    "condition": lambda n: kv.conditions.Classes(n),
    "vector": lambda n: kv.conditions.Vector(n),
    "side": lambda n: kv.data.shapes.source(side=n),
    "renders": lambda n: kv.data.shapes.source(train=n),
    "pixels": lambda n: kv.data.load("shapes:train=10000000,side=4096"),
    "batch": lambda n: kv.data.load("digits", n * n),
    "workers": lambda n: launching.launch(["train"], n, print),
}


@pytest.mark.parametrize("number", [HUGE, 10**30, 10**5000], ids=["9", "30", "5000"])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_that_would_make_too_much_are_refused(name, number):
    refuse(lambda: NUMBERS[name](number), "expected|at most")


def test_a_training_of_too_many_weights_is_refused_before_one_is_made(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(40))
    config = runs.Config(
        data=str(tmp_path / "x.npy"), network="dense:widths=[1000000,1000000]", batch_size=8
    )
    refuse(lambda: runs.train(config, tmp_path / "run"), r"\(1000000, 1000000\).*smaller network")
    config = dataclasses.replace(config, network="dense:widths=4", posterior="full_normal")
    config = dataclasses.replace(config, latent_dim=10**6)
    refuse(lambda: runs.train(config, tmp_path / "run"), "fewer latent dimensions")
    assert not (tmp_path / "run").exists()
