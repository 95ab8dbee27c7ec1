"""Commands for conditions and missing entries: files are filled, and what was there stays."""

import csv
import re

import numpy as np
import pytest
from test_runs_cli import TINY, command, succeed

import keras_vae as kv
from keras_vae import filling, runs

pytestmark = pytest.mark.filterwarnings("ignore:batch_size is")


def holes(x, share=0.3):
    return np.where(np.random.default_rng(1).random(x.shape) < share, np.nan, x)


@pytest.fixture(scope="module")
def vae():
    return kv.VAE((3,), 2, likelihood="normal", network="dense:widths=[8]", missing=True)


@pytest.fixture(scope="module")
def table():
    """Sixty rows of three columns, some entries missing, as text and as numbers."""
    rng = np.random.default_rng(0)
    x = holes(rng.normal(size=(60, 3)).round(3))
    text = [["" if np.isnan(value) else f"{value:+.5f}" for value in row] for row in x]
    return text, x


def test_a_table_keeps_the_text_of_what_was_there(vae, table, tmp_path):
    text, x = table
    source, output = tmp_path / "table.csv", tmp_path / "filled.csv"
    lines = ["a,b,c", *(",".join(row) for row in text)]
    source.write_text("\n".join(lines) + "\n")
    found = filling.fill(vae, source, output, 50)
    lost = np.isnan(x)
    assert (found.entries, found.examples) == (lost.sum(), lost.any(1).sum())
    assert 1.0 <= found.least_effective_sample_size <= 50.001
    header, *rows = csv.reader(output.open(newline=""))
    assert header == ["a", "b", "c"]
    expected = vae.impute(x, 50).x
    for row, old, values, gone in zip(rows, text, expected, lost):
        assert [new for new, hole in zip(row, gone) if not hole] == [
            each for each in old if each != ""
        ]
        np.testing.assert_allclose([float(v) for v in row], values, rtol=1e-5, atol=1e-5)


def test_quoted_fields_and_odd_names_survive(vae, tmp_path):
    source, output = tmp_path / "table.csv", tmp_path / "filled.csv"
    source.write_text('"a, b","say ""x""",c\n1.50,,"2"\n,0.1,0.2\n')
    filling.fill(vae, source, output, 10)
    header, first, second = csv.reader(output.open(newline=""))
    assert header == ["a, b", 'say "x"', "c"]
    assert (first[0], first[2], second[1:]) == ("1.50", "2", ["0.1", "0.2"])


TEXTS = {
    "Windows": "\ufeffa,b,c\r\n1.50,,3\r\n,2,3\r\n",
    "quotes": '"a, b","say ""x""","two\nlines"\n"1.50","",3\n+1e0,2,3',
    "a quoted name behind a mark": '\ufeff"a, b",b,c\n1,,3\n',
    "blank lines": "a,b,c\n\n1,,3\n   \n4,5,6\n\n",
    "words": "a,b,c\n1,NA,3\n 4,null,nan\nN/A,#N/A,None\n",
    "nothing missing": "a,b,c\n16777217,0.10,-0\n",
    "commas at the end": "a,b,c\n1,2,,\n,5,6,\n",
    "old Macintosh": "a,b,c\r1,,3\r",
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_table_is_the_same_text_but_for_what_was_missing(vae, tmp_path, name):
    source, output = tmp_path / "table.csv", tmp_path / "filled.csv"
    source.write_bytes(TEXTS[name].encode())
    found = filling.fill(vae, source, output, 5)
    made = output.read_bytes().decode()
    x = kv.data.tables.numbers(output)
    assert not np.isnan(x).any() and found.entries == np.isnan(kv.data.tables.numbers(source)).sum()
    for value in x[np.isnan(kv.data.tables.numbers(source))]:
        made = made.replace(f"{value:.9g}", "", 1)
    blanked = TEXTS[name]
    for word in ('""', "#N/A", "N/A", "NA", "null", "nan", "None"):
        blanked = re.sub(rf"(?<=[,\n])({word})(?=[,\n])", "", blanked)
    assert made == blanked


def test_a_line_that_ends_early_is_made_whole(vae, tmp_path):
    source, output = tmp_path / "table.csv", tmp_path / "filled.csv"
    source.write_text("a,b,c\n1\n4,5\n7,8,9\n")
    assert filling.fill(vae, source, output, 5).entries == 3
    _, *rows = csv.reader(output.open(newline=""))
    assert [len(row) for row in rows] == [3, 3, 3] and rows[1][:2] == ["4", "5"]
    np.testing.assert_allclose(
        kv.data.tables.numbers(output)[:2, 2], np.float32([rows[0][2], rows[1][2]])
    )


def test_what_cannot_be_imputed_stays_as_it_was(vae, tmp_path):
    source, output = tmp_path / "table.csv", tmp_path / "filled.csv"
    source.write_text("a,b,c\n1e30,NA,3\n1,NA,3\n")
    with pytest.warns(UserWarning, match="1 of 2 examples could not be imputed"):
        found = filling.fill(vae, source, output, 5)
    assert found.entries == found.examples == 1 and found.least_effective_sample_size >= 1.0
    assert output.read_text().splitlines()[1] == "1e30,NA,3"


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_arrays_keep_their_bits_and_type(vae, table, tmp_path, dtype):
    x = table[1].astype(dtype)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", train=x, y_train=np.arange(60), test=x[:5])
    filling.fill(vae, tmp_path / "x.npy", tmp_path / "filled.npy", 50)
    filling.fill(vae, tmp_path / "x.npz", tmp_path / "filled.npz", 50)
    array, archive = np.load(tmp_path / "filled.npy"), np.load(tmp_path / "filled.npz")
    assert set(archive.files) == {"train", "y_train", "test"}
    for filled, old in ((array, x), (archive["train"], x), (archive["test"], x[:5])):
        seen = ~np.isnan(old)
        assert filled.dtype == dtype and np.isfinite(filled).all()
        np.testing.assert_array_equal(filled[seen].tobytes(), old[seen].tobytes())


def test_a_parquet_file_keeps_its_types(vae, tmp_path):
    import pandas

    frame = pandas.DataFrame(
        {
            "a": [0.25, None, 1.5],
            "b": pandas.array([1, None, 3], "UInt8"),
            "c": pandas.array([True, None, False], "boolean"),
        }
    )
    frame.to_parquet(tmp_path / "x.parquet")
    filling.fill(vae, tmp_path / "x.parquet", tmp_path / "filled.parquet", 20)
    made = pandas.read_parquet(tmp_path / "filled.parquet")
    assert list(made.dtypes) == list(frame.dtypes) and not made.isna().any(axis=None)
    assert made["a"][[0, 2]].tolist() == [0.25, 1.5] and made["b"][[0, 2]].tolist() == [1, 3]
    assert made["c"][[0, 2]].tolist() == [True, False]
    for column in (["u", "v", "w"], pandas.to_datetime(["2020", "2021", "2022"])):
        frame.assign(c=column).to_parquet(tmp_path / "words.parquet")
        with pytest.raises(ValueError, match="the columns c hold no numbers"):
            filling.fill(vae, tmp_path / "words.parquet", tmp_path / "out.parquet")


def test_integers_that_are_filled_stay_in_their_range():
    import pandas

    values = pandas.Series(pandas.array([1, None, None], "UInt8"))
    assert filling._completed(values, np.array([0.0, -3.4, 1e9])).tolist() == [1, 0, 255]


def test_arrays_of_what_the_model_says(vae, table, tmp_path):
    np.save(tmp_path / "x.npy", table[1])
    filling.fill(vae, tmp_path / "x.npy", tmp_path / "said.npz", 50, seed=4)
    said, found = np.load(tmp_path / "said.npz"), vae.impute(table[1], 50, filling.DRAWS, 4)
    for name in ("x", "stddev", "draws"):
        np.testing.assert_array_equal(said[name], getattr(found, name))


def test_mistakes_get_a_sentence_and_nothing_is_overwritten(vae, table, tmp_path):
    source = tmp_path / "x.npy"
    np.save(source, table[1])
    np.save(tmp_path / "wide.npy", np.zeros((4, 5)))
    np.save(tmp_path / "words.npy", np.array([["a", "b", "c"]]))
    np.savez(tmp_path / "other.npz", a=np.zeros((2, 7)), b=np.array([["a", "b", "c"]]))
    np.save(tmp_path / "empty.npy", np.zeros((0, 3)))
    np.save(tmp_path / "huge.npy", np.array([[1e300, np.nan, 1.0]]))
    (tmp_path / "header.csv").write_text("a,b,c\n")
    (tmp_path / "cut.npy").write_bytes(source.read_bytes()[:60])
    (tmp_path / "there.npy").write_bytes(b"kept")
    wrong = [
        ("x.txt", "out.txt", "expected a file ending in"),
        ("absent.npy", "out.npy", "There is no file"),
        ("x.npy", "out.csv", "expected a name ending in .npy"),
        ("x.npy", "there.npy", "exists already"),
        ("wide.npy", "out.npy", r"shape \(5,\); the model was trained on \(3,\)"),
        ("words.npy", "out.npy", "expected numbers"),
        ("empty.npy", "out.npy", "empty.npy holds no example"),
        ("header.csv", "out.csv", "header.csv holds no example"),
        ("huge.npy", "out.npy", "outside the support.*inf"),
        ("other.npz", "out.npz", "holds no array of examples"),
        ("cut.npy", "out.npy", "could not be read"),
    ]
    for data, output, words in wrong:
        with pytest.raises((ValueError, TypeError, OSError), match=words):
            filling.fill(vae, tmp_path / data, tmp_path / output)
    assert (tmp_path / "there.npy").read_bytes() == b"kept"
    assert not list(tmp_path.glob("out*"))
    plain = kv.VAE((3,), 2, likelihood="normal", network="dense:widths=[8]")
    with pytest.raises(ValueError, match="missing=True"):
        filling.fill(plain, source, tmp_path / "out.npy")


def test_a_run_of_an_incomplete_table_is_trained_scored_and_filled(tmp_path):
    x = holes(np.random.default_rng(0).normal(size=(200, 4)))
    source = tmp_path / "table.csv"
    np.savetxt(source, x, delimiter=",", header="a,b,c,d", comments="", fmt="%.4f")
    source.write_text(source.read_text().replace("nan", ""))
    run, options = tmp_path / "run", ("--epochs", 1, "--objective", "iwae:samples=3", *TINY)
    status, _, err = command("train", "--data", source, "--output", run, *options)
    assert status == 2 and "missing=True" in err and not run.exists()
    succeed("train", "--data", source, "--missing", "--output", run, *options)
    succeed("evaluate", run, "--num-samples", 20)
    metrics = runs.metrics(run)
    assert np.isfinite(metrics["nll"])
    out = succeed("impute", run, "--data", source, "--output", tmp_path / "filled.csv")
    assert f"Filled {np.isnan(x).sum()} missing entries of" in out
    filled = np.loadtxt(tmp_path / "filled.csv", delimiter=",", skiprows=1)
    assert filled.shape == x.shape and np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[~np.isnan(x)], x.round(4)[~np.isnan(x)])
    status, _, err = command("impute", run, "--data", source, "--output", tmp_path / "filled.csv")
    assert status == 2 and "exists already" in err
    arguments = ("--output", tmp_path / "more.csv", "--condition", 1)
    status, _, err = command("impute", run, "--data", source, *arguments)
    assert status == 2 and "trained without one" in err


@pytest.mark.parametrize(
    "data", ["digits", pytest.param("shapes:side=8,train=150,test=60", marks=pytest.mark.slow)]
)
def test_a_run_with_a_condition_draws_what_is_asked_for(data, tmp_path):
    run, vector = tmp_path / "run", data != "digits"
    options = ("--condition", "labels", "--prior", "conditional_normal", "--epochs", 1, *TINY)
    out = succeed("train", "--data", data, "--output", run, *options)
    assert ("vectors of" if vector else "classes as whole numbers from 0 to 9") in out
    assert ("classes" in {path.stem for path in runs.figures(run)}) != vector
    succeed("evaluate", run, "--num-samples", 5)
    text = ",".join(["0.5"] * runs.read(run)[2].condition.size) if vector else "7"
    drawn = tmp_path / "drawn.npz"
    succeed("sample", run, "--n", 5, "--seed", 1, "--condition", text, "--output", drawn)
    vae = runs.read(run)[2]
    condition = [float(part) for part in text.split(",")] if vector else 7
    expected = vae.sample(5, seed=1, condition=condition)
    np.testing.assert_allclose(np.load(drawn)["mean"], expected.mean, rtol=1e-5, atol=1e-6)
    succeed("reconstruct", run, "--output", tmp_path / "again.npz", "--n", 4)
    succeed("interpolate", run, "--output", tmp_path / "lines.npz", "--n", 2)
    wrong = {
        "missing": ((), "expected --condition"),
        "word": (("--condition", "seven"), "expected "),
        "too many": (("--condition", "1,2,3,4,5,6,7,8,9,10,11,12"), "expected "),
    }
    if not vector:
        wrong["unseen"] = (("--condition", "10"), "keras-vae: condition holds 10; expected classes")
    for arguments, words in wrong.values():
        status, _, err = command("sample", run, *arguments, "--output", tmp_path / "out.npz")
        assert status == 2 and words in err and not (tmp_path / "out.npz").exists()


def test_labels_that_are_words_are_no_condition(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 3))
    labels = np.array(["a", "b"])[np.arange(40) % 2]
    np.savez(tmp_path / "x.npz", train=x, y_train=labels)
    arguments = ("--data", tmp_path / "x.npz", "--output", tmp_path / "run", "--condition")
    status, _, err = command("train", *arguments, "labels", *TINY)
    assert status == 2 and "Number the classes" in err
    status, _, err = command("train", *arguments, "label", *TINY)
    assert status == 2 and "Did you mean 'labels'" in err
    for number, words in (
        (10**9, "reach 1,000,000,000, and there are 40"),
        (0, "are 0 throughout"),
    ):
        np.savez(tmp_path / "ids.npz", train=x, y_train=np.full(40, number))
        arguments = ("--data", tmp_path / "ids.npz", "--output", tmp_path / "run", "--condition")
        status, _, err = command("train", *arguments, "labels", *TINY)
        assert status == 2 and words in err
    np.save(tmp_path / "x.npy", x)
    arguments = ("--data", tmp_path / "x.npy", "--output", tmp_path / "run", "--condition")
    status, _, err = command("train", *arguments, "labels", *TINY)
    assert status == 2 and "no labels" in err
