"""Data sets hold what was given, in an order and with draws that repeat by the seed."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from keras_vae import data

pytestmark = [pytest.mark.quick, pytest.mark.filterwarnings("ignore:batch_size is")]


def collect(batches):
    """Returns all examples of one pass, in order."""
    return np.concatenate([np.asarray(batch) for batch in batches])


def ordered(examples):
    """Returns the examples as sorted rows, to compare sets of them."""
    rows = examples.reshape(len(examples), -1)
    return rows[np.lexsort(rows.T)]


def everything(loaded):
    return np.concatenate([collect(loaded.train), collect(loaded.validation), collect(loaded.test)])


def counting(count, width=2):
    """Returns examples that are all different, real-valued."""
    return np.arange(count * width, dtype=np.float32).reshape(count, width) - 7.0


def grey(count=60, seed=0):
    """Returns images with grey levels between 0 and 1."""
    return np.random.default_rng(seed).random((count, 4, 4, 1)).astype(np.float32)


# built-in digits


def test_the_built_in_sets_have_names():
    assert data.names() == ["digits", "shapes"]


def test_digits_are_split_and_described():
    digits = data.load()
    assert digits.name == "digits"
    assert digits.counts == {"train": 1350, "validation": 150, "test": 297}
    assert digits.event_shape == (8, 8, 1)
    assert (digits.support, digits.binarize) == ("binary", "dynamic")
    for split, count in digits.counts.items():
        examples = collect(getattr(digits, split))
        assert examples.shape == (count, 8, 8, 1)
        assert examples.dtype == np.float32
        assert set(np.unique(examples)) == {0.0, 1.0}


def test_digits_are_the_pixels_that_scikit_learn_holds():
    digits = data.load("digits", binarize=None)
    assert (digits.support, digits.binarize) == ("unit_interval", None)
    pixels = load_digits().images.astype(np.float32)[..., None] / 16.0
    np.testing.assert_array_equal(ordered(everything(digits)), ordered(pixels))


def test_the_test_digits_do_not_depend_on_the_seed():
    one = collect(data.load("digits", binarize=None, seed=1).test)
    other = collect(data.load("digits", 50, binarize=None, seed=2).test)
    np.testing.assert_array_equal(one, other)


def test_a_data_set_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.load(counting(9)).name = "other"


# sources


@pytest.mark.parametrize("kind", [np.asarray, tf.constant, np.ndarray.tolist])
def test_an_array_is_split_in_order(kind):
    x = counting(40)
    loaded = data.load(kind(x), 7)
    assert loaded.name == "array"
    assert loaded.counts == {"train": 33, "validation": 3, "test": 4}
    assert (loaded.event_shape, loaded.support, loaded.binarize) == ((2,), "real", None)
    np.testing.assert_array_equal(collect(loaded.test), x[36:])
    np.testing.assert_array_equal(collect(loaded.validation), x[33:36])
    np.testing.assert_array_equal(ordered(collect(loaded.train)), x[:33])


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.int8, np.uint16, bool])
def test_every_kind_of_number_becomes_float32(dtype):
    x = (np.arange(24).reshape(12, 2) % 2).astype(dtype)
    loaded = data.load(x, 5)
    assert loaded.train.element_spec == tf.TensorSpec([None, 2], tf.float32)
    np.testing.assert_array_equal(everything(loaded), x.astype(np.float32))


def test_three_examples_are_enough():
    loaded = data.load(np.eye(3, dtype=np.float32), binarize="dynamic")
    assert loaded.counts == {"train": 1, "validation": 1, "test": 1}
    np.testing.assert_array_equal(everything(loaded), np.eye(3))


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_examples_are_refused_with_their_number(count):
    with pytest.raises(ValueError, match="expected at least 3") as caught:
        data.load(counting(count))
    assert f"Received {count} example(s)" in str(caught.value)


def test_a_mapping_gives_the_splits():
    train, validation, test = counting(20), counting(5) + 0.25, counting(6) + 0.5
    loaded = data.load({"test": test, "train": train, "validation": validation}, 8)
    assert loaded.counts == {"train": 20, "validation": 5, "test": 6}
    np.testing.assert_array_equal(ordered(collect(loaded.train)), train)
    np.testing.assert_array_equal(collect(loaded.validation), validation)
    np.testing.assert_array_equal(collect(loaded.test), test)


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "validation", "test"),
        ("x_train", "val", "x_test"),
        ("x", "x_val", "test"),
        ("data", "x_validation", "x_test"),
        ("arr_0", "val", "test"),
    ],
)
def test_splits_are_found_under_their_usual_names(train, validation, test):
    arrays = {test: counting(6), validation: counting(5), train: counting(20), "y": np.arange(20)}
    assert data.load(arrays).counts == {"train": 20, "validation": 5, "test": 6}


def test_missing_splits_are_made_of_the_training_examples():
    x = counting(30)
    with_test = data.load({"x": x, "test": counting(4) + 0.5})
    assert with_test.counts == {"train": 27, "validation": 3, "test": 4}
    np.testing.assert_array_equal(collect(with_test.validation), x[27:])
    with_validation = data.load({"x": x, "val": counting(4) + 0.5})
    assert with_validation.counts == {"train": 27, "validation": 4, "test": 3}
    np.testing.assert_array_equal(collect(with_validation.test), x[27:])


def test_a_lone_array_of_any_name_is_the_training_set():
    assert data.load({"measurements": counting(30)}).counts["train"] == 25


@pytest.mark.parametrize("name", ["test", "x_test", "validation"])
def test_a_lone_test_or_validation_set_is_never_trained_on(name):
    with pytest.raises(ValueError, match="training examples"):
        data.load({name: counting(30)})


def test_an_npy_file_is_an_array(tmp_path):
    x = grey()
    np.save(tmp_path / "images.npy", x)
    for path in (tmp_path / "images.npy", str(tmp_path / "images.npy")):
        loaded = data.load(path)
        assert loaded.name == "images"
        assert loaded.event_shape == (4, 4, 1)
        np.testing.assert_array_equal(ordered(everything(loaded)), ordered(x))


def test_an_npz_file_is_a_mapping(tmp_path):
    path = tmp_path / "sets.npz"
    np.savez_compressed(path, x_train=counting(20), x_test=counting(6), y_train=np.arange(20))
    loaded = data.load(path)
    assert loaded.name == "sets"
    assert loaded.counts == {"train": 18, "validation": 2, "test": 6}
    np.testing.assert_array_equal(collect(loaded.test), counting(6))


def test_an_npz_file_with_one_unnamed_array_is_that_array(tmp_path):
    np.savez(tmp_path / "one.npz", counting(30))
    assert data.load(tmp_path / "one.npz").counts == {"train": 25, "validation": 2, "test": 3}


# order


def test_a_seed_repeats_every_epoch_in_a_fresh_load():
    x = counting(50)
    one, other = data.load(x, 8, seed=3), data.load(x, 8, seed=3)
    epochs = [collect(one.train) for _ in range(3)]
    for epoch in epochs:
        np.testing.assert_array_equal(collect(other.train), epoch)
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert not np.array_equal(epochs[first], epochs[second])


def test_other_seeds_give_other_orders():
    x = counting(50)
    orders = [collect(data.load(x, 8, seed=seed).train) for seed in range(5)]
    assert len({order.tobytes() for order in orders}) == 5


def test_the_order_depends_on_no_global_seed():
    x, orders = counting(50), []
    for seed in (1, 2):
        tf.random.set_seed(seed)
        np.random.seed(seed)
        orders.append(collect(data.load(x, 8, seed=3).train))
    np.testing.assert_array_equal(orders[0], orders[1])


def test_the_order_is_shuffled():
    x = counting(200)
    train = collect(data.load(x, 200, seed=0).train)
    moved = np.mean(train[:, 0] != np.sort(train[:, 0]))
    assert moved > 0.9


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(1, [1] * 9), (4, [4, 4, 1]), (9, [9]), (50, [9])]
)
def test_every_example_comes_once_an_epoch_in_batches_with_a_ragged_end(batch_size, sizes):
    x = counting(12)
    loaded = data.load({"train": x[:9], "validation": x[9:], "test": x[9:]}, batch_size)
    assert len(loaded.train) == len(sizes)
    for _ in range(3):
        batches = [np.asarray(batch) for batch in loaded.train]
        assert [len(batch) for batch in batches] == sizes
        np.testing.assert_array_equal(ordered(np.concatenate(batches)), x[:9])


def test_batches_know_their_shape():
    loaded = data.load(grey(), 8)
    for split in ("train", "validation", "test"):
        spec = getattr(loaded, split).element_spec
        assert spec == tf.TensorSpec([None, 4, 4, 1], tf.float32)


def test_validation_and_test_keep_their_order():
    x = counting(60)
    loaded = data.load(x, 4, seed=5)
    for _ in range(2):
        np.testing.assert_array_equal(collect(loaded.validation), x[49:54])
        np.testing.assert_array_equal(collect(loaded.test), x[54:])


# binarisation


def test_dynamic_draws_follow_the_grey_levels():
    levels = np.linspace(0.0, 1.0, 6, dtype=np.float32)
    x = np.tile(levels, (2000, 4, 1))
    splits = {"train": x, "validation": x, "test": x}
    loaded = data.load(splits, 512, binarize="dynamic", seed=1)
    for split in splits:
        means = collect(getattr(loaded, split)).mean(axis=(0, 1))
        np.testing.assert_allclose(means, levels, atol=6.0 * 0.5 / np.sqrt(8000))
        assert (means[0], means[-1]) == (0.0, 1.0)


def test_each_example_is_drawn_from_its_own_grey_levels():
    x = (np.random.default_rng(0).random((50, 8)) < 0.5).astype(np.float32)
    loaded = data.load({"train": x, "validation": x, "test": x}, 7, binarize="dynamic")
    np.testing.assert_array_equal(ordered(collect(loaded.train)), ordered(x))
    np.testing.assert_array_equal(collect(loaded.validation), x)


def test_dynamic_draws_are_new_in_each_epoch_and_repeat_in_a_fresh_load():
    half = np.full((40, 16), 0.5, np.float32)
    one, other = (data.load(half, 8, binarize="dynamic", seed=2) for _ in range(2))
    epochs = [collect(one.train) for _ in range(2)]
    assert np.mean(epochs[0] != epochs[1]) == pytest.approx(0.5, abs=0.15)
    for epoch in epochs:
        np.testing.assert_array_equal(collect(other.train), epoch)
    apart = collect(data.load(half, 8, binarize="dynamic", seed=3).train)
    assert np.mean(epochs[0] != apart) == pytest.approx(0.5, abs=0.15)


def test_draws_differ_between_batches_and_examples():
    half = np.full((64, 16), 0.5, np.float32)
    splits = {"train": half, "validation": half, "test": half}
    loaded = data.load(splits, 8, binarize="dynamic")
    for split in splits:
        assert len(np.unique(collect(getattr(loaded, split)), axis=0)) > 55


@pytest.mark.parametrize("method", ["dynamic", "static"])
def test_validation_and_test_are_drawn_once_by_the_seed(method):
    x = grey(200)
    loaded = data.load(x, 8, binarize=method, seed=4)
    again = data.load(x, 16, binarize=method, seed=4)
    apart = data.load(x, 8, binarize=method, seed=5)
    for split in ("validation", "test"):
        first = collect(getattr(loaded, split))
        assert set(np.unique(first)) == {0.0, 1.0}
        np.testing.assert_array_equal(collect(getattr(loaded, split)), first)
        np.testing.assert_array_equal(collect(getattr(again, split)), first)
        assert not np.array_equal(collect(getattr(apart, split)), first)
    assert not np.array_equal(collect(loaded.validation), collect(loaded.test)[:18])


def test_static_draws_stay_the_same_in_every_epoch():
    x = grey(100)
    loaded = data.load(x, 8, binarize="static", seed=4)
    first, second = collect(loaded.train), collect(loaded.train)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(ordered(first), ordered(second))
    assert (loaded.support, loaded.binarize) == ("binary", "static")
    assert collect(loaded.train).mean() == pytest.approx(x.mean(), abs=0.1)


def test_threshold_cuts_at_one_half():
    x = grey(100)
    x[0, 0, 0, 0] = 0.5
    loaded = data.load(x, 8, binarize="threshold")
    np.testing.assert_array_equal(ordered(everything(loaded)), ordered(np.float32(x >= 0.5)))
    assert (loaded.support, loaded.binarize) == ("binary", "threshold")


@pytest.mark.parametrize("binarize", ["auto", None])
def test_other_sets_are_left_as_they_are(binarize):
    x = grey()
    loaded = data.load(x, binarize=binarize)
    assert loaded.binarize is None
    np.testing.assert_array_equal(ordered(everything(loaded)), ordered(x))


# grey levels and supports


def test_grey_levels_as_uint8_are_scaled_by_255():
    x = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 1)).astype(np.uint8)
    loaded = data.load(x)
    assert loaded.support == "unit_interval"
    np.testing.assert_array_equal(
        ordered(everything(loaded)), ordered(x.astype(np.float32) / np.float32(255.0))
    )


@pytest.mark.parametrize("method", ["dynamic", "static", "threshold"])
def test_grey_levels_as_uint8_are_binarised_on_their_scale(method):
    x = np.tile(np.uint8([0, 51, 204, 255]), (4000, 1))
    loaded = data.load(x, 4000, binarize=method)
    expected = [0.0, 0.0, 1.0, 1.0] if method == "threshold" else [0.0, 0.2, 0.8, 1.0]
    for split in (loaded.train, loaded.validation):
        np.testing.assert_allclose(collect(split).mean(axis=0), expected, atol=0.13)


def test_binary_values_as_uint8_are_left():
    x = (grey() < 0.5).astype(np.uint8)
    loaded = data.load(x)
    assert loaded.support == "binary"
    np.testing.assert_array_equal(ordered(everything(loaded)), ordered(x.astype(np.float32)))


@pytest.mark.parametrize(
    ("x", "support"),
    [
        (grey(), "unit_interval"),
        (2.0 * grey(), "real"),
        (grey() - 0.5, "real"),
        (np.round(255 * grey()), "real"),
        (np.round(255 * grey()).astype(np.int64), "real"),
    ],
)
def test_the_support_is_where_all_values_lie(x, support):
    assert data.load(x).support == support


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_split_counts_for_the_support(split):
    splits = {name: grey(20) for name in ("train", "validation", "test")}
    splits[split][3] += 1.0
    assert data.load(splits).support == "real"


def test_splits_of_unlike_dtypes_are_refused_or_scaled_alike():
    levels = np.random.default_rng(0).integers(0, 256, (20, 6)).astype(np.uint8)
    floats = (levels / 255.0).astype(np.float32)
    try:
        loaded = data.load({"train": levels, "validation": levels, "test": floats})
    except (ValueError, TypeError) as refusal:
        assert "test" in str(refusal)
    else:
        np.testing.assert_allclose(collect(loaded.test), floats, rtol=1e-6)


# refusals


def test_an_unknown_name_is_refused_with_a_near_match():
    with pytest.raises(ValueError, match="There is no data set 'digit'") as caught:
        data.load("digit")
    assert str(caught.value).endswith("Did you mean 'digits'?")


@pytest.mark.parametrize("name", ["nothing.npy", "nothing.npz"])
def test_a_missing_file_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=f"There is no file .*{name}; expected one ending in"):
        data.load(tmp_path / name)


def test_an_empty_folder_is_no_file_whatever_its_name(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(ValueError, match="holds no image"):
        data.load(tmp_path / "folder.npz")


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "table.xls").write_text("1,2\n")
    with pytest.raises(ValueError, match=r"table.xls'; expected .* a file ending in .npy, .npz"):
        data.load(tmp_path / "table.xls")


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.3, 0.6, 0.95])
def test_a_truncated_file_is_refused_by_its_name(tmp_path, suffix, share):
    whole = tmp_path / f"whole{suffix}"
    (np.save if suffix == ".npy" else np.savez)(whole, counting(20))
    content = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="could not be read") as caught:
        data.load(cut)
    assert str(caught.value).startswith(str(cut))


def test_a_damaged_archive_is_refused(tmp_path):
    path = tmp_path / "damaged.npz"
    np.savez(path, x=counting(200))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged.npz could not be read"):
        data.load(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_text_in_the_place_of_an_array_file_is_refused(tmp_path, suffix):
    path = tmp_path / f"text{suffix}"
    path.write_text("these are no numbers\n" * 20)
    with pytest.raises(ValueError, match=f"text{suffix} could not be read"):
        data.load(path)


def test_objects_in_files_are_refused_and_not_unpickled(tmp_path):
    objects = np.array([[1, None], [2, "three"]] * 3, dtype=object)
    np.save(tmp_path / "objects.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "objects.npz", x=objects)
    for name in ("objects.npy", "objects.npz"):
        with pytest.raises(ValueError, match=f"{name} could not be read.*without pickles"):
            data.load(tmp_path / name)


@pytest.mark.parametrize(
    "x",
    [
        np.array([[1, None]] * 4, dtype=object),
        np.array([["a", "b"]] * 4),
        np.array([[1j, 2.0]] * 4),
        np.array([["2020-01-01"]] * 4, dtype="datetime64[D]"),
        None,
        object(),
    ],
)
def test_what_holds_no_numbers_is_refused(x):
    with pytest.raises(TypeError, match="data holds .*; expected an array of numbers"):
        data.load(x)


def test_text_in_an_array_file_is_refused_for_what_it_is(tmp_path):
    np.save(tmp_path / "words.npy", np.array([["a", "b"]] * 4))
    with pytest.raises((TypeError, ValueError), match="expected an array of numbers") as caught:
        data.load(tmp_path / "words.npy")
    assert "could not be read" not in str(caught.value)


def test_rows_of_unequal_length_are_refused_in_words():
    with pytest.raises((TypeError, ValueError), match="expected"):
        data.load([[1.0, 2.0], [3.0], [4.0, 5.0]])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_with_their_place(value):
    x = counting(20)
    x[3, 1] = x[7, 0] = value
    with pytest.raises(ValueError, match="NaN or infinite") as caught:
        data.load(x)
    assert str(caught.value) == (
        "data holds 2 NaN or infinite value(s), the first at index (3, 1); expected finite "
        "numbers. Drop or replace them, or have NaN taken as missing: missing=True, or --missing."
    )


def test_values_beyond_float32_are_refused():
    x = counting(20).astype(np.float64)
    x[3, 1] = 1e300
    with pytest.raises(ValueError, match=r"\(3, 1\)"):
        data.load(x)


def test_nan_in_any_split_is_refused_by_its_name():
    splits = {name: counting(9) for name in ("train", "validation", "test")}
    splits["validation"][2, 0] = np.nan
    with pytest.raises(ValueError, match=r"arrays\[validation\] holds 1 NaN"):
        data.load(splits)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (5,), ()])
def test_an_empty_or_flat_array_is_refused(shape):
    with pytest.raises(ValueError, match="expected .examples, .... with at least one") as caught:
        data.load(np.zeros(shape, np.float32))
    assert f"data has shape {shape}" in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "arrays holds nothing; expected the training examples under one of train, x_train"),
        ({"a": counting(9), "b": counting(9)}, "arrays holds 'a', 'b'; expected the training"),
        (
            {"test": counting(9), "val": counting(9)},
            "'validation' and 'test' and no training examples; expected",
        ),
    ],
)
def test_a_mapping_without_training_examples_is_refused_with_its_names(arrays, words):
    with pytest.raises(ValueError, match=words):
        data.load(arrays)


def test_an_empty_npz_file_is_refused(tmp_path):
    np.savez(tmp_path / "empty.npz")
    with pytest.raises(ValueError, match=r"empty.npz holds nothing; expected the training"):
        data.load(tmp_path / "empty.npz")


@pytest.mark.parametrize("split", ["validation", "test"])
def test_splits_of_other_shapes_are_refused(split):
    with pytest.raises(ValueError, match=f"The {split} examples of arrays") as caught:
        data.load({"train": counting(9), split: counting(9, 3)})
    assert "(3,), those of train (2,); expected one shape" in str(caught.value)


@pytest.mark.parametrize("method", ["dynamic", "static", "threshold"])
@pytest.mark.parametrize("x", [counting(20), np.round(255 * grey())])
def test_binarising_real_values_is_refused(method, x):
    with pytest.raises(ValueError, match="lie outside 0..1") as caught:
        data.load(x, binarize=method)
    message = str(caught.value)
    assert message.startswith(f"binarize is {method!r}, but the values of array")
    assert "uint8" in message


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"batch_size": 0}, ValueError, "batch_size is 0; expected a whole number of at least 1"),
        ({"batch_size": -4}, ValueError, "batch_size is -4"),
        ({"batch_size": 2.5}, TypeError, "batch_size is 2.5"),
        ({"seed": -1}, ValueError, "seed is -1; expected a whole number of at least 0"),
        ({"seed": None}, TypeError, "seed is None"),
        ({"binarize": "dynamc"}, ValueError, "binarize is 'dynamc'.*Did you mean 'dynamic'"),
        ({"binarize": True}, ValueError, "binarize is True; expected one of 'dynamic'"),
    ],
)
def test_bad_options_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        data.load(grey(), **options)


# nothing is lost in silence


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"train": counting(9), "tset": counting(9)}, "'tset'; .*Did you mean 'test'"),
        ({"x_train": counting(9), "X_test": counting(9)}, "'X_test'; .*Did you mean 'x_test'"),
        ({"train": counting(9), "x": counting(9)}, "'train' and 'x', which mean the same"),
        ({"x": counting(9), "y": np.arange(9), "labels": np.arange(9)}, "'y' and 'labels'"),
    ],
)
@pytest.mark.parametrize("suffix", [None, ".npz"])
def test_names_that_would_not_be_read_are_refused(tmp_path, arrays, words, suffix):
    if suffix:
        np.savez(tmp_path / "sets.npz", **arrays)
        words = words.replace("; .*Did you mean", ", .*expected")
    with pytest.raises(ValueError, match=words):
        data.load(tmp_path / "sets.npz" if suffix else arrays)


def test_an_archive_may_hold_other_arrays_too(tmp_path):
    np.savez(tmp_path / "sets.npz", train=counting(20), test=counting(6), names=np.arange(3))
    assert data.load(tmp_path / "sets.npz").counts == {"train": 18, "validation": 2, "test": 6}


def test_a_tuple_of_arrays_is_no_array():
    with pytest.raises(TypeError, match=r"tuple of 3 arrays .*mapping .*\"train\""):
        data.load((counting(9), counting(9), counting(9)))
    assert data.load(((1, 2), (3, 4), (5, 6))).event_shape == (2,)


def test_grey_levels_beside_their_floats_are_refused():
    levels = np.tile(np.uint8([0, 128, 255]), (9, 1))
    with pytest.raises(ValueError, match="test examples hold 0 to 255 as float32.*both alike"):
        data.load({"train": levels, "test": levels.astype(np.float32)})


def test_an_array_is_held_once():
    split = data.Indexed(data.base.ArrayExamples(counting(40)))
    before = split.x.array
    loaded = data.load(data.Source("own", split), 8)
    held = [each for each in vars(split.x).values() if hasattr(each, "shape")]
    assert sum(tf.is_tensor(each) for each in held) == 1
    assert not any(isinstance(each, np.ndarray) for each in held)
    np.testing.assert_array_equal(split.x.array, before)
    np.testing.assert_array_equal(collect(loaded.test), before[36:])


# names and paths


@pytest.mark.parametrize("name", ["digits", "shapes", "mnist"])
def test_the_name_of_a_set_wins_over_a_file_unless_it_is_a_path(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    assert not data.is_path(name)
    assert data.is_path(f"./{name}/")
    with pytest.raises(ValueError, match="holds no image"):
        data.load(f"./{name}/")
    if name in data.names():
        assert data.load(name).name == name


@pytest.mark.parametrize(
    ("name", "answer"),
    [("", False), (":", False), ("photos", True), ("a.npy", True), ("A.NPY", True)]
    + [("phtos", False), (".", True), ("shapes:side=8", False), ("mnist:3.0.1", False)],
)
def test_what_is_a_path(tmp_path, monkeypatch, name, answer):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    assert data.is_path(name) is answer


@pytest.mark.parametrize("name", ["", ":"])
def test_an_empty_name_is_no_folder(name):
    with pytest.raises(ValueError, match=f"There is no data set {name!r}; expected one of digits"):
        data.load(name)


@pytest.mark.parametrize("suffix", [".NPY", ".CSV"])
def test_suffixes_may_be_in_capitals(tmp_path, suffix):
    path = tmp_path / f"X{suffix}"
    if suffix == ".NPY":
        with path.open("wb") as file:
            np.save(file, counting(20))
    else:
        np.savetxt(path, counting(20), delimiter=",", header="a,b", comments="")
    np.testing.assert_array_equal(ordered(everything(data.load(path))), counting(20))


@pytest.mark.parametrize(
    "name",
    [
        "shapes:factors=[shape,x,y,size,angle],train=20,test=6,side=16,seed=2",
        "shapes(factors=['shape','x','y','size','angle'], train=20, test=6, side=16, seed=2)",
    ],
)
def test_a_built_in_set_takes_options_by_its_name(name):
    factors = ("shape", "x", "y", "size", "angle")
    loaded = data.load(name, labels=True)
    made = data.load(data.shapes.source(factors, 16, 20, 6, 2), labels=True)
    assert (loaded.name, loaded.label_names, loaded.event_shape) == ("shapes", factors, (16, 16, 1))
    for one, other in zip(next(iter(loaded.test)), next(iter(made.test)), strict=True):
        np.testing.assert_array_equal(one, other)


# labels


@pytest.mark.parametrize(
    ("labels", "given", "labelled"),
    [
        (False, ("y", "y_test"), False),
        (True, ("y", "y_test"), True),
        (None, ("y", "y_test"), True),
        (None, ("y",), False),
        (None, (), False),
    ],
)
def test_labels_come_where_every_split_has_them(labels, given, labelled):
    arrays = {"train": counting(30), "test": counting(6)}
    values = {"y": np.arange(30, dtype=">f4"), "y_test": np.arange(6)}
    loaded = data.load(arrays | {key: values[key] for key in given}, labels=labels)
    assert loaded.labelled is labelled
    assert isinstance(loaded.test.element_spec, tuple) is labelled
    if labelled:
        x, numbers = next(iter(loaded.train))
        np.testing.assert_array_equal(x[:, 0], numbers * 2.0 - 7.0)
