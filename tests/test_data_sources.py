"""Where data comes from: shapes, TensorFlow Datasets, folders of images, tables, labels."""

import hashlib
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_vae import data
from keras_vae.data import shapes, tfds

pytestmark = pytest.mark.filterwarnings("ignore:batch_size is")
real_data = pytest.mark.skipif(
    not os.environ.get("TFDS_DATA_DIR"), reason="TFDS_DATA_DIR names no folder of prepared data"
)
ALL = ("shape", "x", "y", "size", "angle")


def everything(dataset):
    return np.concatenate([np.asarray(batch) for batch in dataset])


# Shapes


@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("size", [0.25, 0.4, 0.6])
def test_a_shape_covers_the_area_of_the_circle_of_its_size(kind, size):
    image = shapes.render([[kind, size]], side=64)
    assert image.sum() / 255 == pytest.approx(np.pi * (size * 32) ** 2, rel=0.03)
    image = image[0, ..., 0]
    np.testing.assert_array_equal(image, image[:, ::-1])
    assert image[[0, -1]].max() == image[:, [0, -1]].max() == 0


def test_factors_move_turn_and_grow_the_shape():
    base = [1, 0.0, 0.0, 0.3, 0.0]
    image = shapes.render([base], ALL).astype(float)[0, ..., 0]
    rows, columns = np.indices(image.shape)

    def centre(values):
        one = shapes.render([values], ALL).astype(float)[0, ..., 0]
        return (one * columns).sum() / one.sum(), (one * rows).sum() / one.sum()

    assert centre(base) == pytest.approx((13.5, 13.5))
    assert centre([1, 0.2, -0.3, 0.3, 0.0]) == pytest.approx((13.5 + 2.8, 13.5 - 4.2), abs=0.05)
    quarter = shapes.render([[1, 0.0, 0.0, 0.3, np.pi / 2]], ALL)[0, ..., 0]
    np.testing.assert_allclose(quarter, image, atol=1)
    eighth = shapes.render([[1, 0.0, 0.0, 0.3, np.pi / 4]], ALL)[0, ..., 0]
    assert np.abs(eighth - image).max() > 150
    third = shapes.render([[2, 0.0, 0.0, 0.3, 2 * np.pi / 3]], ALL)
    np.testing.assert_allclose(third, shapes.render([[2, 0.0, 0.0, 0.3, 0.0]], ALL), atol=1)


def test_the_set_of_shapes_has_the_factors_it_was_rendered_from():
    source = shapes.source(ALL, train=50, test=20, seed=3)
    assert source.label_names == ALL
    for split, count in ((source.train, 50), (source.test, 20)):
        assert split.labels.shape == (count, 5)
        np.testing.assert_array_equal(split.x.array, shapes.render(split.labels, ALL))
        for column, (low, high) in zip(split.labels.T, shapes.ranges(ALL).values()):
            assert low <= column.min() <= column.max() <= high
        assert split.x.array[:, [0, -1]].max() == split.x.array[:, :, [0, -1]].max() == 0
    again = shapes.source(ALL, train=50, test=20, seed=3)
    np.testing.assert_array_equal(again.train.x.array, source.train.x.array)
    other = shapes.source(ALL, train=50, test=20, seed=4)
    assert np.any(other.train.labels != source.train.labels)
    loaded = data.load(source, labels=True)
    x, labels = next(iter(loaded.train))
    assert x.shape[1:] == (28, 28, 1)
    assert labels.shape[1:] == (5,)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: shapes.render([[0, 0.3]], ("shape", "colour")), "'colour'"),
        (lambda: shapes.render([[0, 0.3]], ("size", "size")), "different names"),
        (lambda: shapes.render([[0, 0.3, 1.0]]), r"\(1, 3\).*\(n, 2\)"),
        (lambda: shapes.render([[3, 0.3]]), "circle, square, triangle"),
        (lambda: shapes.source(train=0), "train is 0"),
    ],
)
def test_mistakes_about_shapes_get_a_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# TensorFlow Datasets


@real_data
@pytest.mark.parametrize(
    ("name", "digests"),
    [
        ("mnist", ("59edd5ea35c00629", "a85d8dffc6063fb8")),
        ("fashion_mnist", ("d6f7acb83157a750", "a84f70bc4eaa1b2c")),
    ],
)
def test_real_sets_are_whole(name, digests):
    source = tfds.source(name)
    for split, count in ((source.train, 60_000), (source.test, 10_000)):
        assert split.x.array.shape == (count, 28, 28, 1)
        assert split.x.dtype == np.uint8
        counts = np.bincount(split.labels, minlength=10)
        if name == "fashion_mnist":
            assert counts.tolist() == [count // 10] * 10
    if name == "mnist":
        assert np.bincount(source.test.labels).tolist() == [
            *(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
        ]
    # the mean and standard deviation of the training pixels that the world normalises by
    pixels = source.train.x.array / np.float64(255)
    moments = {"mnist": (0.1307, 0.3081), "fashion_mnist": (0.2860, 0.3530)}[name]
    assert (pixels.mean(), pixels.std()) == pytest.approx(moments, abs=5e-5)
    hashes = [
        hashlib.sha256(split.x.array.tobytes()).hexdigest()[:16]
        for split in (source.train, source.test)
    ]
    assert tuple(hashes) == digests
    assert len(source.label_names) == 10
    loaded = data.load(source, batch_size=1000)
    assert loaded.counts == {"train": 54_000, "validation": 6_000, "test": 10_000}
    assert (loaded.support, loaded.binarize) == ("binary", "dynamic")
    grey = everything(data.load(source, 1000, binarize=None).test)
    np.testing.assert_array_equal(grey, source.test.x.array / np.float32(255))


@real_data
def test_a_set_that_is_too_large_streams(monkeypatch):
    whole = data.load("mnist", 1000, binarize=None, labels=True)
    monkeypatch.setattr("keras_vae.data.base.IN_MEMORY", 1)
    streamed = data.load("mnist", 1000, binarize=None, labels=True)
    assert streamed.counts == whole.counts
    for (x, y), (u, v) in zip(whole.validation, streamed.validation, strict=True):
        np.testing.assert_array_equal(x, u)
        np.testing.assert_array_equal(y, v)
    small = data.load("mnist", 1000, image_size=14)
    assert small.event_shape == (14, 14, 1)
    assert next(iter(small.test)).shape == (1000, 14, 14, 1)


@real_data
def test_what_is_prepared_is_listed():
    assert {"mnist", "fashion_mnist"} <= set(tfds.prepared())


@real_data
def test_a_prepared_set_is_read_from_the_disk_alone(monkeypatch):
    import tensorflow_datasets

    def fail(*_, **__):
        raise AssertionError("asked by name, which may ask the network")

    monkeypatch.setattr(tensorflow_datasets, "builder", fail)
    assert data.load("mnist:3.0.1", 5000).counts["test"] == 10_000
    with pytest.raises(ValueError, match="'mnist:1.0.0' is not prepared"):
        data.load("mnist:1.0.0")


def test_several_configs_of_a_set_must_be_told_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    for config in ("plain", "noisy"):
        folder = tmp_path / "own" / config / "1.0.0"
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text("{}")
    assert tfds.prepared() == ["own/noisy", "own/plain"]
    with pytest.raises(ValueError, match="own/noisy, own/plain; expected one"):
        data.load("own")


def test_a_set_that_is_not_prepared_is_refused_without_the_network(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match="'mnist' is not prepared.*tfds build mnist"):
        data.load("mnist")
    with pytest.raises(ValueError, match="Did you mean 'mnist'"):
        data.load("mnis")
    assert tfds.prepared() == []


# Folders of images


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 5)):
        for number in range(count):
            place = tmp_path / split / ("cats" if number % 2 else "dogs")
            place.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (6, 9, 3), np.uint8)
            Image.fromarray(pixels).save(place / f"{number:02}.png")
    return tmp_path


def test_a_folder_of_images_is_read_as_it_stands(folder):
    loaded = data.load(folder, batch_size=4, labels=True)
    assert loaded.event_shape == (6, 9, 3)
    assert loaded.counts == {"train": 11, "validation": 1, "test": 5}
    assert loaded.label_names == ("cats", "dogs")
    x, labels = (np.concatenate(parts) for parts in zip(*loaded.test.as_numpy_iterator()))
    files = sorted((folder / "test").rglob("*.png"))
    expected = np.stack([np.asarray(Image.open(file)) for file in files])
    np.testing.assert_allclose(x * 255.0, expected, atol=1e-4)
    assert labels.tolist() == [int(file.parent.name == "dogs") for file in files]


def test_images_of_several_sizes_are_resized_on_request(folder):
    Image.new("L", (20, 10), 128).save(folder / "train" / "cats" / "z.png")
    with pytest.raises(ValueError, match="2 sizes.*image_size"):
        data.load(folder)
    loaded = data.load(folder, image_size=(8, 4))
    assert loaded.event_shape == (8, 4, 3)
    assert next(iter(loaded.train)).shape == (12, 8, 4, 3)
    assert data.load(folder, image_size=5).event_shape == (5, 5, 3)


def test_grey_images_have_one_channel(tmp_path):
    for number in range(4):
        Image.new("L", (5, 5), 60 * number).save(tmp_path / f"{number}.jpg")
    loaded = data.load(tmp_path)
    assert loaded.event_shape == (5, 5, 1)
    np.testing.assert_allclose(next(iter(loaded.test)) * 255, np.full((1, 5, 5, 1), 180), atol=1)


def test_a_corrupt_image_is_named_or_left_out(folder):
    bad = folder / "train" / "cats" / "broken.png"
    bad.write_bytes((folder / "train" / "cats" / "01.png").read_bytes()[:60])
    with pytest.raises(ValueError, match="broken.png could not be decoded"):
        data.load(folder)
    loaded = data.load(folder, skip_corrupt=True)
    assert loaded.counts["train"] == 11
    assert sum(len(x) for x in loaded.train) == 11


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no image"):
        data.load(tmp_path)


# Tables, and files that stay on the disk


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables_of_numbers_are_read(tmp_path, suffix):
    import pandas

    table = pandas.DataFrame({"a": np.arange(30), "b": np.linspace(-1.0, 1.0, 30)})
    path = tmp_path / f"table.{suffix}"
    table.to_csv(path, index=False) if suffix == "csv" else table.to_parquet(path)
    loaded = data.load(path)
    assert (loaded.event_shape, loaded.support) == ((2,), "real")
    np.testing.assert_allclose(everything(loaded.test), table.to_numpy()[27:], rtol=1e-6)
    table["c"] = "word"
    table.to_csv(tmp_path / "words.csv", index=False)
    with pytest.raises(ValueError, match="columns c hold no numbers"):
        data.load(tmp_path / "words.csv")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_large_table_is_streamed(tmp_path, monkeypatch, suffix):
    import pandas

    rows = np.random.default_rng(0).normal(size=(100, 3)).astype("float32")
    rows[95, 1] = -7.0
    path = tmp_path / f"table.{suffix}"
    table = pandas.DataFrame(rows, columns=["a", "b", "c"])
    table.to_csv(path, index=False) if suffix == "csv" else table.to_parquet(path)
    monkeypatch.setattr("keras_vae.data.base.IN_MEMORY", 100)
    monkeypatch.setattr("keras_vae.data.tables.ROWS", 8)
    loaded = data.load(path, batch_size=7)
    assert loaded.counts == {"train": 81, "validation": 9, "test": 10}
    np.testing.assert_allclose(everything(loaded.validation), rows[81:90], rtol=1e-6)
    np.testing.assert_allclose(everything(loaded.test), rows[90:], rtol=1e-6)
    seen = everything(loaded.train)
    np.testing.assert_allclose(np.sort(seen, 0), np.sort(rows[:81], 0), rtol=1e-6)
    assert np.any(seen != rows[:81])
    table.loc[97, "c"] = np.nan
    table.to_csv(path, index=False) if suffix == "csv" else table.to_parquet(path)
    with pytest.raises(ValueError, match="NaN or infinite"):
        data.load(path)
    table["c"] = table["c"].astype(object)
    table.loc[97, "c"] = "word"
    table.astype({"c": str}).to_csv(tmp_path / "words.csv", index=False)
    with pytest.raises(ValueError, match="columns c hold no numbers"):
        data.load(tmp_path / "words.csv")


def test_a_large_array_stays_on_the_disk(tmp_path, monkeypatch):
    rows = np.random.default_rng(0).random((100, 3)).astype("float32")
    np.save(tmp_path / "rows.npy", rows)
    monkeypatch.setattr("keras_vae.data.base.IN_MEMORY", 100)
    loaded = data.load(tmp_path / "rows.npy", batch_size=7)
    np.testing.assert_array_equal(everything(loaded.test), rows[90:])
    seen = everything(loaded.train)
    np.testing.assert_array_equal(np.sort(seen, 0), np.sort(rows[:81], 0))
    assert np.any(seen != rows[:81])


# A user's own tf.data


def own(count, form="x", unknown=False):
    x = np.arange(4 * count, dtype=np.float32).reshape(count, 2, 2)
    parts = {
        "x": x,
        "pair": (x, np.arange(count)),
        "mapping": {"image": x, "label": np.arange(count)},
        "batches": x,
    }[form]
    dataset = tf.data.Dataset.from_tensor_slices(parts)
    dataset = dataset.batch(7) if form == "batches" else dataset
    return x, dataset.filter(lambda *_: True) if unknown else dataset


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("form", ["x", "pair", "mapping", "batches"])
def test_a_dataset_is_split_shuffled_and_batched(form, unknown):
    x, dataset = own(40, form, unknown)
    labels = form in ("pair", "mapping")
    loaded = data.load(dataset, 8, labels=labels)
    assert loaded.counts == {"train": 33, "validation": 3, "test": 4}
    assert (loaded.event_shape, loaded.support) == ((2, 2), "real")
    first, second = (list(loaded.train.as_numpy_iterator()) for _ in range(2))
    assert len(first) == len(loaded.train) == 5
    if labels:
        for rows, numbers in first:
            np.testing.assert_array_equal(rows, x[numbers])
        first, second = ([rows for rows, _ in part] for part in (first, second))
    first, second = np.concatenate(first), np.concatenate(second)
    assert np.any(first != second)
    for rows in (first, second):
        np.testing.assert_array_equal(rows[np.argsort(rows[:, 0, 0])], x[:33])
    if not labels:
        np.testing.assert_array_equal(everything(loaded.test), x[36:])


def test_streams_are_shuffled_within_windows_as_a_function_of_seed_and_pass(monkeypatch):
    monkeypatch.setattr("keras_vae.data.base.WINDOW", 10)
    x, dataset = own(50)
    train = {"train": dataset, "validation": dataset, "test": dataset}
    passes = [everything(data.load(train, 8, seed=seed).train) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(passes[0], passes[1])
    assert np.any(passes[0] != passes[2])
    for start in range(0, 50, 10):
        window = passes[0][start : start + 10]
        np.testing.assert_array_equal(np.sort(window, 0), x[start : start + 10])
        assert np.any(window != x[start : start + 10])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: own(20)[1].repeat(), r"endless.*\.take\(n\)"),
        (lambda: own(20)[1].take(0), "empty"),
        (lambda: tf.data.Dataset.from_tensor_slices(["a", "b", "c"]), "expected numbers"),
        (lambda: {"train": own(20)[1], "tests": own(20)[1]}, "'tests'; expected train"),
        (lambda: {"test": own(20)[1]}, "no dataset called 'train'"),
        (lambda: {"train": own(20)[1], "test": np.zeros((3, 2, 2))}, "test is a ndarray"),
        (lambda: tf.data.Dataset.from_tensor_slices({"a": np.zeros((9, 2))}), "keys a; expected"),
        (lambda: own(20)[1].map(lambda x: x / 0.0), "NaN or infinite"),
    ],
)
def test_datasets_that_cannot_serve_are_refused(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        data.load(make())


def test_draws_depend_on_seed_pass_and_example_alone():
    grey = np.random.default_rng(0).random((60, 4)).astype("float32")
    batched = {size: data.load(grey, size, binarize="dynamic") for size in (7, 48)}
    for split in ("validation", "test"):
        one, other = (everything(getattr(loaded, split)) for loaded in batched.values())
        np.testing.assert_array_equal(one, other)
    first, other = (everything(loaded.train) for loaded in batched.values())
    np.testing.assert_array_equal(first, other)  # the same order, too
    assert np.any(everything(batched[7].train) != first)
    static = data.load(grey, 60, binarize="static")
    one, again = (np.concatenate(list(static.train)) for _ in range(2))
    np.testing.assert_array_equal(np.sort(one @ [1, 2, 4, 8]), np.sort(again @ [1, 2, 4, 8]))
    values = np.tile(np.float32([0.0, 0.2, 0.7, 1.0]), (50_000, 1))
    drawn = everything(data.load(values, 5000, binarize="static").test)
    np.testing.assert_allclose(drawn.mean(0), values[0], atol=0.03)
    assert np.abs(np.corrcoef(drawn[:, 1:3].T)[0, 1]) < 0.06


# Dequantisation and warnings


def test_dequantised_levels_stay_in_their_cells():
    levels = np.random.default_rng(0).integers(0, 256, (200, 4)).astype("uint8")
    loaded = data.load(levels, batch_size=50, dequantize=True)
    assert (loaded.levels, loaded.binarize) == (256, None)
    test = everything(loaded.test)
    np.testing.assert_array_equal(np.floor(test * 256), levels[180:])
    np.testing.assert_array_equal(test, everything(loaded.test))
    assert np.any(everything(loaded.train)[:5] != everything(loaded.train)[:5])
    with pytest.raises(ValueError, match="one of the two"):
        data.load(levels, dequantize=True, binarize="static")
    with pytest.raises(ValueError, match="no grey levels"):
        data.load(levels / 255.0, dequantize=True)


def test_a_batch_larger_than_the_set_is_one_batch_with_a_warning():
    with pytest.warns(UserWarning, match="batch_size is 64, more than the 17"):
        loaded = data.load(np.zeros((20, 2)), batch_size=64)
    assert [len(x) for x in loaded.train] == [17]


def test_labels_must_be_there_and_as_many():
    with pytest.raises(ValueError, match="has no labels"):
        data.load(np.zeros((20, 2)), labels=True)
    with pytest.raises(ValueError, match="20 examples and 3 labels"):
        data.load({"x": np.zeros((20, 2)), "y": np.zeros(3)})
