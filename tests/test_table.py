"""Data frames to events and back, and the recipes around likelihoods."""

import keras
import numpy as np
import pandas as pd
import pytest

import keras_vae as kv

describe = kv.likelihoods.Table.describe


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "height": rng.normal(170.0, 10.0, 60),
            "weight": rng.normal(70.0, 8.0, 60).astype("float32"),
            "children": rng.poisson(2.0, 60),
            "balance": rng.integers(-500, 500, 60),
            "smokes": rng.random(60) < 0.3,
            "sex": rng.choice(["f", "m"], 60),
            "town": rng.choice(["Ulm", "Bonn", "Jena"], 60),
            "grade": pd.Categorical(
                rng.choice(["low", "high"], 60), ["low", "middle", "high"], ordered=True
            ),
            7: rng.choice([0.0, 1.0], 60),
        }
    )


def test_kinds_are_found_by_what_a_column_holds(frame):
    kinds = {column["name"]: column["kind"] for column in describe(frame)}
    assert kinds == {
        "height": "real",
        "weight": "real",
        "children": "count",
        "balance": "real",
        "smokes": "binary",
        "sex": "binary",
        "town": "categorical",
        "grade": "categorical",
        7: "binary",
    }
    over = describe(frame, {"children": "categorical", "balance": "categorical"})
    assert [c["kind"] for c in over if c["name"] in ("children", "balance")] == ["categorical"] * 2


def test_a_frame_comes_back_as_it_was(frame, tmp_path):
    vae = kv.recipes.table_vae(frame, 2, network="dense:widths=[8]")
    events = vae.likelihood.to_events(frame)
    assert (events.shape, events.dtype) == ((60, 9), np.float32)
    np.testing.assert_allclose(events[:, :2].mean(0), 0.0, atol=1e-5)
    np.testing.assert_allclose(events[:, :2].std(0), 1.0, rtol=1e-5)
    back = vae.likelihood.to_frame(events)
    pd.testing.assert_frame_equal(back, frame, rtol=1e-5)
    vae.save(tmp_path / "model.keras")
    again = kv.load(tmp_path / "model.keras").likelihood
    np.testing.assert_array_equal(again.to_events(frame), events)
    pd.testing.assert_frame_equal(again.to_frame(events), back)


def test_what_is_drawn_has_the_columns_and_types(frame):
    vae = kv.recipes.table_vae(frame, 2, network="dense:widths=[8]")
    events = vae.likelihood.to_events(frame)
    vae.adapt(events)
    vae.compile(keras.optimizers.Adam(0.01))
    losses = vae.fit(events, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    for x in (vae.sample(50, seed=0).x, vae.reconstruct(events)):
        drawn = vae.likelihood.to_frame(x)
        assert dict(drawn.dtypes) == dict(frame.dtypes)
        assert set(drawn["town"]) <= {"Ulm", "Bonn", "Jena"}
        assert drawn["children"].min() >= 0


@pytest.mark.parametrize(
    ("column", "kinds", "words"),
    [
        ([1.0, np.nan, 2.0], {}, "lacks 1 value"),
        (["a", "a", "a"], {}, "holds 1 different value"),
        (pd.to_datetime(["2020-01-01"] * 3), {}, "holds datetime64"),
        ([0.5, 1.0, 2.0], {"c": "count"}, "said to be counts"),
        (["a", "b", "c"], {"c": "real"}, "expected numbers"),
        (["a", "b", "c"], {"c": "binary"}, "holds 3 different value"),
        (["a", "b", "c"], {"c": "word"}, "kind is 'word'"),
        (["a", "b", "c"], {"d": "real"}, "kinds names the column 'd'"),
    ],
)
def test_columns_that_no_likelihood_fits_are_refused(column, kinds, words):
    with pytest.raises(ValueError, match=words):
        kv.recipes.table_vae(pd.DataFrame({"c": column}), 2, kinds)


def test_another_frame_is_refused_where_it_does_not_fit(frame):
    table = kv.recipes.table_vae(frame, 2).likelihood
    with pytest.raises(ValueError, match="lacks the column 'town'"):
        table.to_events(frame.drop(columns="town"))
    with pytest.raises(ValueError, match="'town' holds 'Kiel'; expected one of Bonn, Jena, Ulm"):
        table.to_events(frame.assign(town="Kiel"))


def test_sigma_vae_keeps_the_mean_squared_error(real):
    keras.utils.set_random_seed(0)
    vae = kv.recipes.sigma_vae((6,), 2, network="dense:widths=[8]")
    vae.compile(keras.optimizers.Adam(0.01))
    vae.fit(np.tile(real, (60, 1)), batch_size=90, verbose=0)
    assert vae.likelihood.variance == "optimal"
    error = np.mean(np.square(vae.reconstruct(real) - real))
    kept = float(vae.likelihood.moving_variance.numpy())
    assert error < kept < 3.0 * error  # at a draw of z, not its mean, and of 60 steps


def test_zinb_vae_takes_size_factors():
    vae = kv.recipes.zinb_vae((6,), 2, size_factor=True, network="dense:widths=[8]")
    cells = {"x": np.ones((20, 6), "float32"), "offset": np.ones(20, "float32")}
    vae.compile()
    assert np.isfinite(vae.fit(cells, verbose=0).history["loss"]).all()
    assert vae.likelihood.short_name == "zero_inflated_negative_binomial"


def test_missing_values_go_into_a_model_and_come_back_filled(frame):
    lost = np.random.default_rng(3).random(frame.shape) < 0.3
    holes = frame.mask(lost)
    with pytest.raises(ValueError, match="lacks .* missing=True"):
        kv.recipes.table_vae(holes)
    kinds = {column["name"]: column["kind"] for column in describe(frame)}
    vae = kv.recipes.table_vae(holes, 2, kinds, missing=True, network="dense:widths=[8]")
    events = vae.likelihood.to_events(holes)
    np.testing.assert_array_equal(np.isnan(events), lost)
    back = vae.likelihood.to_frame(events)
    np.testing.assert_array_equal(back.isna(), lost)
    vae.adapt(events)
    vae.compile("adam")
    assert np.isfinite(vae.fit(events, verbose=0).history["loss"]).all()
    filled = vae.likelihood.to_frame(vae.impute(events, 20, 5).x)
    assert not filled.isna().any(axis=None)
    for place, name in enumerate(frame):
        seen = ~lost[:, place]
        if kinds[name] == "real":
            np.testing.assert_allclose(filled[name][seen], frame[name][seen], rtol=1e-4, atol=1e-4)
        else:
            assert (filled[name][seen] == frame[name][seen]).all()


def test_types_with_a_missing_value_of_their_own_keep_it():
    frame = pd.DataFrame(
        {
            "count": pd.array([3, None, 0, 7], "Int64"),
            "flag": pd.array([True, False, None, True], "boolean"),
            "kind": pd.Categorical(["a", None, "b", "c"]),
            "word": ["u", None, "v", "w"],
        }
    )
    table = kv.likelihoods.Table(describe(frame, missing=True))
    assert [each["kind"] for each in table.columns] == ["count", "binary", "categorical"] + [
        "categorical"
    ]
    pd.testing.assert_frame_equal(table.to_frame(table.to_events(frame)), frame)
    with pytest.raises(ValueError, match="'word' holds nothing"):
        describe(frame.assign(word=None), missing=True)
