"""The wheel, the source distribution and a fresh clone, as a stranger would use them."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]


def run(*command, cwd):
    """Runs a command without this process's Python settings; returns what it printed."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "MAKE"))
    }
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=kept,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clone") / "project"
    run("git", "clone", "--quiet", ROOT, folder, cwd=ROOT)
    return folder


def test_wheel_and_source_build_and_the_wheel_works_alone(clone, tmp_path):
    run(sys.executable, "-m", "build", "--outdir", tmp_path, clone, cwd=tmp_path)
    (wheel,), (source,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    inside = zipfile.ZipFile(wheel).namelist()
    assert "keras_vae/py.typed" in inside
    assert {name.split("/")[0].split("-")[0] for name in inside} == {"keras_vae"}
    assert any(name.endswith("LICENSE") for name in inside)
    ours = {str(path.relative_to(clone)) for path in (clone / "keras_vae").rglob("*.py")}
    assert ours <= set(inside)
    with tarfile.open(source) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert ours | {"setup.cfg", "README.md", "LICENSE"} <= names

    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    binary = tmp_path / "venv" / "bin"
    run(binary / "pip", "install", "--quiet", wheel, cwd=tmp_path)
    train = ["train", "--data", "digits", "--epochs", "1", "--output", "run"]
    run(binary / "keras-vae", *train, cwd=tmp_path)
    run(binary / "keras-vae", "evaluate", "run", "--num-samples", "5", cwd=tmp_path)
    run(binary / "keras-vae", "sample", "run/saved_model", "--output", "s.png", cwd=tmp_path)
    assert "digits" in run(binary / "python", "-m", "keras_vae", "datasets", cwd=tmp_path)
    code = "import keras, keras_vae; print(keras.models.load_model('run/model.keras').name)"
    assert run(binary / "python", "-c", code, cwd=tmp_path).strip() == "vae"


def test_the_demo_runs_in_a_fresh_clone(clone):
    out = run("make", "demo", cwd=clone)
    for words in ("ELBO", "standard error", "Monte Carlo error", "active units", "seconds"):
        assert words in out
    for name in ("history", "reconstructions", "samples", "saved_model_samples"):
        assert (clone / "runs" / "demo" / "figures" / f"{name}.png").is_file()
    # A second run writes beside the first.
    before = (clone / "runs" / "demo" / "metrics.json").read_bytes()
    run("make", "demo", cwd=clone)
    assert (clone / "runs" / "demo-2" / "metrics.json").is_file()
    assert (clone / "runs" / "demo" / "metrics.json").read_bytes() == before
    assert run("git", "status", "--short", cwd=clone) == ""
