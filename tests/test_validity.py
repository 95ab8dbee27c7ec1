"""What counts as a shape, which shape it is, and what a set of samples covers."""

import numpy as np
import pytest
import scipy.stats

from keras_vae import evaluation
from keras_vae.data import shapes
from keras_vae.evaluation import match_renders, validity

CENTRED, FREE = ("shape", "size"), ("shape", "x", "y", "size", "angle")


def examples(factors, count, seed=0):
    rng = np.random.default_rng(seed)
    values = shapes.draw_factors(factors, count, rng)
    return shapes.render(values, factors).astype(np.float32) / 255, values


def shuffled(images, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(image.ravel()).reshape(image.shape) for image in images])


@pytest.mark.quick
def test_the_overlap_is_that_of_brute_force():
    images = np.random.default_rng(0).random((5, 9, 9, 1))
    others = np.random.default_rng(1).random((4, 9, 9, 1))
    expected = np.zeros((5, 4))
    for i, one in enumerate(images):
        for j, other in enumerate(others):
            pixels = {tuple(p) for p in np.argwhere(one >= 0.5)}
            match = {tuple(p) for p in np.argwhere(other >= 0.5)}
            expected[i, j] = len(pixels & match) / len(pixels | match)
    np.testing.assert_allclose(validity.iou(images[:, None], others), expected)
    flat = [x.reshape(len(x), -1).astype(np.float32) for x in (images, others)]
    np.testing.assert_allclose(validity._overlaps(*flat), expected)
    assert validity.iou(np.zeros((2, 2, 1)), np.zeros((2, 2, 1))) == 0.0


def test_the_best_centred_render_is_that_of_brute_force():
    images, _ = examples(CENTRED, 6)
    blends = 0.5 * (images[:3] + images[3:])
    table = [(kind, size) for kind in range(3) for size in np.linspace(0.25, 0.6, 300)]
    bank = shapes.render(table) / 255
    expected = [max(validity.iou(blend, render) for render in bank) for blend in blends]
    np.testing.assert_allclose(match_renders(blends).iou, expected, atol=0.02)


@pytest.mark.quick
def test_centred_renders_are_found_whole():
    images, values = examples(CENTRED, 300)
    match = match_renders(images)
    assert (match.iou == 1.0).all()
    np.testing.assert_array_equal(match.values[:, 0], values[:, 0])
    np.testing.assert_allclose(match.values[:, 1], values[:, 1], atol=2e-3)
    assert (match_renders(shuffled(images)).iou < 0.5).all()


def test_free_renders_are_found_by_moments_and_a_search():
    images, values = examples(FREE, 60)
    match = match_renders(images, FREE)
    assert (match.iou >= 0.9).all()
    np.testing.assert_array_equal(match.values[:, 0], values[:, 0])
    np.testing.assert_allclose(match.values[:, 1:4], values[:, 1:4], atol=0.03)  # 0.4 pixels
    period = np.array(validity.PERIODS)[values[:, 0].astype(int)]
    turned = period > 0
    off = (match.values[:, 4] - values[:, 4])[turned] % period[turned]
    assert np.minimum(off, period[turned] - off).max() < 0.15
    assert (match_renders(shuffled(images[:20]), FREE).iou < 0.5).all()


@pytest.mark.parametrize("factors", [("x", "y"), ("size",), ("shape", "angle"), ("y", "shape")])
def test_any_factors_may_vary(factors):
    images, values = examples(factors, 20)
    match = match_renders(images, factors)
    assert (match.iou >= 0.95).all()
    assert match.values.shape == values.shape
    for column, name in enumerate(factors):
        if name != "angle":
            np.testing.assert_allclose(match.values[:, column], values[:, column], atol=0.03)


@pytest.mark.parametrize("factors", [CENTRED, FREE])
def test_noise_and_nothing_are_no_shapes(factors):
    noise = np.random.default_rng(0).random((10, 28, 28, 1))
    blank = np.zeros((2, 28, 28, 1))
    smooth = np.random.default_rng(1).random((10, 7, 7, 1)).repeat(4, 1).repeat(4, 2)
    for images in (noise, blank, 1.0 - blank, smooth):
        assert (match_renders(images, factors).iou < 0.7).all()


def test_two_shapes_at_once_are_none():
    values = [[1, -0.35, -0.35, 0.2, 0.3], [1, 0.35, 0.35, 0.2, 0.3]]
    both = shapes.render(values, FREE).max(0, keepdims=True) / 255
    assert match_renders(both, FREE).iou[0] < 0.8


@pytest.mark.quick
def test_held_out_examples_score_as_they_should():
    images, values = examples(CENTRED, 400)
    train, _ = examples(CENTRED, 600, seed=1)
    scores = evaluation.shape_scores(images, train, *examples(CENTRED, 400, seed=2))
    assert scores.valid >= 0.99
    assert scores.coverage == 1.0
    assert abs(scores.novelty_z) < 3
    assert 0.8 < scores.novelty_ratio < 1.25
    assert "100% of 400 samples" in scores.sentence()
    copies = evaluation.shape_scores(train[:100], train, images, values)
    assert copies.novelty_z < -3
    assert copies.novelty_ratio < 0.1
    assert "nearer" in copies.sentence()
    nothing = evaluation.shape_scores(shuffled(images), train, images, values)
    assert (nothing.valid, nothing.coverage) == (0.0, 0.0)
    assert nothing.novelty_z > 3


@pytest.mark.quick
def test_cells_and_their_coverage():
    edges = [[0, 0.25], [0, 0.3374], [0, 0.3376], [1, 0.25], [2, 0.6]]
    np.testing.assert_array_equal(validity.cells(edges), [0, 0, 1, 4, 11])
    np.testing.assert_array_equal(validity.cells([[0.1, 0.2]], ("x", "y")), [0])
    np.testing.assert_array_equal(validity.cells([[0.3, 2.0]], ("size", "shape")), [8 + 0])
    assert evaluation.coverage(edges[:1], edges) == 0.25
    assert evaluation.coverage(np.empty((0, 2)), edges) == 0.0
    assert evaluation.coverage(edges, edges[:2]) == 1.0


@pytest.mark.quick
def test_novelty_is_the_mann_whitney_statistic_of_nearest_distances():
    rng = np.random.default_rng(0)
    train, held, drawn = (rng.normal(size=(n, 3)) for n in (30, 25, 20))
    nearest = [
        np.array([np.linalg.norm(train - row, axis=1).min() for row in rows])
        for rows in (drawn, held)
    ]
    ratio, z = evaluation.novelty(drawn, train, held)
    assert ratio == pytest.approx(np.median(nearest[0]) / np.median(nearest[1]), rel=1e-4)
    test = scipy.stats.mannwhitneyu(*nearest, method="asymptotic", use_continuity=False)
    assert 2 * scipy.stats.norm.sf(abs(z)) == pytest.approx(test.pvalue, rel=1e-4)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((2, 28, 28)), r"\(2, 28, 28\)"),
        (np.zeros((0, 28, 28, 1)), "at least 1"),
        (np.zeros((2, 28, 20, 1)), "side"),
        (np.full((2, 28, 28, 1), 255), "255"),
        (np.full((2, 28, 28, 1), np.nan), "NaN"),
    ],
)
def test_what_is_no_image_is_refused(images, words):
    with pytest.raises(ValueError, match=words):
        match_renders(images)
    with pytest.raises(ValueError, match="'colour'"):
        match_renders(np.zeros((1, 28, 28, 1)), ("colour",))
