"""Arrays that stay in their file: the same batches, found faults, and little memory."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import keras_vae as kv
from keras_vae import data

pytestmark = pytest.mark.filterwarnings("ignore:batch_size is")


@pytest.fixture
def small(monkeypatch):
    """Makes files of more than 100 bytes stay on the disk, looked at 8 examples at a time."""
    monkeypatch.setattr("keras_vae.data.base.IN_MEMORY", 100)
    monkeypatch.setattr("keras_vae.data.base.CHUNK", 8)


def batches(path, split, **options):
    return [np.asarray(x) for x in getattr(data.load(path, 7, **options), split)]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["u1", "f4", ">f8", "<i8", "f2"])
def test_a_file_gives_the_batches_that_an_array_gives(tmp_path, small, dtype, order):
    x = (np.random.default_rng(0).random((100, 3, 2)) * 256).astype(dtype, order=order)
    np.save(tmp_path / "x.npy", x)
    assert isinstance(data.find(tmp_path / "x.npy").train.x, data.base.FileExamples)
    for split in ("train", "validation", "test"):
        found, expected = batches(tmp_path / "x.npy", split), batches(x, split)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_threads_read_one_file_at_once(tmp_path, small):
    x = np.arange(2000, dtype=np.float32).reshape(1000, 2)
    np.save(tmp_path / "x.npy", x)
    examples = data.find(tmp_path / "x.npy").train.x
    places = np.random.default_rng(0).integers(0, 1000, (64, 50))
    with ThreadPoolExecutor(8) as pool:
        for index, rows in zip(places, pool.map(examples.gather, places), strict=True):
            np.testing.assert_array_equal(rows, x[index])


def test_a_file_is_found_again_from_another_folder(tmp_path, small, monkeypatch):
    x = np.eye(30, dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    monkeypatch.chdir(tmp_path)
    loaded = data.load("x.npy", 10)
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(next(iter(loaded.test)), x[27:])


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_is_not_finite_is_counted_over_all_chunks(tmp_path, small, order):
    x = np.ones((100, 3), np.float32, order=order)
    x[13, 2] = x[60, 0] = np.nan
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match=r"train set holds 2 NaN or infinite .*\(13, 2\)"):
        data.load(tmp_path / "x.npy")
    held = batches(tmp_path / "x.npy", "train", missing=True)
    assert np.isnan(np.concatenate(held)).sum() == 2
    x[70, 1] = -np.inf
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match=r"train set holds 1 infinite .*\(70, 1\)"):
        data.load(tmp_path / "x.npy", missing=True)


@pytest.mark.parametrize(
    ("dtype", "last", "support", "highest"),
    [
        ("u1", 1, "binary", 1.0),
        ("u1", 2, "unit_interval", 2 / 255),
        ("f4", 1, "binary", 1.0),
        ("f4", 0.5, "unit_interval", 1.0),
        ("f4", 2, "real", 2.0),
        ("f4", -1, "real", 1.0),
    ],
)
def test_one_value_decides_on_the_support(tmp_path, small, dtype, last, support, highest):
    x = (np.random.default_rng(0).random((100, 3)) < 0.5).astype(dtype)
    x[80, 2] = last  # of the training examples' last chunk
    np.save(tmp_path / "x.npy", x)
    loaded = data.load(tmp_path / "x.npy")
    assert loaded.support == support
    seen = max(float(tf.reduce_max(batch)) for batch in loaded.train)
    assert seen == pytest.approx(highest)


class Counting(data.Indexed):
    """A split that counts the chunks which are looked at."""

    looked = 0

    def chunks(self):
        for rows in super().chunks():
            self.looked += 1
            yield rows


@pytest.mark.parametrize(
    ("dtype", "scale", "looked"), [("u1", None, 1), ("u1", 5.0, 10), ("f4", None, 10)]
)
def test_grey_levels_are_known_from_the_first_chunk(small, dtype, scale, looked):
    x = np.full((80, 3), 3, dtype)
    x[70] = 10
    split = Counting(data.base.ArrayExamples(x))
    other = data.Indexed(data.base.ArrayExamples(x[:8]))
    loaded = data.load(data.Source("own", split, other, other, scale=scale))
    assert split.looked == looked
    assert loaded.support == ("unit_interval" if looked == 1 else "real")


def test_large_examples_are_looked_at_few_at_a_time(monkeypatch):
    monkeypatch.setattr("keras_vae.data.base.CHUNK_BYTES", 1000)
    for width, sizes in ((100, [10, 10, 5]), (3000, [1] * 25)):
        split = data.Indexed(data.base.ArrayExamples(np.zeros((25, width), np.uint8)))
        assert [len(rows) for rows in split.chunks()] == sizes


@pytest.mark.parametrize("fault", ["gone", "shorter"])
def test_a_file_that_changes_in_training_is_named(tmp_path, small, fault):
    path = tmp_path / "x.npy"
    np.save(path, np.eye(30, dtype=np.uint8))
    loaded = data.load(path, 10)
    vae = kv.VAE((30,), 2, network="dense:widths=[4]")
    vae.compile("adam")
    vae.fit(loaded.train, verbose=0)
    path.unlink() if fault == "gone" else os.truncate(path, 400)
    with pytest.raises(ValueError, match=r"x\.npy could no longer be read .*Put it back"):
        vae.fit(loaded.train, verbose=0)
    words = "No such file" if fault == "gone" else "it ends before example 30"
    with pytest.raises(ValueError, match=rf"x\.npy could not be read \(.*{words}"):
        list(loaded.splits[2].chunks())


def resident_of_files():
    """Returns the bytes of files' pages that are resident."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssFile"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel does not tell")
def test_the_pages_of_a_large_file_do_not_stay(tmp_path):
    count, width = 1_300, 1_000_000
    with (tmp_path / "x.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, width)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + count * width)
    before = resident_of_files()
    loaded = data.load(tmp_path / "x.npy")
    assert resident_of_files() - before < 1e8
    examples = data.find(tmp_path / "x.npy").train.x
    for start in range(0, count, 20):
        assert not np.any(examples.gather(np.arange(start, start + 20)))
    assert resident_of_files() - before < 1e8
    assert (loaded.support, loaded.event_shape) == ("binary", (width,))


def test_parts_copies_and_changes_of_a_map_are_what_is_read(tmp_path):
    x = np.arange(60, dtype=np.float32).reshape(30, 2)
    np.save(tmp_path / "x.npy", x)
    found = np.load(tmp_path / "x.npy", mmap_mode="r")
    changed = np.load(tmp_path / "x.npy", mmap_mode="c")
    changed[5] = -1.0
    written = np.load(tmp_path / "x.npy", mmap_mode="r+")
    written[29] = 7.0  # into the file
    for array in (found, found[10:20], found[4:][3:], found[::2], found.copy(), changed, written):
        examples = data.base.FileExamples(array)
        np.testing.assert_array_equal(examples.rows(2, 5), np.asarray(array[2:5]))
        np.testing.assert_array_equal(examples.gather([3, 1]), np.asarray(array)[[3, 1]])
    loaded = data.load({"train": found[:20], "validation": found[20:], "test": found[20:]}, 10)
    np.testing.assert_array_equal(next(iter(loaded.validation)), found[20:])
