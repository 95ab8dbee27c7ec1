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


@pytest.mark.parametrize(
    ("dtype", "side", "top"),
    [(tf.float32, None, 0.75), (tf.float32, 3, 0.75), (tf.uint16, 3, 40000), (tf.uint8, 3, 200)],
)
def test_images_and_labels_keep_their_kind_of_number(tmp_path, monkeypatch, dtype, side, top):
    import tensorflow_datasets

    class Own(tensorflow_datasets.core.GeneratorBasedBuilder, skip_registration=True):
        """A set of even images with real labels."""

        VERSION = tensorflow_datasets.core.Version("1.0.0")

        def _info(self):
            features = tensorflow_datasets.features
            image = (
                features.Image(shape=(6, 6, 1))
                if dtype == tf.uint8
                else features.Tensor(shape=(6, 6, 1), dtype=dtype)
            )
            return tensorflow_datasets.core.DatasetInfo(
                builder=self, features=features.FeaturesDict({"image": image, "label": tf.float32})
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for number in range(12):
                image = np.full((6, 6, 1), top, dtype.as_numpy_dtype)
                yield number, {"image": image, "label": number + 0.5}

    Own(data_dir=tmp_path).download_and_prepare()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    loaded = data.load("own", labels=True, image_size=side)
    x, labels = next(iter(loaded.test))
    np.testing.assert_allclose(x, top / 255.0 if dtype == tf.uint8 else top, rtol=1e-5)
    assert set(np.asarray(labels) % 1) == {0.5}


def test_a_home_that_is_not_there_gets_a_sentence(monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", "~nosuch/x")
    with pytest.raises(ValueError, match="TFDS_DATA_DIR is '~nosuch/x'.*expected a folder"):
        data.load("mnist")


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


def save(path, pixels, **options):
    """Writes an image, the folders above it too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)


def palette(image):
    """Returns an image with a palette that is no ramp."""
    return image.quantize(16)


LEVELS = np.arange(30, dtype=np.uint8).reshape(5, 6) * 8
GREY = Image.fromarray(LEVELS)
COLOUR = Image.fromarray(np.stack([LEVELS, LEVELS[::-1], 255 - LEVELS], -1))
TURNED = Image.Exif()
TURNED[0x0112] = 6


@pytest.mark.parametrize(
    ("name", "image", "options", "expected"),
    [
        ("grey.gif", palette(GREY), {}, None),
        ("grey.bmp", GREY, {}, LEVELS),
        ("one_bit.bmp", GREY.point(lambda level: 255 * (level > 99), "1"), {}, 255 * (LEVELS > 99)),
        ("palette.bmp", palette(COLOUR), {}, None),
        ("palette.png", palette(COLOUR), {}, None),
        ("alpha.png", Image.merge("LA", (GREY, GREY)), {}, LEVELS),
        ("alpha_colour.png", Image.merge("RGBA", (*COLOUR.split(), GREY)), {}, np.asarray(COLOUR)),
        ("deep.png", Image.fromarray(LEVELS.astype(np.uint16) * 257), {}, LEVELS),
        ("turned.png", COLOUR, {"exif": TURNED}, np.rot90(np.asarray(COLOUR), -1)),
        ("a_tiff.jpg", COLOUR, {"format": "tiff"}, np.asarray(COLOUR)),
    ],
)
def test_every_kind_of_image_is_decoded_as_it_is_seen(tmp_path, name, image, options, expected):
    for number in range(3):
        save(tmp_path / f"{number}{name}", image, **options)
    if expected is None:
        expected = np.asarray(image.convert("L" if "grey" in name else "RGB"))
    loaded = data.load(tmp_path)
    expected = expected.reshape(*expected.shape[:2], -1)
    assert loaded.event_shape == expected.shape
    np.testing.assert_allclose(next(iter(loaded.test))[0] * 255.0, expected, atol=1e-4)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_resizing_averages_what_it_shrinks(tmp_path, suffix):
    ramp = np.linspace(0, 240, 256).astype(np.uint8)
    lines = np.tile(ramp[:, None], (1, 256))
    lines[:, ::2] += 15
    for number in range(3):
        save(tmp_path / f"{number}.{suffix}", lines)
    small = everything(data.load(tmp_path, image_size=16).test)[0, ..., 0] * 255.0
    expected = lines.reshape(16, 16, 16, 16).mean((1, 3))
    np.testing.assert_allclose(small[1:-1], expected[1:-1], atol=2.0)


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (["cat", "dog", "test"], "holds test, but no folder 'train'"),
        (["Cat", "Val"], "holds Val, but no folder 'train'"),
        (
            ["a", "train", "test"],
            r"3 image\(s\) beside the folders of its splits, such as .*a/0.png",
        ),
        ([".", "train"], r"3 image\(s\) beside"),
        (["train", "val", "valid"], "holds val and valid; expected one folder"),
        (["train", "test/"], "test set of .* is empty"),
        (["train", "Validation/"], "validation set of .* is empty"),
    ],
)
def test_folders_that_would_mix_or_lose_images_are_refused(tmp_path, places, words):
    for place in places:
        (tmp_path / place).mkdir(exist_ok=True)
        for number in range(0 if place.endswith("/") else 3):
            save(tmp_path / place / f"{number}.png", GREY)
    with pytest.raises(ValueError, match=words):
        data.load(tmp_path)


def test_splits_are_found_in_any_case(tmp_path):
    for split, count in (("Train", 5), ("TEST", 2)):
        for number in range(count):
            save(tmp_path / split / f"{number}.png", GREY)
    assert data.load(tmp_path).counts == {"train": 4, "validation": 1, "test": 2}


@pytest.mark.parametrize("root", ["", "train"])
def test_what_is_cut_from_classes_holds_all_of_them(tmp_path, root):
    for number in range(120):
        save(tmp_path / root / "abc"[number // 40] / f"{number:03}.png", GREY)
    loaded = data.load(tmp_path, labels=True)
    for split in ("validation", "test"):
        labels = np.concatenate([labels for _, labels in getattr(loaded, split)])
        assert set(labels) == {0, 1, 2}
    again = data.load(tmp_path, labels=True, seed=1)
    np.testing.assert_array_equal(next(iter(again.test))[1], next(iter(loaded.test))[1])


def test_links_are_followed_and_hidden_files_left(tmp_path):
    for number in range(3):
        save(tmp_path / "set" / "a" / f"{number}.png", GREY)
        save(tmp_path / "elsewhere" / f"{number}.png", GREY)
    (tmp_path / "set" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "b" / "round").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "a" / "._0.png").write_bytes(b"Mac")
    (tmp_path / "set" / "__MACOSX").mkdir()
    (tmp_path / "set" / "__MACOSX" / "0.png").write_bytes(b"Mac")
    loaded = data.load(tmp_path / "set", labels=True)
    assert sum(loaded.counts.values()) == 6
    assert loaded.label_names == ("a", "b")


def test_an_image_too_large_to_decode_is_named_or_left_out(folder, monkeypatch):
    save(folder / "train" / "cats" / "vast.png", Image.new("L", (60, 60)))
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match="vast.png could not be decoded"):
        data.load(folder)
    assert data.load(folder, skip_corrupt=True).counts["train"] == 11


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


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1.5,2\n3,4\n5,6\n7,8\n", "first row is 1.5, 2, ..., so there is no header"),
        ("1,,2\n3,4,5\n5,6,7\n7,8,9\n", "there is no header"),
        ("a,b\n1,2,3\n4,5,6\n7,8,9\n", "could not be read .*loss of data"),
        ("a;b\n1,5;2,5\n1,5;2,5\n1,5;2,5\n", "header is 'a;b': separate fields by commas"),
        ("a\tb\n1\t2\n", "separate fields by commas"),
    ],
)
def test_tables_that_would_lose_numbers_are_refused(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        data.load(write(tmp_path / "table.csv", text))


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("0,1\n1,2\n3,4\n5,6\n", ("0", "1")),  # as pandas names columns without names
        ("a,b\n1,2,\n3,4,\n5,6,\n", ("a", "b")),
        ("\ufeffa,b\n1,2\n3,4\n5,6\n", ("a", "b")),
    ],
)
def test_tables_with_a_header_keep_all_their_rows(tmp_path, text, columns):
    loaded = data.load(write(tmp_path / "table.csv", text), binarize=None)
    assert loaded.column_names == columns
    assert sum(loaded.counts.values()) == 3
    np.testing.assert_array_equal(everything(loaded.test), [[5, 6]])


@pytest.mark.parametrize("limit", [2**30, 100])
def test_columns_of_every_kind_of_number_become_float32(tmp_path, monkeypatch, limit):
    import pandas

    monkeypatch.setattr("keras_vae.data.base.IN_MEMORY", limit)
    table = pandas.DataFrame(
        {
            "flag": np.arange(30) % 2 == 0,
            "whole": pandas.array(np.arange(30), dtype="Int64"),
            "age": np.arange(30, dtype=np.uint8),
        }
    )
    table.to_parquet(tmp_path / "table.parquet")
    loaded = data.load(tmp_path / "table.parquet")
    assert loaded.column_names == ("flag", "whole", "age")
    np.testing.assert_array_equal(everything(loaded.test)[:, 1:], [[n, n] for n in (27, 28, 29)])
    table[["age"]].to_parquet(tmp_path / "ages.parquet")
    assert everything(data.load(tmp_path / "ages.parquet").test).max() == 29
    table.loc[3, "whole"] = pandas.NA
    table.to_parquet(tmp_path / "table.parquet")
    with pytest.raises(ValueError, match=r"1 NaN or infinite .*\(3, 1\)"):
        data.load(tmp_path / "table.parquet")


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">u2", "<i8", np.longdouble, np.float16, bool])
def test_a_large_array_of_every_kind_of_number_is_read_as_it_is(tmp_path, monkeypatch, dtype):
    rows = (np.random.default_rng(0).random((100, 3)) * 50).astype(dtype)
    np.save(tmp_path / "rows.npy", rows)
    monkeypatch.setattr("keras_vae.data.base.IN_MEMORY", 100)
    loaded = data.load(tmp_path / "rows.npy", batch_size=7)
    np.testing.assert_array_equal(everything(loaded.test), rows[90:].astype(np.float32))
    np.testing.assert_array_equal(
        np.sort(everything(loaded.train), 0), np.sort(rows[:81], 0).astype(np.float32)
    )


@pytest.mark.parametrize("kind", ["file", "dataset"])
def test_values_beyond_float32_are_refused_with_their_place(tmp_path, monkeypatch, kind):
    rows = np.ones((30, 2))
    rows[3, 1] = rows[5, 0] = 1e300
    np.save(tmp_path / "rows.npy", rows)
    monkeypatch.setattr("keras_vae.data.base.IN_MEMORY", 100)
    source = tmp_path / "rows.npy"
    with pytest.raises(ValueError, match=r"train set holds 2 NaN or infinite .*\(3, 1\)"):
        data.load(source if kind == "file" else tf.data.Dataset.from_tensor_slices(rows))


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


def batched(count, *maps, labels=False):
    x = np.arange(4 * count, dtype=np.float32).reshape(count, 2, 2)
    parts = (x, np.arange(count)) if labels else x
    dataset = tf.data.Dataset.from_tensor_slices(parts).batch(4, drop_remainder=True)
    for each in maps:
        dataset = each(dataset)
    return dataset


@pytest.mark.parametrize(
    ("dataset", "event_shape"),
    [
        (batched(40), (2, 2)),
        (batched(40, lambda d: d.map(lambda x: x / 2), lambda d: d.cache().prefetch(1)), (2, 2)),
        (batched(40, lambda d: d.map(lambda x, y: (x, y)), labels=True), (2, 2)),
        (batched(40, lambda d: d.unbatch()), (2, 2)),
        (batched(40, lambda d: d.batch(3)), (4, 2, 2)),
        (batched(40, lambda d: d.map(lambda x: x[0])), (2, 2)),
        (own(40)[1], (2, 2)),
    ],
)
def test_batches_of_a_fixed_size_are_batches(dataset, event_shape):
    assert data.load(dataset).event_shape == event_shape


def shrinking():
    passes = iter([20, 15, 15, 15])
    return tf.data.Dataset.from_generator(
        lambda: np.zeros((next(passes), 2), np.float32),
        output_signature=tf.TensorSpec((2,), tf.float32),
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: own(40)[1].shuffle(40), r"changes from pass to pass.*reshuffle_each_iteration"),
        (
            lambda: {"train": own(40)[1].shuffle(40), "test": own(4)[1]},
            "changes from pass to pass",
        ),
        (lambda: dict.fromkeys(("train", "validation", "test"), shrinking()), "20 .* and 15 in"),
        (
            lambda: {"train": own(30)[1], "test": own(30)[1].map(lambda x: x[:1])},
            r"test examples of dataset have shape \(1, 2\), those of train \(2, 2\)",
        ),
        (
            lambda: {
                "train": own(70)[1].map(lambda x: tf.cast(x % 256, tf.uint8)),
                "test": own(40)[1],
            },
            "test examples hold 0 to 159 as float32",
        ),
        (
            lambda: tf.data.Dataset.from_tensor_slices((np.zeros((9, 2)), np.zeros(9), np.ones(9))),
            r"3 parts; expected x or \(x, label\)",
        ),
        (
            lambda: tf.data.Dataset.from_tensors(tf.sparse.eye(4)).repeat(9),
            r"SparseTensorSpec\); expected numbers, not sparse",
        ),
    ],
)
def test_datasets_that_would_mislead_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        data.load(make())


def test_a_dataset_that_is_shuffled_once_or_split_may_be_loaded():
    x, dataset = own(40)
    once = data.load(dataset.shuffle(40, reshuffle_each_iteration=False))
    seen = np.concatenate([everything(once.train), everything(once.test)])
    assert len(np.unique(seen[:, 0, 0])) == 37
    again = {"train": dataset.shuffle(40), "validation": own(4)[1], "test": own(4)[1]}
    assert data.load(again).counts == {"train": 40, "validation": 4, "test": 4}


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
