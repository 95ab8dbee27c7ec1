"""Commands, configs and arrays made at random: no traceback, nothing overwritten, no hang."""

import collections
import contextlib
import dataclasses
import gc
import io
import json
import math
import random
import shlex
import shutil
import signal
import sys
import traceback

import keras
import numpy as np
import pytest
from test_disk import place as place  # noqa: PLC0414 (a fixture)
from test_runs_cli import tree

import keras_vae as kv
from keras_vae import _registry, cli, configs, runs

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
CASES, SECONDS = 2000, 60
#: How many of the trainings and figures that get so far are made.
WHOLE = 3
JUNK = [
    *("", " ", "-", "--", "-1", "0", "1", "2", "3", "5", "1e400", "nan", "inf", "-inf", "1e-320"),
    *("1" + "0" * 30, "9" * 5000, "(" * 300, "[1,2,3]", "{}", "None", "true", "a:b=c", "x=1,y"),
    *("linear(steps=0)", "linear(steps=3", "constant:value=2", "\u202e\U0001f600", "a" * 3000),
    *("../..", "/dev/null", "/dev/full", "%s%n", "$(touch x)", "a\nb", "'", '"', "\\", "[bold]x"),
    *("dense:widths=[1000000000]", "vamp:components=10000000000", "0x10", "1_0", "1,2", "七"),
]
OPTIONS = {
    "train": "data config binarize dequantize image-size skip-corrupt batch-size epochs latent-dim "
    "network likelihood posterior prior objective condition missing beta learning-rate seed "
    "strategy precision resume",
    "evaluate": "num-samples data method temperatures leapfrog-steps",
    "sample": "n seed condition",
    "reconstruct": "n data",
    "interpolate": "n steps data",
    "impute": "data num-samples seed condition",
    "score": "data by num-samples false-positive-rate seed",
    "export": "",
    "info": "",
    "launch": "workers",
}
FLAGS = {"dequantize", "skip-corrupt", "missing", "resume"}
#: What an option is for; the rest of its values is junk.
GOOD = {
    "data": ["{place}/x.npy", "{place}/holes.npy", "{place}", "digits", "{place}/run/config.json"],
    "config": ["{place}/run/config.json", "{place}/x.npy", "{place}"],
    "epochs": ["1"],
    "latent-dim": ["2", "1"],
    "batch-size": ["8", "1000"],
    "network": ["dense:widths=[4]", "conv:filters=4,width=4", "dense:widths=4,normalization=batch"],
    "num-samples": ["2"],
    "n": ["3"],
    "steps": ["4"],
    "seed": ["1", "4294967296"],
    "by": ["elbo", "log_likelihood"],
    "method": ["importance", "prior", "annealed"],
    "temperatures": ["2"],
    "leapfrog-steps": ["1"],
    "false-positive-rate": ["0.2", "2"],
    "binarize": ["none", "dynamic", "threshold"],
    "learning-rate": ["0.01"],
    "precision": ["float32", "mixed_bfloat16"],
    "condition": ["labels"],
    "image-size": ["8"],
}
FAMILIES = ("likelihood", "posterior", "prior", "objective")
#: These would take what they are told to, such as minutes, and no sentence is due.
DEAR = {"num-samples", "temperatures", "leapfrog-steps", "epochs"}


class Fuzz:
    """Draws commands, configs and files by a seed."""

    def __init__(self, seed, place, new):
        self.rng, self.place, self.new = random.Random(seed), place, new

    def pick(self, values):
        return self.rng.choice(list(values))

    def strategy(self, family):
        name = self.pick(_registry.names(family))
        keys = list(_registry._arguments(_registry.members(family)[name])) or ["x"]
        value = self.pick([*JUNK, "2", "0.5", "3"])
        return self.pick([name, name, f"{name}:{self.pick(keys)}={value}", name[:-1]])

    def value(self, option):
        good = [text.format(place=self.place) for text in GOOD.get(option, [])]
        if option in FAMILIES:
            good = [self.strategy(option) for _ in range(2)]
        if good and self.rng.random() < 0.7:
            return self.pick(good)
        junk = self.pick(JUNK)
        return "x" if option in DEAR and junk.isdigit() and len(junk) > 1 else junk

    def output(self):
        place, new = self.place, self.new
        taken = [place, place / "run", place / "x.npy", place / "run" / "config.json"]
        fresh = [new / f"{self.rng.random()}{end}" for end in ("", ".png", ".npz", ".csv", ".npy")]
        odd = ["", "/proc/x.npz", place / "x.npy" / "y.npz", "/dev/null", "a" * 300 + ".npz"]
        return str(self.pick([*taken, *fresh, *fresh, *fresh, *odd]))

    def command(self):
        name = self.pick([*OPTIONS, *["train"] * 4])
        line = [name]
        if name not in ("train", "launch"):
            # Evaluating writes into a run, which is no run to be kept.
            run = (self.new if name == "evaluate" else self.place) / "run"
            line.append(str(run) if self.rng.random() < 0.5 else self.value("data"))
        options = OPTIONS[name].split()
        for option in self.rng.sample(options, k=min(self.rng.randrange(1, 4), len(options))):
            line.append(f"--{option}")
            if option not in FLAGS:
                line.append(self.value(option))
        if name == "train":
            line += ["--latent-dim", "2", "--network", "dense:widths=[4]", "--epochs", "1"]
        if name not in ("evaluate", "info", "launch"):
            line += ["--output", self.output()]
        if name == "launch":  # with commands that do not start
            line += ["--workers", self.pick(["0", "-1", "x", "1000000000", ""]), "--", "train"]
        if self.rng.random() < 0.1:
            line.insert(self.rng.randrange(len(line) + 1), self.pick(JUNK))
        if self.rng.random() < 0.1:
            del line[self.rng.randrange(len(line))]
        return line

    def json(self, depth=0):
        kind = self.rng.randrange(9 if depth < 4 else 6)
        if kind < 6:
            numbers = [0, -1, 1, 2.5, 1e308, 10**40, -0.0, float("nan"), float("inf")]
            return self.pick([None, True, False, self.pick(JUNK), self.pick(JUNK), *numbers])
        if kind == 6:
            return [self.json(depth + 1) for _ in range(self.rng.randrange(4))]
        keys = ["class_name", "config", "module", "registered_name", self.pick(JUNK)]
        chosen = self.rng.sample(keys, k=self.rng.randrange(5))
        made = {key: self.json(depth + 1) for key in chosen}
        if self.rng.random() < 0.3:
            made["class_name"] = self.pick(["Dense", "VAE", "Lambda", "function", "__numpy__"])
        return made

    def config(self):
        base = dataclasses.asdict(
            configs.Config(
                data=str(self.place / "x.npy"),
                network="dense:widths=[4]",
                latent_dim=2,
                batch_size=20,
                epochs=1,
                binarize=None,
            )
        )
        for _ in range(self.rng.randrange(1, 3)):
            key = self.pick([*base, self.pick(JUNK)])
            option = key.replace("_", "-")
            base[key] = self.json() if self.rng.random() < 0.6 else self.value(option)
        if isinstance(base.get("epochs"), int):
            base["epochs"] = min(base["epochs"], 1)
        text = json.dumps(base)
        if self.rng.random() < 0.2:
            cut = self.rng.randrange(len(text))
            text = text[:cut] + self.pick(["", "\x00", "}", "[", '"']) + text[cut + 3 :]
        path = self.new / "config.json"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        return ["train", "--config", str(path), "--output", self.output()]

    def array(self):
        rng = np.random.default_rng(self.rng.randrange(2**32))
        shape = self.pick(
            [(), (0,), (7,), (40, 6), (40, 6), (40, 8, 8, 1), (0, 6), (40, 0), (1, 6)]
        )
        kind = self.pick(
            ["f4", "f8", "f2", "i8", "u1", "?", "c8", "S3", "U2", "M8[s]", "V4", ">f4"]
        )
        values = rng.integers(0, self.pick([2, 256, 2**20]), shape)
        made = np.asarray(values).astype(kind if kind != "V4" else "i4").astype(kind)
        if made.dtype.kind == "f" and made.size and self.rng.random() < 0.4:
            made.flat[0] = self.pick([np.nan, np.inf, -np.inf, -1.0, 1e38])
        return made

    def file(self):
        path = self.new / f"data{self.pick(['.npy', '.npz', '.csv', '.parquet', '.npy', '.NPZ'])}"
        made = self.array()
        with path.open("wb") as file:
            if path.suffix == ".csv":
                table = (
                    made.reshape(len(made), math.prod(made.shape[1:]))
                    if made.ndim
                    else made[None, None]
                )
                rows = [["a", "b", "c"], *table.tolist()]
                file.write("\n".join(",".join(map(str, row)) for row in rows).encode())
            elif path.suffix.lower() == ".npz":
                names = ["x", "y", "train", "test", "x_train", "labels", "trian", "../x"]
                np.savez(file, **{"x": made, self.pick(names): self.array()})
            else:
                np.save(file, made)
        if self.rng.random() < 0.3:
            content = bytearray(path.read_bytes())
            for _ in range(self.rng.randrange(1, 20)):
                content[self.rng.randrange(len(content))] = self.rng.randrange(256)
            path.write_bytes(content[: self.pick([len(content), len(content) // 2, 10])])
        line = ["train", "--data", str(path), "--output", self.output(), "--latent-dim", "2"]
        line += ["--network", "dense:widths=[4]", "--epochs", "1", "--batch-size", "20"]
        return line + self.pick([[], [], ["--missing"], ["--condition", "labels"]])


def hang(*_):
    raise BaseExceptionGroup("hang", [TimeoutError(f"a command took {SECONDS} s")])


def run(line):
    """Returns what is wrong with how a command ended, or None."""
    out, err = io.StringIO(), io.StringIO()
    status = None
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as left:
        status = left.code or 0
    except BaseException:
        return traceback.format_exc()[-3000:]
    finally:
        signal.alarm(0)
    said = [each for each in err.getvalue().splitlines() if not each.startswith("keras-vae: warn")]
    parser = bool(said) and said[0].startswith(("Usage", "Error: "))
    if status not in (0, 2):
        return f"status {status}: {err.getvalue()}"
    if status == 2 and not parser and (len(said) != 1 or not said[0].startswith("keras-vae: ")):
        return f"status 2: {err.getvalue()[:2000]!r}"
    if status == 0 and said:
        return f"status 0: {err.getvalue()[:2000]!r}"
    return None


def test_whatever_is_typed_ends_in_a_sentence(place, tmp_path, monkeypatch):
    new = tmp_path / "new"
    new.mkdir()
    monkeypatch.chdir(new)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))
    shutil.copytree(place / "run", new / "run")
    begun = collections.Counter()

    def sometimes(name, otherwise):
        call = getattr(runs, name)

        def run(*arguments):
            begun[name] += 1
            return call(*arguments) if begun[name] <= WHOLE else otherwise

        monkeypatch.setattr(runs, name, run)

    for name, otherwise in {"_fit": {}, "_fill": None, "_draw": None}.items():
        sometimes(name, otherwise)
    signal.signal(signal.SIGALRM, hang)
    before, wrong, statuses = tree(place), [], 0
    for case in range(CASES):
        fuzz = Fuzz(case, place, new)
        line = fuzz.pick([fuzz.command] * 6 + [fuzz.config] * 2 + [fuzz.file] * 2)()
        monkeypatch.setattr(sys, "argv", ["keras-vae", *line])
        found = run(line)
        after = tree(place)
        if after != before:
            found, before = f"changed {set(after.items()) ^ set(before.items())}", after
        if found:
            wrong.append(f"case {case}: {shlex.join(line)[:400]}\n{found}")
        statuses += found is None
        if case % 50 == 0:
            keras.utils.clear_session()
            gc.collect()
    assert not wrong, f"{len(wrong)} of {CASES}:\n\n" + "\n\n".join(wrong[:12])
    assert statuses == CASES
    assert begun["_fit"] > 50  # the fuzz is not all noise
    assert kv.load(place / "run" / "model.keras")
