"""The README's code runs as it stands, and its commands too."""

import re
import shlex
import sys
from pathlib import Path

import keras
import matplotlib.figure
import numpy as np
import pytest

from keras_vae import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def blocks(language):
    return [code for kind, code in BLOCKS if kind == language]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saved_models").symlink_to(ROOT / "saved_models")
    return tmp_path


def test_every_python_block_runs_in_order(elsewhere):
    names = {}
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), names)
    assert {"loss", "elbo", "reconstruction_loss", "kl_loss"} <= set(names["scores"])
    assert names["path"].shape == (1, 8, 8, 8, 1)
    assert names["log_px"]["log_likelihood"].shape == (16,)
    assert names["warm"].objective.beta.steps == 5000
    assert (elsewhere / "exports" / "digits" / "saved_model.pb").is_file()
    assert isinstance(names["kv"].plots.image_grid(names["new"]["mean"]), matplotlib.figure.Figure)
    assert isinstance(names["waiting"], keras.Model)


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/**/*.md")), ids=lambda page: page.stem)
def test_the_code_of_every_page_runs(page, elsewhere):
    names = {}
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        exec(compile(code, page.name, "exec"), names)
    if page.stem == "data":
        assert names["images"].shape == (100, 28, 28, 1)
        assert names["values"].shape == (100, 5)
        assert names["squares"].shape == (1, 28, 28, 1)
    if page.stem == "networks":
        assert names["vae"].predict(np.zeros((2, 28, 28, 1)), verbose=0).shape == (2, 28, 28, 1)
    if page.stem == "sklearn":
        usual, odd = (alarms.mean() for alarms in names["alarms"])
        assert usual < 0.15 < 0.9 < odd
        assert np.isfinite(names["search"].cv_results_["mean_test_score"]).all()
    if page.stem == "figures":
        assert (elsewhere / "both.png").stat().st_size > 1000


def test_every_command_runs_in_order(elsewhere, monkeypatch):
    lines = [line for code in blocks("bash") for line in code.splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("keras-vae")]
    assert len(commands) == 11
    for command in commands:
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as caught:
            cli.main()
        assert not caught.value.code, command
    for picture in ("samples", "reconstructions", "lines"):
        assert (elsewhere / f"{picture}.png").stat().st_size > 1000
    assert (elsewhere / "runs" / "first" / "metrics.json").is_file()
    assert len((elsewhere / "scores.csv").read_text().splitlines()) == 7001


def test_every_other_command_is_a_target_of_the_makefile_or_pip():
    makefile = (ROOT / "Makefile").read_text()
    lines = [line for code in blocks("bash") for line in code.splitlines() if line]
    for words in (line.split() for line in lines if not line.startswith("keras-vae")):
        if words[0] == "make":
            assert f"\n{words[1]}: " in makefile
        else:
            assert words[:3] == ["pip", "install", "."]


def test_every_link_to_a_file_leads_somewhere():
    for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_listed_strategy_is_registered():
    from keras_vae import _registry

    rows = re.findall(r"^\| (\w+) \| (`.*) \|$", README, re.MULTILINE)
    assert len(rows) == 7
    for family, cell in rows:
        listed = [w for w in re.findall(r"`(\w+)`", cell) if w in _registry.names(family)]
        ours = {n for n, c in _registry.members(family).items() if "keras_vae" in c.__module__}
        assert set(listed) == ours, family
