"""Every example runs to its end."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
QUICK = {
    "anomaly_scores.py": ["--quick"],
    "autoencoder_against_vae.py": ["--quick"],
    "beta.py": ["--quick"],
    "cloud.py": ["--quick"],
    "custom_likelihood.py": ["--quick"],
    "decoder_distribution.py": ["--quick"],
    "demo.py": ["--output", "runs/demo", "--epochs", "1", "--num-samples", "10"],
    "held_out.py": ["--quick"],
    "monte_carlo.py": ["--quick"],
    "table.py": ["--quick"],
}
#: Example -> what it draws.
FIGURES = {
    "anomaly_scores.py": "binary.png",
    "autoencoder_against_vae.py": "shapes.png",
    "beta.py": "digits.png",
    "cloud.py": "digits.gif",
    "decoder_distribution.py": "digits.png",
    "held_out.py": "circle.png",
    "monte_carlo.py": "errors.png",
    "table.py": "tables.png",
}


def test_every_example_is_tried():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(QUICK)


OFTEN = ("demo.py",)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in OFTEN else [pytest.mark.slow]) for name in QUICK],
)
def test_the_example_runs(name, tmp_path):
    command = [sys.executable, str(EXAMPLES / name), *QUICK[name]]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "nats" in run.stdout
    if name in FIGURES:
        figure = tmp_path / "runs" / Path(name).stem / FIGURES[name]
        assert figure.stat().st_size > 1000
        assert str(figure.relative_to(tmp_path)) in run.stdout
    if name == "demo.py":
        figures = {path.name for path in (tmp_path / "runs" / "demo" / "figures").iterdir()}
        assert figures >= {"history.png", "latents.png", "saved_model_samples.png"}


def test_the_custom_likelihood_stays_under_thirty_lines():
    text = (EXAMPLES / "custom_likelihood.py").read_text()
    start = text.index("@kv.register")
    body = text[start : text.index("\n\n\n", start)].splitlines()
    assert len(body) < 30
