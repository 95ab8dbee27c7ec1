"""Figures show what they were given, in the right place, and leave matplotlib's state alone."""

import io

import matplotlib
import numpy as np
import pytest
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
    """Returns the array that the axes draw."""
    (image,) = axes.get_images()
    return np.asarray(image.get_array())


def drawn(figure):
    return [axes for axes in figure.axes if axes.get_images()]


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
    [(1, None, 1, 1), (4, None, 2, 2), (5, None, 2, 3), (7, 3, 3, 3), (7, 7, 1, 7), (2, 4, 1, 4)],
)
def test_a_grid_has_a_place_for_every_image(count, columns, rows, expected_columns):
    figure = plots.image_grid(images(count), columns)
    assert len(figure.axes) == rows * expected_columns
    grid = figure.axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == (rows, expected_columns)
    assert len(drawn(figure)) == count
    assert not any(axes.axison for axes in figure.axes[count:])


def test_a_grid_shows_the_images_in_order():
    x = images(5)
    for axes, image in zip(plots.image_grid(x).axes, x):
        np.testing.assert_array_equal(shown(axes), image[..., 0])
        (drawing,) = axes.get_images()
        assert drawing.get_clim() == (0.0, 1.0)
        assert drawing.get_cmap().name == "gray"
        assert len(axes.get_xticks()) == len(axes.get_yticks()) == 0


def test_a_grid_shows_colours():
    x = images(3, channels=3)
    for axes, image in zip(plots.image_grid(x).axes, x):
        assert shown(axes).shape == (5, 4, 3)
        np.testing.assert_array_equal(shown(axes), image)


@pytest.mark.parametrize("channels", [1, 3])
def test_values_are_clipped_and_the_arrays_are_not_changed(channels):
    x = 4.0 * images(2, channels) - 2.0
    before = x.copy()
    figures = [plots.image_grid(x), plots.reconstructions(x, x)]
    for figure in figures:
        for axes in figure.axes:
            assert shown(axes).min() == 0.0
            assert shown(axes).max() == 1.0
    np.testing.assert_array_equal(x, before)


def test_reconstructions_stand_below_their_inputs():
    x, means = images(3), 1.0 - images(3)
    figure = plots.reconstructions(x, means)
    assert len(figure.axes) == len(drawn(figure)) == 6
    for column in range(3):
        np.testing.assert_array_equal(shown(figure.axes[column]), x[column, ..., 0])
        np.testing.assert_array_equal(shown(figure.axes[3 + column]), means[column, ..., 0])
    assert [figure.axes[place].get_ylabel() for place in (0, 3)] == ["input", "mean"]


@pytest.mark.parametrize(
    "draw", [plots.image_grid, lambda x, title: plots.reconstructions(x, x, title)]
)
def test_a_title_is_drawn_if_there_is_one(draw):
    assert draw(images(2), title="Samples").get_suptitle() == "Samples"
    plain = draw(images(2), title="")
    assert plain.get_suptitle() == ""
    assert draw(images(2), title="Samples").get_figheight() > plain.get_figheight()


def test_history_shows_the_loss_and_its_terms_for_both_splits():
    figure = plots.history(LOGS)
    assert [axes.get_title() for axes in figure.axes] == ["loss", "reconstruction loss", "kl loss"]
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


FIGURES = {
    "grid": lambda: plots.image_grid(images(5), title="Samples"),
    "colour grid": lambda: plots.image_grid(images(5, 3), columns=2),
    "reconstructions": lambda: plots.reconstructions(images(2), images(2), "Both"),
    "history": lambda: plots.history(LOGS),
}


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_a_figure_can_be_saved_to_memory(make):
    figure = make()
    assert isinstance(figure, Figure)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")
    file.seek(0)
    height, width, _ = matplotlib.image.imread(file).shape
    size = figure.get_size_inches() * figure.dpi
    np.testing.assert_allclose([width, height], size, atol=1.0)


def test_no_global_state_of_matplotlib_is_touched():
    import matplotlib.pyplot as plt

    plt.close("all")
    before = dict(matplotlib.rcParams)
    for make in FIGURES.values():
        make().savefig(io.BytesIO(), format="png")
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == before
