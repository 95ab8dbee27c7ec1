"""Files that mean harm are refused in a sentence, soon, in little memory, and run nothing."""

import resource
import time
from pathlib import Path

import hostile
import numpy as np
import pytest

import keras_vae as kv

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
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark is the present
    except OSError:
        pytest.skip("this system does not say how much memory was held")
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


@pytest.mark.parametrize("name", hostile.KERAS)
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


@pytest.mark.parametrize("name", hostile.DATA)
def test_hostile_data_is_refused(name, tmp_path):
    suffix, make, pattern = hostile.DATA[name]
    path = make(tmp_path / f"bad{suffix}")
    refuse(lambda: kv.data.load(path), pattern)
