"""Figures show what they were given, in the right place, and leave matplotlib's state alone."""

import io

import matplotlib
import numpy as np
import pytest
import scipy.stats
import sklearn.decomposition
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from keras_vae import plots

pytestmark = pytest.mark.quick

LOGS = {
    "loss": [3.0, 2.0, 1.5],
    "reconstruction_loss": [2.0, 1.5, 1.25],
    "kl_loss": [1.0, 0.5, 0.25],
    "val_loss": [3.5, 2.5, 2.0],
    "val_reconstruction_loss": [2.5, 2.0, 1.5],
    "val_kl_loss": [1.0, 0.5, 0.5],
    "seconds": [1.0, 2.0, 3.0],
}


def images(count, channels=1, size=(5, 4)):
    return np.random.default_rng(0).random((count, *size, channels)).astype(np.float32)


def shown(axes):
    """Returns the arrays that axes draw as images, in order."""
    return [np.asarray(image.get_array()) for image in axes.get_images()]


def places(axes):
    """Returns the (left, top) corners of the images of axes."""
    return [(image.get_extent()[0], image.get_extent()[3]) for image in axes.get_images()]


def pixels(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((8, 8, 1), True),
        ((8, 8, 3), True),
        ((1, 1, 1), True),
        ((8, 8, 2), False),
        ((8, 8, 4), False),
        ((8, 8), False),
        ((6,), False),
        ((2, 8, 8, 1), False),
    ],
)
def test_images_are_grey_or_rgb(shape, expected):
    assert plots.is_image(shape) is expected


@pytest.mark.parametrize(
    ("count", "columns", "rows", "expected_columns"),
    [(1, None, 1, 1), (4, None, 2, 2), (5, None, 2, 3), (7, 3, 3, 3), (7, 7, 1, 7), (2, 4, 1, 2)],
)
def test_a_grid_has_a_place_for_every_image(count, columns, rows, expected_columns):
    (axes,) = plots.image_grid(images(count), columns).axes
    lefts, tops = zip(*places(axes))
    assert len(set(places(axes))) == len(lefts) == count
    assert (len(set(tops)), len(set(lefts))) == (rows, expected_columns)
    bottom, top = axes.get_ylim()
    assert axes.get_xlim() == (0.0, max(lefts) + 4)
    assert (bottom, top) == (max(tops) + 5, 0.0)


def test_a_grid_shows_the_images_in_order():
    x = images(5)
    (axes,) = plots.image_grid(x).axes
    np.testing.assert_array_equal(shown(axes), x[..., 0])
    assert places(axes) == sorted(places(axes), key=lambda corner: corner[::-1])
    for drawing in axes.get_images():
        left, right, bottom, top = drawing.get_extent()
        np.testing.assert_allclose((right - left, bottom - top), (4, 5))
        assert drawing.get_clim() == (0.0, 1.0)
        assert drawing.get_cmap().name == "gray"
    assert len(axes.get_xticks()) == len(axes.get_yticks()) == 0


def test_a_grid_shows_colours():
    x = images(3, channels=3)
    np.testing.assert_array_equal(shown(plots.image_grid(x).axes[0]), x)


@pytest.mark.parametrize("channels", [1, 3])
def test_values_are_clipped_and_the_arrays_are_not_changed(channels):
    x = 4.0 * images(4, channels) - 2.0
    before = x.copy()
    rows = x.reshape(2, 2, *x.shape[1:])
    figures = [
        plots.image_grid(x),
        plots.reconstructions(x, x),
        plots.latent_plane(x),
        plots.interpolations(rows),
        plots.traversals(rows, [1.0, 2.0], [0.0, 1.0]),
    ]
    for figure in figures:
        assert np.min(shown(figure.axes[0])) == 0.0
        assert np.max(shown(figure.axes[0])) == 1.0
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(("count", "columns", "doubles"), [(1, 1, 1), (3, 3, 1), (12, 6, 2)])
def test_reconstructions_stand_below_their_inputs(count, columns, doubles):
    x, means = images(count), 1.0 - images(count)
    (axes,) = plots.reconstructions(x, means).axes
    np.testing.assert_array_equal(shown(axes), np.concatenate([x, means])[..., 0])
    above, below = np.split(np.asarray(places(axes)), 2)
    np.testing.assert_array_equal(above[:, 0], below[:, 0])
    assert len(set(above[:, 0])) == columns
    assert len(set((below - above)[:, 1].round(6))) == 1
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == ["input", "reconstruction"] * doubles
    tops = np.unique(np.concatenate([above, below])[:, 1])
    np.testing.assert_allclose(axes.get_yticks(), tops + 2.5)


def test_interpolations_stand_in_rows_with_framed_ends():
    x = images(6).reshape(2, 3, 5, 4, 1)
    (axes,) = plots.interpolations(x, "Lines").axes
    np.testing.assert_array_equal(shown(axes), x.reshape(6, 5, 4))
    corners = np.asarray(places(axes)).reshape(2, 3, 2)
    np.testing.assert_allclose([p.get_xy() for p in axes.patches], corners[:, [0, 2]].reshape(4, 2))
    np.testing.assert_allclose(axes.get_xticks(), corners[0, [0, 2], 0] + 2.0)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["start", "end"]


def test_traversals_name_rows_by_kl_and_columns_by_value():
    x = images(6).reshape(2, 3, 5, 4, 1)
    (axes,) = plots.traversals(x, [0.5, 2.414, 0.1, 1.0], [-1.5, 0.0, 1.5]).axes
    np.testing.assert_array_equal(shown(axes), x.reshape(6, 5, 4))
    rows = [text.get_text() for text in axes.get_yticklabels()]
    assert rows == ["z1  KL 2.41", "z3  KL 1.00"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["\u22121.5", "0.0", "1.5"]
    (axes,) = plots.traversals(x, [0.5, 2.0, 0.1], [-1, 0, 1], order=[2, 0]).axes
    rows = [text.get_text() for text in axes.get_yticklabels()]
    assert rows == ["z2  KL 0.10", "z0  KL 0.50"]


def test_a_plane_is_one_picture_without_gaps():
    x = images(9)
    (axes,) = plots.latent_plane(x, 0.5).axes
    (picture,) = shown(axes)
    assert picture.shape == (15, 12)
    for row, column in np.ndindex(3, 3):
        part = picture[5 * row : 5 * row + 5, 4 * column : 4 * column + 4]
        np.testing.assert_array_equal(part, x[3 * row + column, ..., 0])
    np.testing.assert_allclose(axes.get_xticks(), [2, 6, 10])
    np.testing.assert_allclose(axes.get_yticks(), [2.5, 7.5, 12.5])
    across, up = axes.get_xticklabels(), axes.get_yticklabels()
    assert [text.get_text() for text in across] == ["\u22120.7", "0.0", "0.7"]
    assert [text.get_text() for text in up] == ["0.7", "0.0", "\u22120.7"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z0", "z1")


@pytest.mark.parametrize(
    "draw", [plots.image_grid, lambda x, title: plots.reconstructions(x, x, title)]
)
def test_a_title_is_drawn_if_there_is_one(draw):
    assert draw(images(2), title="Samples").axes[0].get_title() == "Samples"
    plain = draw(images(2), title="")
    assert plain.axes[0].get_title() == ""
    assert draw(images(2), title="Samples").get_figheight() > plain.get_figheight()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [(60, 1), (128, 4), (4, 128), (1, 500), (500, 1)])
def test_images_of_any_shape_make_figures_of_bounded_size(size):
    x = images(64, size=size)
    rows = images(12, size=size).reshape(2, 6, *size, 1)
    for figure in (
        plots.image_grid(x),
        plots.image_grid(x[:1]),
        plots.reconstructions(x[:20], x[:20]),
        plots.latent_plane(x),
        plots.interpolations(rows),
        plots.traversals(rows, [1.0, 2.0], np.arange(6.0)),
    ):
        width, height = figure.get_size_inches()
        assert 0.3 < width < 12.0 and 0.3 < height < 13.0
        pixels(figure)


@pytest.mark.parametrize("size", [(4, 128), (128, 4), (28, 28)])
def test_the_values_along_a_plane_do_not_overlap(size):
    figure = plots.latent_plane(images(225, size=size))
    pixels(figure)
    (axes,) = figure.axes
    for ticks, side in ((axes.get_xticklabels(), "x"), (axes.get_yticklabels(), "y")):
        boxes = [text.get_window_extent() for text in ticks]
        ends = sorted((getattr(box, f"{side}0"), getattr(box, f"{side}1")) for box in boxes)
        assert ends
        assert all(left[1] < right[0] for left, right in zip(ends, ends[1:]))


def test_plane_codes_are_the_quantiles_of_the_prior():
    codes = plots.plane_codes(5, 0.9)
    assert (codes.shape, codes.dtype) == ((25, 2), np.float32)
    quantiles = scipy.stats.norm.ppf([0.05, 0.275, 0.5, 0.725, 0.95])
    grid = codes.reshape(5, 5, 2)
    np.testing.assert_allclose(grid[..., 0], np.tile(quantiles, (5, 1)), atol=1e-6)
    np.testing.assert_allclose(grid[..., 1], np.tile(quantiles[::-1, None], 5), atol=1e-6)
    np.testing.assert_allclose(codes, -codes[::-1], atol=1e-6)
    assert plots.plane_codes().shape == (225, 2)


def test_traversal_codes_change_one_dimension_of_each_row():
    code = np.array([0.5, -1.0, 2.0], np.float32)
    codes = plots.traversal_codes(code, plots.kl_order([0.1, 0.3, 0.2], 2), [-3.0, 0.0])
    expected = [[[0.5, -3, 2], [0.5, 0, 2]], [[0.5, -1, -3], [0.5, -1, 0]]]
    np.testing.assert_array_equal(codes, expected)
    assert codes.dtype == np.float32


def test_dimensions_are_ordered_by_falling_kl():
    np.testing.assert_array_equal(plots.kl_order([0.1, 2.0, 0.1, 3.0]), [3, 1, 0, 2])


ENDS = np.random.default_rng(1).normal(size=(2, 40, 16)).astype(np.float32)


@pytest.mark.parametrize("line", [plots.linear, plots.spherical])
def test_lines_end_where_they_should_and_keep_the_type(line):
    codes = line(*ENDS, 7)
    assert (codes.shape, codes.dtype) == ((40, 7, 16), np.float32)
    np.testing.assert_array_equal(codes[:, 0], ENDS[0])
    np.testing.assert_array_equal(codes[:, -1], ENDS[1])


def test_a_linear_line_is_evenly_spaced():
    np.testing.assert_allclose(plots.linear(*ENDS), np.linspace(*ENDS, 8, axis=1), atol=1e-6)


def test_an_arc_keeps_the_norm_and_turns_evenly():
    a, b = 3.0 * ENDS / np.linalg.norm(ENDS, axis=-1, keepdims=True)
    codes = plots.spherical(a, b, 9).astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(codes, axis=-1), 3.0, rtol=1e-6)
    angles = np.arccos(np.sum(codes[:, 1:] * codes[:, :-1], -1) / 9.0)
    whole = np.arccos(np.sum(a * b, -1) / 9.0)
    np.testing.assert_allclose(angles, np.tile(whole[:, None] / 8, 8), atol=1e-5)


def test_an_arc_in_the_plane_is_that_of_sine_and_cosine():
    (codes,) = plots.spherical([[1.0, 0.0]], [[0.0, 2.0]], 3)
    np.testing.assert_allclose(codes[1], [np.sqrt(0.5), np.sqrt(2.0)], rtol=1e-6)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1.0, 2.0], [2.0, 4.0]),
        ([1.0, 2.0], [-1.0, -2.0]),
        ([0.0, 0.0], [1.0, 2.0]),
        ([0, 0], [0, 0]),
    ],
    ids=["parallel", "opposite", "from zero", "zero"],
)
def test_an_arc_that_is_not_defined_is_straight(a, b):
    np.testing.assert_allclose(
        plots.spherical([a], [b], 5), plots.linear([a], [b], 5), rtol=1e-6, atol=1e-7
    )


def test_an_arc_between_nearly_parallel_codes_is_smooth():
    for gap in 10.0 ** -np.arange(1.0, 9.0):
        (codes,) = plots.spherical([[1.0, 0.0]], [[np.cos(gap), np.sin(gap)]], 3)
        np.testing.assert_allclose(codes[1], [np.cos(gap / 2), np.sin(gap / 2)], atol=1e-7)


def test_history_shows_the_loss_and_its_terms_for_both_splits():
    figure = plots.history(LOGS)
    assert [axes.get_title() for axes in figure.axes] == ["loss", "reconstruction loss", "KL loss"]
    for axes, name in zip(figure.axes, ("loss", "reconstruction_loss", "kl_loss")):
        training, validation = axes.get_lines()
        np.testing.assert_array_equal(training.get_xdata(), [1, 2, 3])
        np.testing.assert_array_equal(training.get_ydata(), LOGS[name])
        np.testing.assert_array_equal(validation.get_ydata(), LOGS[f"val_{name}"])
        assert training.get_color() != validation.get_color()
        assert axes.get_xlabel() == "epoch"
    legend = figure.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["training", "validation"]
    assert figure.axes[0].get_ylabel() == "nats per example"


def test_history_shows_only_what_there_is():
    figure = plots.history({"loss": [2.0, 1.0], "reconstruction_loss": [2.0, 1.0]})
    assert [axes.get_title() for axes in figure.axes] == ["loss", "reconstruction loss"]
    assert [len(axes.get_lines()) for axes in figure.axes] == [1, 1]


def test_history_of_one_epoch_leaves_a_visible_mark():
    with_one = pixels(plots.history({"loss": [2.0], "val_loss": [1.0]}))
    blank = pixels(plots.history({"loss": [np.nan], "val_loss": [np.nan]}))
    for colour in (plots.BLUE, plots.ORANGE):
        rgb = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
        counts = [np.all(picture[..., :3] == rgb, axis=-1).sum() for picture in (with_one, blank)]
        assert counts[0] > counts[1]


def test_history_shows_the_other_terms_and_leaves_out_what_is_none():
    logs = {
        name: [2.0, 1.0] for name in ("seconds", "tc_loss", "val_elbo", "learning_rate", "kl_loss")
    }
    figure = plots.history(logs | {"loss": [1.0, 1.0], "regularization_loss": [0.0, 0.0]})
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["loss", "KL loss", "ELBO", "TC loss"]
    titles = [a.get_title() for a in plots.history({"regularization_loss": [0.0, 0.5]}).axes]
    assert titles == ["regularization loss"]


def test_history_puts_a_rarer_validation_at_its_epochs():
    logs = {"loss": [9.0, 5.0, 4.0, 3.0, 2.0], "val_loss": [4.5, 3.5]}
    (axes,) = plots.history(logs).axes
    training, validation = axes.get_lines()
    np.testing.assert_array_equal(training.get_xdata(), [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(validation.get_xdata(), [2, 4])
    (axes,) = plots.history({"loss": [1.0, 2.0, 3.0], "val_loss": [1.0]}).axes
    assert axes.get_lines()[1].get_xdata() == [3]
    assert axes.get_xlim()[1] > 3.0


def test_history_keeps_the_later_epochs_apart_when_the_first_is_far_off():
    rest = np.linspace(110.0, 100.0, 19)
    (axes,) = plots.history({"loss": [1e6, *rest], "val_loss": [float("nan"), *(rest + 1.0)]}).axes
    bottom, top = axes.get_ylim()
    assert bottom < 100.0 and 111.0 < top < 150.0
    assert [text.get_text() for text in axes.texts] == ["\u2191 1000000.0"]
    (axes,) = plots.history({"elbo": [-1e6, *rest]}).axes
    assert axes.get_ylim()[0] > 50.0
    (axes,) = plots.history({"loss": [120.0, *rest]}).axes
    assert axes.get_ylim()[1] > 120.0 and not axes.texts


def offsets(axes):
    (points,) = axes.collections
    return np.asarray(points.get_offsets())


def ellipses(axes):
    """Returns the coloured ellipses of axes, without their white rims."""
    found = [p for p in axes.patches if type(p) is matplotlib.patches.Ellipse]
    return [p for p in found if p.get_edgecolor() != (1.0, 1.0, 1.0, 1.0)]


def circles(axes):
    return [p for p in axes.patches if isinstance(p, matplotlib.patches.Circle)]


CODES = np.random.default_rng(2).normal(size=(50, 5)) * [0.2, 1.0, 2.0, 0.5, 1.5] + 0.3
STDDEVS = np.random.default_rng(3).uniform(0.1, 0.5, size=(50, 5))


def test_two_dimensional_codes_lie_where_they_are():
    (axes,) = plots.latent_scatter(CODES[:, :2]).axes
    np.testing.assert_array_equal(offsets(axes), CODES[:, :2])
    assert [(*c.center, c.radius) for c in circles(axes)] == [(0, 0, r) for r in (1, 2, 3)]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z0", "z1")
    assert axes.get_aspect() == 1.0
    assert axes.get_xlim()[0] < -3.0 and axes.get_ylim()[1] > 3.0


def test_more_dimensions_are_turned_to_principal_components():
    (axes,) = plots.latent_scatter(CODES).axes
    pca = sklearn.decomposition.PCA(2).fit(CODES)
    np.testing.assert_allclose(offsets(axes), pca.transform(CODES), atol=1e-9)
    for circle in circles(axes):
        np.testing.assert_allclose(circle.center, pca.transform(np.zeros((1, 5)))[0], atol=1e-9)
    share = 100 * pca.explained_variance_ratio_[1]
    assert axes.get_ylabel() == f"principal component 2 ({share:.0f} % of variance)"


def test_ellipses_are_the_covariance_in_the_plane():
    labels = np.repeat([3, 1], 25)
    (axes,) = plots.latent_scatter(CODES, labels, STDDEVS).axes
    pca = sklearn.decomposition.PCA(2).fit(CODES)
    drawn = ellipses(axes)
    assert len(drawn) == 12
    chosen = [np.argmin(np.linalg.norm(pca.transform(CODES) - e.center, axis=1)) for e in drawn]
    assert sorted(labels[chosen]) == [1] * 6 + [3] * 6
    for index, ellipse in zip(chosen, drawn):
        covariance = pca.components_ @ np.diag(STDDEVS[index] ** 2) @ pca.components_.T
        angle = np.radians(ellipse.angle)
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        half = np.diag([ellipse.width / 4, ellipse.height / 4]) ** 2  # width is 4 deviations
        np.testing.assert_allclose(rotation @ half @ rotation.T, covariance, atol=1e-9)


def test_classes_have_colours_and_names():
    labels = np.arange(50) % 3 * 2
    (axes,) = plots.latent_scatter(CODES, labels, label_names=("ant", "bee", "cat")).axes
    colours = axes.collections[0].get_facecolor()
    handles, names = axes.get_legend().legend_handles, axes.get_legend().get_texts()
    assert [text.get_text() for text in names[:3]] == ["ant", "bee", "cat"]
    for place, handle in enumerate(handles[:3]):
        expected = matplotlib.colors.to_rgb(handle.get_color())
        for colour in colours[labels == 2 * place]:
            np.testing.assert_allclose(colour[:3], expected)


def test_ten_classes_have_ten_colours():
    (axes,) = plots.latent_scatter(CODES, np.arange(50) % 10).axes
    assert len(np.unique(axes.collections[0].get_facecolor(), axis=0)) == 10
    assert len(axes.get_legend().get_texts()) == 11


def test_many_classes_are_named_where_they_lie():
    labels = np.array([f"kind {i % 25:02d}" for i in range(50)])
    (axes,) = plots.latent_scatter(CODES[:, :2], labels).axes
    assert len(axes.get_legend().get_texts()) == 1
    for place, text in enumerate(axes.texts):
        assert text.get_text() == f"kind {place:02d}"
        np.testing.assert_allclose(text.get_position(), CODES[[place, place + 25], :2].mean(0))


def test_more_words_than_can_be_read_are_coloured_without_names():
    labels = np.array([f"kind {i:02d}" for i in range(50)])
    (axes,) = plots.latent_scatter(CODES, labels, STDDEVS).axes
    assert not axes.texts
    assert len(axes.get_legend().get_texts()) == 2
    expected = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.95, 50))
    np.testing.assert_allclose(axes.collections[0].get_facecolor()[:, :3], expected[:, :3])
    (axes,) = plots.latent_scatter(CODES[:, :1], labels).axes
    assert len(axes.patches) == 1


@pytest.mark.parametrize("count", [3, 11, 30])
def test_one_dimension_names_its_classes_in_a_legend(count):
    labels = np.array([f"kind {i % count:02d}" for i in range(50)])
    figure = plots.latent_scatter(CODES[:, :1], labels)
    pixels(figure)
    legend = figure.axes[0].get_legend()
    names = [text.get_text() for text in legend.get_texts()]
    assert names == [f"kind {i:02d}" for i in range(count)] + ["p(z)"]
    assert legend.get_window_extent().height < figure.bbox.height


@pytest.mark.parametrize(
    "labels",
    [np.array([b"cat", b"ant"] * 25), np.array([b"cat", b"ant"] * 25, object)],
    ids=["bytes", "objects"],
)
def test_bytes_are_words(labels):
    (axes,) = plots.latent_scatter(CODES, labels).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()][:2] == ["ant", "cat"]
    (axes,) = plots.latent_scatter(CODES, np.arange(50) % 2, None, [b"ant", b"cat"]).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()][:2] == ["ant", "cat"]


@pytest.mark.parametrize("stretch", [[5, 1], [1, 1], [1, 5]], ids=["flat", "square", "tall"])
@pytest.mark.parametrize("draw", ["scatter", "gaps"])
def test_a_legend_below_stands_clear_of_the_axis(draw, stretch):
    codes = np.random.default_rng(8).normal(size=(300, 2)) * stretch
    figure = plots.latent_scatter(codes) if draw == "scatter" else plots.latent_gaps(codes, codes)
    pixels(figure)
    (axes,) = figure.axes
    legend, name = axes.get_legend().get_window_extent(), axes.xaxis.label.get_window_extent()
    assert legend.y1 <= name.y0 + 1.0
    assert legend.y1 > name.y0 - 20.0 * figure.dpi / 72.0


@pytest.mark.parametrize("labels", [CODES[:, 0], np.arange(50)], ids=["real", "many"])
def test_real_labels_have_a_colour_bar(labels):
    axes, bar = plots.latent_scatter(CODES, labels, label_names=["age"]).axes
    assert bar.get_ylabel() == "age"
    scale = matplotlib.colors.Normalize(labels.min(), labels.max())
    expected = matplotlib.colormaps["viridis"](scale(labels))
    np.testing.assert_allclose(axes.collections[0].get_facecolor()[:, :3], expected[:, :3])


def test_one_dimension_makes_a_histogram_of_each_class():
    labels = np.arange(50) % 2
    (axes,) = plots.latent_scatter(CODES[:, :1], labels).axes
    edges = np.histogram_bin_edges(CODES[:, :1], 40)
    for place, stairs in enumerate(axes.patches):
        counts, _ = np.histogram(CODES[labels == place, 0], edges)
        np.testing.assert_array_equal(stairs.get_data().values, counts)


@pytest.mark.parametrize("count", [1, 2, 7, 200])
def test_bars_are_the_kl_in_falling_order(count):
    kl = np.random.default_rng(4).exponential(size=count)
    active = kl > 0.5
    (axes,) = plots.kl_per_dimension(kl, active).axes
    np.testing.assert_array_equal([bar.get_height() for bar in axes.patches], np.sort(kl)[::-1])
    blue = [bar.get_facecolor() == matplotlib.colors.to_rgba(plots.BLUE) for bar in axes.patches]
    assert blue == np.sort(active)[::-1].tolist()
    assert axes.get_title() == f"{active.sum()} of {count} active"
    if count == 7:
        labels = [int(text.get_text()) for text in axes.get_xticklabels()]
        assert labels == np.argsort(-kl).tolist()


TABLE = np.random.default_rng(5).normal(size=(80, 3))
DRAWN = np.random.default_rng(6).normal(size=(120, 3)) * 1.2


def test_histograms_are_shares_over_the_same_bins():
    figure = plots.histograms(TABLE, DRAWN, ["a", "b", "c"])
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c"]
    for axes, x, samples in zip(figure.axes, TABLE.T, DRAWN.T):
        data, drawn = (patch.get_data() for patch in axes.patches)
        np.testing.assert_array_equal(data.edges, drawn.edges)
        for rows, found in ((x, data), (samples, drawn)):
            counts, _ = np.histogram(rows, data.edges)
            np.testing.assert_allclose(found.values, counts / len(rows))
        np.testing.assert_allclose(data.values.sum(), 1.0)


def test_histograms_say_how_many_samples_lie_outside():
    samples = np.concatenate([DRAWN, np.full((30, 3), 1e3)])
    for axes, column in zip(plots.histograms(TABLE, samples).axes, TABLE.T):
        assert [text.get_text() for text in axes.texts] == ["20.0 % outside"]
        edges = axes.patches[0].get_data().edges
        np.testing.assert_allclose(edges[-1], column.max() + np.ptp(column) / 2)


def test_few_distinct_values_are_bars_at_those_values():
    x, samples = np.array([[0.0], [0], [2], [5]]), np.array([[0.0], [2], [2], [2], [2]])
    (axes,) = plots.histograms(x, samples).axes
    heights = [bar.get_height() for bar in axes.patches]
    np.testing.assert_allclose(heights, [0.5, 0.25, 0.25, 0.2, 0.8, 0.0])
    centres = [bar.get_x() + bar.get_width() / 2 for bar in axes.patches]
    np.testing.assert_allclose(np.add(centres[:3], centres[3:]) / 2, [0, 2, 5])


def test_of_many_columns_those_that_differ_most_are_drawn():
    rng = np.random.default_rng(7)
    x, samples = rng.normal(size=(60, 20)), rng.normal(size=(90, 20)) * rng.random(20) * 2
    gaps = [scipy.stats.ks_2samp(*pair).statistic for pair in zip(x.T, samples.T)]
    figure = plots.histograms(x, samples)
    expected = [f"column {column}" for column in sorted(np.argsort(gaps)[-16:])]
    assert [axes.get_title() for axes in figure.axes] == expected
    assert figure.get_suptitle() == "16 of 20 columns, where data and samples differ most"


def test_a_pair_plot_shows_every_pair_once():
    figure = plots.pair_plot(TABLE, DRAWN, ["a", "b", "c"])
    panels = {
        axes.get_subplotspec().rowspan.start * 3 + axes.get_subplotspec().colspan.start: axes
        for axes in figure.axes
    }
    assert sorted(panels) == [0, 3, 4, 6, 7, 8]
    rows = [DRAWN[np.linspace(0, 119, 80).astype(int)], TABLE]
    for place, pair in ((3, [0, 1]), (6, [0, 2]), (7, [1, 2])):
        expected = np.concatenate(rows)[:, pair]
        found = offsets(panels[place])
        np.testing.assert_array_equal(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)])
        orange = panels[place].collections[0].get_facecolor()[:, 0] > 0.5
        found = found[~orange]
        expected = TABLE[:, pair]
        np.testing.assert_array_equal(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)])
    assert (panels[6].get_xlabel(), panels[6].get_ylabel()) == ("a", "c")


ROWS = images(6).reshape(2, 3, 5, 4, 1)
FIGURES = {
    "grid": lambda **k: plots.image_grid(images(5), title="Samples", **k),
    "colour grid": lambda **k: plots.image_grid(images(5, 3), columns=2, **k),
    "one image": lambda **k: plots.image_grid(images(1), title="A title wider than it", **k),
    "wide images": lambda **k: plots.image_grid(images(3, size=(1, 40)), **k),
    "reconstructions": lambda **k: plots.reconstructions(images(2), images(2), "Both", **k),
    "reconstructions of many": lambda **k: plots.reconstructions(images(23), images(23), **k),
    "interpolations": lambda **k: plots.interpolations(ROWS, "Lines", **k),
    "traversals": lambda **k: plots.traversals(ROWS, [1, 2], [-1, 0, 1], title="One", **k),
    "plane": lambda **k: plots.latent_plane(images(9), title="Plane", **k),
    "scatter": lambda **k: plots.latent_scatter(CODES, CODES[:, 0] > 0, STDDEVS, title="A", **k),
    "scatter of words": lambda **k: plots.latent_scatter(CODES, list("abcde") * 10, **k),
    "scatter of reals": lambda **k: plots.latent_scatter(CODES, CODES[:, 1], STDDEVS, **k),
    "scatter of one class": lambda **k: plots.latent_scatter(CODES, np.zeros(50), STDDEVS, **k),
    "scatter of one": lambda **k: plots.latent_scatter(CODES[:1], [3], STDDEVS[:1], **k),
    "scatter of two": lambda **k: plots.latent_scatter(CODES[:2], [3, 4], STDDEVS[:2], **k),
    "scatter of equals": lambda **k: plots.latent_scatter(np.ones((9, 4)), None, **k),
    "one dimension": lambda **k: plots.latent_scatter(CODES[:, :1], None, STDDEVS[:, :1], **k),
    "one number": lambda **k: plots.latent_scatter(CODES[:1, :1], **k),
    "KL": lambda **k: plots.kl_per_dimension([0.5, 2.0, 0.0], [1, 1, 0], **k),
    "KL of zeros": lambda **k: plots.kl_per_dimension(np.zeros(1), **k),
    "KL of many": lambda **k: plots.kl_per_dimension(np.arange(200.0), **k),
}
PANELS = {
    "history": lambda **k: plots.history(LOGS, **k),
    "history of one epoch": lambda **k: plots.history({"loss": [1.0], "val_beta": [2.0]}, **k),
    "history of NaN": lambda **k: plots.history({"loss": [np.nan, np.inf, 1.0, 2.0]}, **k),
    "histograms": lambda **k: plots.histograms(TABLE, DRAWN, title="All", **k),
    "histograms of constants": lambda **k: plots.histograms(TABLE * 0, DRAWN * [0, 1, 0] + 1, **k),
    "histograms of one": lambda **k: plots.histograms(TABLE[:1], DRAWN[:1], **k),
    "pair plot": lambda **k: plots.pair_plot(TABLE, DRAWN, **k),
    "pair plot of one": lambda **k: plots.pair_plot(TABLE[:1], DRAWN[:1], **k),
    "pair plot of constants": lambda **k: plots.pair_plot(TABLE * [0, 1, 0], DRAWN, **k),
    "pair plot of a column": lambda **k: plots.pair_plot(TABLE[:, :1], DRAWN[:, :1], **k),
}
ALL = FIGURES | PANELS


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_a_figure_can_be_saved_and_nothing_is_cut_off(make):
    figure = make()
    assert isinstance(figure, Figure)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")
    file.seek(0)
    height, width, _ = matplotlib.image.imread(file).shape
    size = figure.get_size_inches() * figure.dpi
    np.testing.assert_allclose([width, height], size, atol=1.0)
    box = figure.get_tightbbox()
    assert min(box.min) > -0.02
    assert np.all(box.max < figure.get_size_inches() + 0.02)


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_a_figure_draws_into_axes(make):
    figure = Figure()
    first, second = figure.subfigures(1, 2)
    axes, other = first.add_subplot(), second.add_subplot()
    assert make(axes=axes) is figure
    assert axes.has_data() and not other.has_data()
    figure.savefig(io.BytesIO(), format="png")


@pytest.mark.parametrize("make", PANELS.values(), ids=PANELS)
def test_a_figure_draws_into_a_figure(make):
    figure = Figure()
    assert make(figure=figure) is figure
    assert figure.axes
    figure = Figure(layout="constrained")
    part, other = figure.subfigures(1, 2)
    assert make(figure=part) is figure
    assert part.axes and not other.axes
    figure.savefig(io.BytesIO(), format="png")


ODD = "$\\bad_{$"
ODD_TEXTS = {
    "title": (lambda: plots.image_grid(images(1), title=ODD)),
    "classes": (lambda: plots.latent_scatter(CODES, np.arange(50) % 2, None, [ODD, "$"], ODD)),
    "class": (lambda: plots.latent_scatter(CODES, [ODD + str(i % 20) for i in range(50)])),
    "bar": (lambda: plots.latent_scatter(CODES, CODES[:, 0], None, [ODD])),
    "term": (lambda: plots.history({f"{ODD}_loss": [1.0, 2.0]})),
    "histograms": (lambda: plots.histograms(TABLE, DRAWN, [ODD, "b", "c"], ODD)),
    "pairs": (lambda: plots.pair_plot(TABLE, DRAWN, [ODD, "b", ODD], ODD)),
    "gaps": (lambda: plots.latent_gaps(CODES, CODES, title=ODD)),
}


@pytest.mark.parametrize("make", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_dollars_are_drawn_as_they_are(make):
    make().savefig(io.BytesIO(), format="png")


NAN = np.full((4, 5, 4, 1), np.nan)
MISTAKES = {
    "no image": (lambda: plots.image_grid(images(0)), "images has shape (0, 5, 4, 1); expected"),
    "channels": (lambda: plots.image_grid(images(3, 2)), "(3, 5, 4, 2); expected (n, H, W, 1)"),
    "one image": (lambda: plots.image_grid(images(1)[0]), "Choose what to draw"),
    "NaN": (lambda: plots.image_grid(NAN), "images holds 80 NaN or infinite value(s)"),
    "grey levels": (
        lambda: plots.image_grid(np.full((1, 2, 2, 1), 200, np.uint8)),
        "whole numbers up to 200; expected values between 0 and 1. Divide grey levels by 255.",
    ),
    "signed grey levels": (
        lambda: plots.image_grid(np.full((1, 2, 2, 1), 255, np.int64)),
        "whole numbers up to 255; expected values between 0 and 1. Divide grey levels by 255.",
    ),
    "columns": (lambda: plots.image_grid(images(2), 0), "columns is 0; expected a whole number"),
    "pairs": (lambda: plots.reconstructions(images(2), images(3)), "expected that of x, (2, 5,"),
    "square": (lambda: plots.latent_plane(images(8)), "images holds 8 images; expected a square"),
    "coverage": (lambda: plots.plane_codes(3, 1.0), "coverage is 1.0; expected a number above 0"),
    "side": (lambda: plots.plane_codes(1), "side is 1; expected a whole number of at least 2"),
    "values": (
        lambda: plots.traversals(ROWS, [1, 2], [0, 1]),
        "values has shape (2,); expected (3,)",
    ),
    "rows": (lambda: plots.traversals(ROWS, [1], [0, 1, 2]), "2 rows and order 1 dimension(s)"),
    "row": (
        lambda: plots.traversals(ROWS, [1, 2], [0, 1, 2], [0, 2]),
        "order is 2; expected a whole",
    ),
    "dimension": (lambda: plots.traversal_codes([0, 0], [2], [1]), "order is 2; expected a whole"),
    "ends": (lambda: plots.linear([[1, 2]], [[1, 2, 3]]), "b has shape (1, 3); expected that of a"),
    "steps": (lambda: plots.spherical([[1]], [[2]], 1), "steps is 1; expected a whole number"),
    "logs": (lambda: plots.history({"seconds": [1.0]}), "logs holds ['seconds']; expected"),
    "codes": (lambda: plots.latent_scatter([1, 2]), "codes has shape (2,); expected (n, D)"),
    "NaN code": (lambda: plots.latent_scatter([[1, np.nan]]), "codes holds 1 NaN or infinite"),
    "labels": (lambda: plots.latent_scatter(CODES, CODES), "expected (50,), one label for each"),
    "NaN label": (lambda: plots.latent_scatter([[1, 2]], [np.nan]), "labels holds 1 NaN"),
    "names": (
        lambda: plots.latent_scatter(CODES[:2], [0, 1], label_names=["a"]),
        "label_names holds 1 name(s), and there are 2 classes",
    ),
    "stddevs": (lambda: plots.latent_scatter(CODES, None, [[1.0]]), "expected (50, 5)"),
    "KL": (lambda: plots.kl_per_dimension([np.inf]), "kl holds 1 NaN or infinite value(s)"),
    "active": (
        lambda: plots.kl_per_dimension([1, 2], [True]),
        "active has shape (1,); expected (2,)",
    ),
    "table": (
        lambda: plots.histograms(TABLE, DRAWN[:, :2]),
        "samples has shape (120, 2); expected",
    ),
    "column names": (lambda: plots.pair_plot(TABLE, DRAWN, ["a"]), "names holds 1 name(s)"),
}


@pytest.mark.parametrize(("make", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_in_a_sentence(make, words):
    with pytest.raises(ValueError, match=".*") as caught:
        make()
    assert words in str(caught.value)


def test_what_is_no_place_to_draw_is_refused():
    with pytest.raises(TypeError, match="axes is a Figure; expected one matplotlib Axes"):
        plots.image_grid(images(1), axes=Figure())
    with pytest.raises(TypeError, match="figure is an Axes; expected a matplotlib Figure"):
        plots.history(LOGS, figure=Figure().add_subplot())
    with pytest.raises(TypeError, match="x holds <U1; expected numbers"):
        plots.histograms([["a"]], [["b"]])


def test_no_global_state_of_matplotlib_is_touched():
    import matplotlib.pyplot as plt

    plt.close("all")
    before = dict(matplotlib.rcParams)
    for make in (FIGURES["scatter"], FIGURES["grid"], PANELS["history"], PANELS["pair plot"]):
        make().savefig(io.BytesIO(), format="png")
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


def test_the_public_names_are_sorted_and_there():
    assert plots.__all__ == sorted(plots.__all__)
    assert all(hasattr(plots, name) for name in plots.__all__)
