"""The figures of a model: which there are for which events, and that they show the model."""

import matplotlib.figure
import numpy as np
import pytest

import keras_vae as kv

LATENT = {"latents", "kl_per_dimension"}
PICTURES = {"reconstructions", "samples", "interpolations", "arcs", "traversals"}


def model(event_shape, latent_dim=2, **options):
    return kv.VAE(event_shape, latent_dim, network="dense:widths=[8]", **options)


def events(event_shape, count=30):
    return (np.random.default_rng(0).random((count, *event_shape)) < 0.5).astype("float32")


@pytest.mark.parametrize(
    ("event_shape", "latent_dim", "expected"),
    [
        ((6, 5, 1), 2, LATENT | PICTURES | {"plane"}),
        ((6, 5, 3), 3, LATENT | PICTURES),
        ((6, 5, 2), 2, LATENT),
        ((4,), 3, LATENT | {"histograms", "pairs"}),
        ((1,), 1, LATENT | {"histograms"}),
        ((4, 2), 2, LATENT),
    ],
)
def test_each_kind_of_event_has_its_figures(event_shape, latent_dim, expected):
    labels = np.arange(30) % 3
    names = ("a", "b", "c")
    made = kv.evaluation.figures(model(event_shape, latent_dim), events(event_shape), labels, names)
    assert set(made) == expected
    assert all(isinstance(figure, matplotlib.figure.Figure) for figure in made.values())


def test_a_plain_autoencoder_has_no_kl_to_show():
    vae = kv.recipes.autoencoder((6, 5, 1), 2, network="dense:widths=[8]")
    assert set(kv.evaluation.figures(vae, events((6, 5, 1)))) == (
        {"latents", "plane", *PICTURES} - {"traversals"}
    )


def test_one_example_and_labels_in_columns_will_do():
    vae, x = model((6, 5, 1)), events((6, 5, 1), 1)
    made = kv.evaluation.figures(vae, x, np.array([[0.0, 0.3]]), ("shape", "size"))
    assert set(made) == (LATENT | PICTURES | {"plane"}) - {"interpolations", "arcs"}


def texts(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_classes_are_named_in_the_order_of_their_labels():
    names = ("zero", "one", "two", "three", "four")
    made = kv.evaluation.figures(model((4,), 3), events((4,)), np.arange(30) % 3 + 1, names)
    assert texts(made["latents"].axes[0])[:3] == ["one", "two", "three"]
    made = kv.evaluation.figures(model((4,), 3), events((4,)), [b"cat", b"ant", b"bee"] * 10)
    assert texts(made["latents"].axes[0])[:3] == ["ant", "bee", "cat"]


def test_a_hundred_classes_make_a_colour_bar():
    names = [f"kind {i}" for i in range(100)]
    made = kv.evaluation.figures(model((4,), 3), events((4,), 300), np.arange(300) % 100, names)
    axes, bar = made["latents"].axes
    assert not axes.texts and bar.get_ylabel() == "label"


def test_labels_get_the_names_they_have():
    named = kv.evaluation.named
    assert named([1, 0, 1], ("a", "b")).tolist() == ["b", "a", "b"]
    assert named([1, 2], ("a", "b")).tolist() == [1, 2]
    assert named([-1, 0], ("a", "b")).tolist() == [-1, 0]
    assert named(np.array([], np.int64), ("a", "b")).tolist() == []
    assert named([], ()).tolist() == []
    assert named([b"cat", "hôtel".encode()], ()).tolist() == ["cat", "hôtel"]
    assert named(np.array([b"cat", "dog"], object), ()).tolist() == ["cat", "dog"]
    assert named([1], (b"a", b"b")).tolist() == ["b"]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("encoder", {"samples", "plane"}),
        ("decoder", LATENT),
    ],
)
def test_a_diverged_model_has_the_figures_of_what_is_finite(part, expected):
    vae, x = model((6, 5, 1)), events((6, 5, 1))
    weights = getattr(vae, part).weights
    weights[-1].assign(np.full(weights[-1].shape, np.nan))
    assert set(kv.evaluation.figures(vae, x, np.arange(30) % 3)) == expected


def test_a_diverged_model_of_vectors_has_the_figures_of_what_is_finite():
    vae, x = model((4,)), events((4,))
    vae.encoder.weights[-1].assign(np.full(vae.encoder.weights[-1].shape, np.nan))
    assert set(kv.evaluation.figures(vae, x)) == {"histograms", "pairs"}


def test_the_kl_is_computed_once(monkeypatch):
    calls, parts = [], kv.VAE.kl_parts
    monkeypatch.setattr(kv.VAE, "kl_parts", lambda *args: calls.append(1) or parts(*args))
    kv.evaluation.figures(model((6, 5, 1)), events((6, 5, 1)))
    assert len(calls) == 1


def test_the_bars_are_the_kl_of_each_dimension():
    vae, x = model((4,), 3), events((4,))
    q = vae.posterior(x)
    mean, stddev = q.mean().numpy(), q.stddev().numpy()
    kl = 0.5 * (mean**2 + stddev**2 - 1.0) - np.log(stddev)
    parts = vae.kl_parts(x, batch_size=7)
    np.testing.assert_allclose(parts, kl, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(parts.sum(1), vae.elbo_terms(x).kl_loss, rtol=1e-5)
    (axes,) = kv.evaluation.figures(vae, x)["kl_per_dimension"].axes
    heights = [bar.get_height() for bar in axes.patches]
    np.testing.assert_allclose(heights, np.sort(kl.mean(0))[::-1], rtol=1e-4)


def test_a_traversal_changes_one_latent_and_keeps_the_others():
    vae, x = model((6, 5, 1), 3), events((6, 5, 1))
    kl = np.array([0.1, 0.3, 0.2])
    images, values = kv.evaluation.traversals(vae, x, kl, rows=2)
    assert images.shape == (2, 9, 6, 5, 1)
    np.testing.assert_allclose(values, np.linspace(-2.5, 2.5, 9), atol=1e-6)
    code = vae.encode(x[:1]).mean
    for row, dimension in enumerate((1, 2)):
        moved = np.repeat(code, 9, 0)
        moved[:, dimension] = values
        np.testing.assert_allclose(images[row], vae.decode(moved), atol=1e-6)


@pytest.mark.parametrize("method", ["linear", "spherical"])
def test_interpolations_start_and_end_at_the_reconstructions(method):
    vae, x = model((4,), 3), events((4,), 6)
    between = vae.interpolate(x[:3], x[3:], 5, method)
    assert between.shape == (3, 5, 4)
    np.testing.assert_allclose(between[:, 0], vae.reconstruct(x[:3]), atol=1e-6)
    np.testing.assert_allclose(between[:, -1], vae.reconstruct(x[3:]), atol=1e-6)


def test_an_unknown_way_between_codes_is_refused():
    with pytest.raises(ValueError, match="method is 'sperical'.*spherical"):
        model((4,)).interpolate(events((4,), 2), events((4,), 2), 5, "sperical")


def test_images_are_tiled_without_a_figure_around_them():
    images = np.random.default_rng(0).random((2, 3, 4, 5, 1)).astype("float32")
    whole = kv.plots.mosaic(images, gap=2)
    assert whole.shape == (2 * 6 - 2, 3 * 7 - 2, 1)
    np.testing.assert_array_equal(whole[6:10, 7:12], images[1, 1])
    assert (whole[4:6] == 1.0).all()
    assert kv.plots.mosaic(images, gap=0).shape == (8, 15, 1)


def test_a_figure_becomes_pixels():
    drawn = kv.plots.pixels(kv.plots.kl_per_dimension([1.0, 2.0]))
    assert drawn.dtype == np.float32
    assert drawn.shape[2] == 3
    assert drawn[0, 0].tolist() == [1.0, 1.0, 1.0]
    assert drawn.min() < 0.2
