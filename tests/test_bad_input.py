"""What users get for their mistakes: a sentence with what was received and what to do instead.

The mistakes are generated from tables, all in this process; `test_runs_cli.py` types some of them
as commands.
"""

import itertools
import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_vae as kv
from keras_vae import _registry, runs

#: A message says what would have been right, or what to do.
GUIDANCE = re.compile(
    r"expected|Did you mean|[Cc]hoose|[Ll]eave|[Uu]se |[Gg]ive |[Dd]rop|[Aa]dd |[Rr]emove|Divide"
)
MEMBERS = {
    "network": "dense",
    "likelihood": "bernoulli",
    "posterior": "diagonal_normal",
    "prior": "standard_normal",
    "objective": "elbo",
    "condition": "classes",
}
X = (np.random.default_rng(0).random((12, 6)) < 0.5).astype("float32")


def build(**arguments):
    return kv.VAE(
        **{"event_shape": (6,), "latent_dim": 2, "network": "dense:widths=[4]", **arguments}
    )


@pytest.fixture(scope="module")
def vae():
    vae = build()
    vae.compile("adam")
    return vae


def strategies():
    """Yields mistakes about strategies, for every family."""
    for family, name in MEMBERS.items():
        mistakes = {
            "misspelt": (name[:-2] + name[-1], name),
            "unknown": ("no_such_thing", "no_such_thing"),
            "empty": ("", "''"),
            "unknown option": (f"{name}:no_such_option=3", "no_such_option"),
            "option without value": (f"{name}:beta", "beta"),
            "option twice": (f"{name}:a=1,a=2", "'a'"),
            "unclosed": (f"{name}(a=1", f"{name}(a=1"),
            "number": (2.5, "2.5"),
            "list": ([name], name),
            "mapping": ({"name": name}, name),
            "function": (len, "len"),
            "class of another family": (kv.schedules.Linear, "Linear"),
            "instance of another family": (kv.schedules.Linear(), "Linear"),
        }
        for kind, (value, received) in mistakes.items():
            yield f"{family} {kind}", lambda f=family, v=value: build(**{f: v}), received
    for beta, received in [
        ("linaer", "linaer"),
        ("linear(step=3)", "step"),
        ("linear(steps=0)", "steps is 0"),
        ("constant(value=x)", "value is 'x'"),
        (-1, "-1"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        ([1.0], "[1.0]"),
        (True, "True"),
    ]:
        yield f"beta {beta}", lambda b=beta: kv.objectives.ELBO(beta=b), received


def numbers():
    """Yields mistakes about every number an argument can be."""
    whole = {
        "0": 0,
        "-3": -3,
        "2.5": 2.5,
        "'3'": "3",
        "True": True,
        "nan": float("nan"),
        "[2]": [2],
    }
    real = {
        "0": 0.0,
        "-1": -1.0,
        "nan": float("nan"),
        "inf": float("inf"),
        "'1'": "1",
        "[1.0]": [1.0],
    }
    wholes = {
        "latent_dim": lambda v: build(latent_dim=v),
        "n": lambda v: build().sample(v),
        "num_samples": lambda v: build().elbo(X, v),
        "steps": lambda v: build().interpolate(X, X, v),
        "samples": lambda v: kv.objectives.ELBO(samples=v),
        "batch_size": lambda v: kv.data.load(X, v),
        "width": lambda v: kv.networks.Conv(width=v),
        "epochs": lambda v: runs.train(runs.Config(epochs=v), "never_made"),
        "side": lambda v: kv.data.shapes.render([[0, 0.5]], side=v),
    }
    reals = {
        "stddev": lambda v: kv.likelihoods.Normal(stddev=v),
        "minimum_stddev": lambda v: kv.likelihoods.Normal(minimum_stddev=v),
        "learning_rate": lambda v: runs.train(runs.Config(learning_rate=v), "never_made"),
    }
    for values, table in ((whole, wholes), (real, reals)):
        for (name, call), (shown, value) in itertools.product(table.items(), values.items()):
            yield f"{name} {shown}", lambda c=call, v=value: c(v), f"{name} is"
    for shape in [(), "6", None, (6.0,), (-1,), (0, 2), (None, 2), 2.5]:
        yield f"event_shape {shape}", lambda s=shape: build(event_shape=s), "event_shape"
    for widths in [0, [0], "wide", [8, -1], 2.5, [None]]:
        yield f"widths {widths}", lambda w=widths: kv.networks.Dense(w), "widths"
    for filters in [[], 0, [4, 0], "many"]:
        yield f"filters {filters}", lambda f=filters: kv.networks.Conv(f), "filters"
    for seed in ["a", 2.5, [1, 2, 3], None, [[1]]]:
        yield f"seed {seed}", lambda s=seed: build(seed=s), "seed"


def arrays():
    """Yields arrays that are no examples, for every place that takes examples."""
    bad = {
        "objects": (np.array([{}] * 3, object)[:, None], "object"),
        "words": (np.array([["a"] * 6] * 3), "<U1"),
        "complex": (np.zeros((3, 6), complex), "complex"),
        "dates": (np.zeros((3, 6), "datetime64[s]"), "datetime64"),
        "empty": (np.zeros((0, 6)), ""),
        "scalar": (np.float32(3.0), "()"),
        "rank": (np.zeros((3, 6, 2)), "(3, 6, 2)"),
        "width": (np.zeros((3, 7)), "(3, 7)"),
        "no batch axis": (np.zeros(6), "(6,)"),
    }
    places = {
        "encode": lambda v, x: v.encode(x),
        "reconstruct": lambda v, x: v.reconstruct(x),
        "elbo": lambda v, x: v.elbo(x),
        "log_likelihood": lambda v, x: v.log_likelihood(x, 2),
        "evaluation": lambda v, x: kv.evaluation.evaluate(v, x, 2),
        "load": lambda v, x: kv.data.load(x),
        "load mapping": lambda v, x: kv.data.load({"train": X, "test": x}),
    }
    for (place, call), (kind, (x, received)) in itertools.product(places.items(), bad.items()):
        if place == "load" and kind in ("rank", "width"):
            continue  # any shape of events will do there
        if place == "load mapping" and kind in ("rank", "width"):
            received = "(6, 2)" if kind == "rank" else "(7,)"  # of one example
        yield f"{place} {kind}", lambda v, c=call, x=x: c(v, x), received


def supports():
    """Yields values outside the support of the likelihood, for every place that scores."""
    places = {
        "fit": lambda v, x: v.fit(x, verbose=0),
        "fit dataset": lambda v, x: v.fit(
            tf.data.Dataset.from_tensor_slices(x).batch(4), verbose=0
        ),
        "validation": lambda v, x: v.fit(X, validation_data=(x,), verbose=0),
        "evaluate": lambda v, x: v.evaluate(x, verbose=0),
        "train_on_batch": lambda v, x: v.train_on_batch(x),
        "elbo": lambda v, x: v.elbo(x),
        "log_likelihood": lambda v, x: v.log_likelihood(x, 2),
    }
    for (place, call), value in itertools.product(places.items(), (255.0, -0.5, np.nan, np.inf)):
        x = X.copy()
        x[5, 2] = value
        yield f"{place} {value}", lambda v, c=call, x=x: c(v, x), "1 value(s) outside the support"


def files(place):
    """Yields files that cannot serve, having written them."""
    np.savez(place / "whole.npz", train=X)
    np.save(place / "whole.npy", X)
    model = build()
    model.save(place / "whole.keras")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(place / "whole.png")
    for suffix in ("npz", "npy", "keras", "png"):
        content = (place / f"whole.{suffix}").read_bytes()
        folder = place / f"{suffix} files"
        folder.mkdir()
        for kind, spoilt in {
            "empty": b"",
            "cut": content[: len(content) // 2],
            "garbage": b"\x00garbage" * 20,
        }.items():
            (folder / f"{kind}.{suffix}").write_bytes(spoilt)
    (place / "garbage.csv").write_bytes(b"\x00\xff\xfe,\n1")
    (place / "empty.csv").write_text("")
    (place / "words.csv").write_text("a,b\n1,x\n2,y\n")
    (place / "gaps.csv").write_text("a,b\n1,\n2,3\n4,5\n")
    (place / "garbage.parquet").write_bytes(b"garbage")
    np.save(place / "objects.npy", np.array([{}], object), allow_pickle=True)
    np.savez(place / "several.npz", a=X, b=X)
    (place / "nothing").mkdir()
    (place / "several sizes").mkdir()
    for size in (4, 5):
        Image.new("L", (size, size)).save(place / "several sizes" / f"{size}.png")
    for name in (
        *(f"{kind}.{suffix}" for suffix in ("npz", "npy") for kind in ("empty", "cut", "garbage")),
    ):
        suffix = name.split(".")[1]
        yield f"load {name}", lambda n=name, s=suffix: kv.data.load(place / f"{s} files" / n), name
    for name in ("garbage.csv", "empty.csv", "words.csv", "gaps.csv", "garbage.parquet"):
        yield f"load {name}", lambda n=name: kv.data.load(place / n), name.split(".")[0]
    for name in ("objects.npy", "several.npz", "none.npz", "none.csv", "nothing"):
        yield f"load {name}", lambda n=name: kv.data.load(place / n), name.split(".")[0]
    yield "load broken images", lambda: kv.data.load(place / "png files"), ".png"
    yield "load several sizes", lambda: kv.data.load(place / "several sizes"), "4x4"
    for kind in ("empty", "cut", "garbage"):
        path = place / "keras files" / f"{kind}.keras"
        yield f"open {kind}.keras", lambda p=path: kv.load(p), f"{kind}.keras"
    yield "open nothing", lambda: kv.load(place / "none.keras"), "none.keras"
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    other.save(place / "other.keras")
    yield "open another model", lambda: kv.load(place / "other.keras"), "Sequential"
    for kind, content in {
        "no json": "{",
        "list": "[1]",
        "key": json.dumps({"epoch": 3}),
        "type": json.dumps({"epochs": "3"}),
        "nothing": "",
        "nested": "[" * 100_000,
        "flag": json.dumps({"dequantize": "no"}),
        "class": json.dumps({"objective": {"class_name": "x"}}),
    }.items():
        path = place / f"{kind}.json"
        path.write_text(content)
        yield (
            f"config {kind}",
            lambda p=path: runs.train(runs.Config.read(p), place / "never_made"),
            {"type": "epochs is '3'", "class": "objective is"}.get(kind, path.name),
        )
    yield "run of nothing", lambda: runs.read(place / "nothing"), "holds no run"
    yield "run into a run", lambda: runs.train(runs.Config(), place / "png files"), "is not empty"
    yield "export over", lambda: kv.export.saved_model(model, place / "nothing"), "exists already"


def options():
    """Yields mistakes about the data's options."""
    grey = np.arange(24, dtype=np.uint8).reshape(12, 2)
    for source, arguments, received in [
        ("digit", {}, "'digit'"),
        ("mnis", {}, "'mnis'"),
        ("", {}, "''"),
        (X, {"binarize": "dynamc"}, "'dynamc'"),
        (X, {"binarize": 3}, "3"),
        (X - 1.0, {"binarize": "dynamic"}, "outside 0..1"),
        (X, {"dequantize": True}, "dequantize is True"),
        (grey, {"dequantize": True, "binarize": "static"}, "'static'"),
        (X, {"labels": True}, "no labels"),
        (X, {"image_size": 8}, "image_size"),
        (X, {"image_size": 0}, "image_size"),
        (X, {"seed": -1}, "seed is -1"),
        (X, {"seed": "a"}, "seed is 'a'"),
        (X[:2], {}, "2 example(s)"),
        ({"train": X, "y": np.zeros(3)}, {}, "3 labels"),
        ({}, {}, "nothing"),
        ({"test": X}, {}, "'test'"),
        ({"train": X, "test": X[:, :2]}, {}, "(2,)"),
        (3, {}, "()"),
        (None, {}, "object"),
        (":", {}, "':'"),
        (X, {"labels": "yes"}, "'yes'"),
        (X, {"dequantize": "no"}, "'no'"),
        (X, {"skip_corrupt": "no"}, "'no'"),
        (X, {"image_size": (4, 6, 9)}, "(4, 6, 9)"),
        ((X, X, X), {}, "tuple of 3"),
        ({"x": X, "y": 3}, {}, "shape ()"),
        ({"x": X, "y": [{}] * 12}, {}, "labels of arrays[train] are object"),
        ({"x": X, "y": [[1], [1, 2]] * 6}, {}, "labels of arrays[train] are object"),
        ({"train": X, "tset": X}, {}, "'tset'"),
        ({"train": X, "x": X}, {}, "'train' and 'x'"),
        ("shapes:side=a", {}, "side is"),
        ("shapes:sides=8", {}, "'sides'"),
        ("shapes:seed=-1", {}, "seed is -1"),
        ("shapes:factors=[shape,colour]", {}, "'colour'"),
        ("shapes:factors=3", {}, "factors is 3"),
        ("shapes(side=8", {}, "shapes(side=8"),
        ("digits:side=8", {}, "'side'"),
    ]:
        yield f"load {arguments}", lambda s=source, a=arguments: kv.data.load(s, **a), received


def config_values():
    """Yields values of a type that the config's key does not take."""
    for key, wrong in {
        "data": (None, 3, True, ["digits"], {}),
        "binarize": (3, True),
        "dequantize": ("no", 0, None),
        "image_size": ("64", [64], [64, 2.5], True),
        "skip_corrupt": ("false",),
        "batch_size": (None, 2.0, True, "3"),
        "learning_rate": ("fast", True, None),
        "objective": (3, None, ["elbo"]),
        "network": (3, ["dense"]),
        "strategy": (None,),
    }.items():
        for value in wrong:
            yield f"config {key} {value}", lambda k=key, v=value: runs.Config(**{k: v}), f"{key} is"


STATIC = [*config_values(), *strategies(), *numbers(), *options()]
OF_A_MODEL = [*arrays(), *supports()]


def complained(call, received, *arguments):
    with pytest.raises((ValueError, TypeError, OSError)) as caught:
        call(*arguments)
    message = str(caught.value)
    assert received in message
    assert GUIDANCE.search(message), message
    assert len(message) < 600, message
    assert not re.search(r"node |\[Op:|Traceback", message), message


def test_there_are_two_hundred_mistakes_and_more():
    assert len(STATIC) + len(OF_A_MODEL) > 250


@pytest.mark.parametrize(("call", "received"), [c[1:] for c in STATIC], ids=[c[0] for c in STATIC])
def test_a_mistake_gets_a_sentence(call, received):
    complained(call, received)


@pytest.mark.parametrize(
    ("call", "received"), [c[1:] for c in OF_A_MODEL], ids=[c[0] for c in OF_A_MODEL]
)
def test_bad_examples_get_a_sentence(call, received, vae):
    complained(call, received, vae)


def test_bad_files_get_a_sentence_and_nothing_is_written(tmp_path):
    cases = list(files(tmp_path))
    before = sorted(tmp_path.rglob("*"))
    failed = {}
    for name, call, received in cases:
        try:
            complained(call, received)
        except (AssertionError, pytest.fail.Exception) as error:
            failed[name] = str(error)
    assert not failed
    assert len(cases) > 30
    assert sorted(tmp_path.rglob("*")) == before


def test_every_family_has_its_mistakes_here():
    families = {family for family in _registry._FAMILIES if _registry.names(family)}
    assert families - {"schedule", "latent"} == set(MEMBERS)
