"""Where the codes lie, and which dimensions of the latent space are in use."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_vae.plots import base

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Ten colours for classes: those of Okabe and Ito, of which yellow is hard to see on white and
#: comes late, with grey and a dark red.
CLASSES = (
    base.BLUE,
    base.ORANGE,
    base.GREEN,
    base.AMBER,
    base.SKY,
    base.PURPLE,
    base.BLACK,
    "#999999",
    base.YELLOW,
    "#661100",
)
#: Most classes that are named; more are drawn as a number.
MOST_CLASSES = 30
ELLIPSES = 12


class _Colours(NamedTuple):
    """How the points are coloured.

    Attributes:
        points: A colour for each, (n, 4).
        group: The class of each point, (n,), or None for real values.
        names: What the classes are called, in order.
        legend: The colour of each class, where a legend is to name them.
        scale: What a colour bar shows, or None.
        title: What the colour bar is called.
    """

    points: np.ndarray
    group: np.ndarray | None = None
    names: Sequence[str] = ()
    legend: Sequence[Any] = ()
    scale: Any = None
    title: str = ""


class _Plane(NamedTuple):
    """What is drawn of codes with more than one dimension.

    Attributes:
        codes: (n, 2).
        rotation: Its rows are the directions drawn, (2, D).
        centre: Where the middle of the prior lies, (2,).
        names: Of the two axes.
    """

    codes: np.ndarray
    rotation: np.ndarray
    centre: np.ndarray
    names: tuple[str, str]


def latent_scatter(
    codes: Any,
    labels: Any = None,
    stddevs: Any = None,
    label_names: Sequence[str] = (),
    title: str = "",
    *,
    axes: "Axes | None" = None,
) -> "Figure":
    """Returns a figure of where codes lie in the latent space, coloured by label.

    Grey circles are 1, 2 and 3 standard deviations of the prior N(0, I). More than two dimensions
    are turned to the two principal components of the codes. One dimension makes a histogram of each
    class, without ellipses, or a single one where the labels name no classes.

    Args:
        codes: Means of q(z|x), (n, D).
        labels: (n,), if any. Words, whole numbers and truth values name up to thirty classes: ten
            have a colour and a place in the legend; more are named where they lie, or in the legend
            too where there is but one dimension. Above thirty, words are coloured in their order
            and nothing names them. Above thirty whole numbers, and other numbers, make a colour
            bar.
        stddevs: Standard deviations of q(z|x), (n, D), if any: twelve points, spread over the
            labels, get the ellipse of two standard deviations.
        label_names: What classes are called, in rising order of the labels; of numbers that make a
            colour bar, one name for that.
        title: Drawn above, if any.
        axes: Where to draw; those of a new figure by default.

    Raises:
        ValueError: if lengths do not agree, or a value is NaN or infinite.
    """
    codes = base.finite("codes", codes, ("n", "D")).astype(np.float64)
    colours = _colours(labels, codes.shape, list(label_names))
    drawn = base.panel(*_size(codes.shape[1], len(colours.legend)), axes)
    if codes.shape[1] == 1:
        _density(drawn, codes[:, 0], colours)
    else:
        plane = _project(codes)
        _points(drawn, plane, colours)
        _circles(drawn, plane.centre)
        if stddevs is not None:
            stddevs = base.finite("stddevs", stddevs, codes.shape)
            _ellipses(drawn, plane, stddevs, colours)
        _name_classes(drawn, plane.codes, colours)
    _legend(drawn, colours, codes.shape[1] > 1, stddevs is not None)
    base.entitle(drawn, title)
    base.plain(drawn)
    drawn.autoscale_view()
    return base.settled(drawn, axes)


def _size(dims: int, named: int) -> tuple[float, float]:
    """Returns the inches of a figure of so many dimensions and classes in the legend."""
    if dims == 1:
        return (6.2 if named <= len(CLASSES) else 7.4), 3.4
    return (6.4, 5.0) if named else (5.8, 5.6)


def _colours(labels: Any, shape: tuple[int, ...], names: Sequence[str]) -> _Colours:
    """Returns the colours of codes (n, D)."""
    count, dims = shape
    if labels is None:
        return _Colours(_rgba([base.BLUE] * count), np.zeros(count, int))
    labels = base.decoded(labels)
    if labels.shape != (count,):
        raise ValueError(
            f"labels has shape {labels.shape}; expected ({count},), one label for each code. Of "
            "several columns choose one, labels[:, 0]."
        )
    if labels.dtype.kind in "fiub":
        base.finite("labels", labels, ("n",))
    classes, group = np.unique(labels, return_inverse=True)
    real = labels.dtype.kind == "f" and (labels != np.round(labels)).any()
    if real or (labels.dtype.kind in "fiu" and len(classes) > MOST_CLASSES):
        return _scaled(labels, names)
    if len(classes) > MOST_CLASSES:
        return _Colours(_ramp(len(classes))[group])
    whole = classes.astype(int) if labels.dtype.kind == "f" else classes
    return _classed(group, names or list(whole), MOST_CLASSES if dims == 1 else len(CLASSES))


def _scaled(labels: np.ndarray, names: Sequence[str]) -> _Colours:
    import matplotlib
    from matplotlib.cm import ScalarMappable

    scale = ScalarMappable(cmap=matplotlib.colormaps["viridis"])
    scale.set_clim(labels.min(), labels.max())
    title = str(base.decoded(names)[0]) if len(names) == 1 else "label"
    return _Colours(scale.to_rgba(labels.astype(np.float64)), scale=scale, title=title)


def _classed(group: np.ndarray, names: Sequence[Any], most: int) -> _Colours:
    """Returns the colours of classes, of which a legend names at most `most`."""
    count = int(group.max()) + 1
    if len(names) < count:
        raise ValueError(
            f"label_names holds {len(names)} name(s), and there are {count} classes; expected a "
            "name for each, in rising order of the labels."
        )
    palette = _rgba(CLASSES)[:count] if count <= len(CLASSES) else _ramp(count)
    legend = palette if count <= most else ()
    return _Colours(palette[group], group, tuple(map(str, base.decoded(names))), legend)


def _ramp(count: int) -> np.ndarray:
    """Returns colours in order, for more classes than have one of their own, (count, 4)."""
    import matplotlib

    return matplotlib.colormaps["viridis"](np.linspace(0.0, 0.95, count))


def _rgba(colours: Sequence[Any]) -> np.ndarray:
    from matplotlib.colors import to_rgba_array

    return to_rgba_array(list(colours))


def _project(codes: np.ndarray) -> _Plane:
    """Returns the codes in their plane: the two dimensions, or two principal components."""
    dims = codes.shape[1]
    if dims == 2 or len(codes) == 1 or not np.ptp(codes, axis=0).any():
        return _Plane(codes[:, :2], np.eye(2, dims), np.zeros(2), ("z0", "z1"))
    from sklearn.decomposition import PCA

    pca = PCA(2, svd_solver="full").fit(codes)
    shares = np.round(100.0 * pca.explained_variance_ratio_)
    names = [
        f"principal component {1 + i} ({share:.0f} % of variance)" for i, share in enumerate(shares)
    ]
    centre = pca.transform(np.zeros((1, dims)))[0]
    return _Plane(pca.transform(codes), pca.components_, centre, (names[0], names[1]))


def _points(axes: Any, plane: _Plane, colours: _Colours) -> None:
    count = len(plane.codes)
    size = float(np.clip(16000 / count, 5, 25))
    style = {"s": size, "alpha": 0.8 if count < 2000 else 0.6, "linewidths": 0}
    axes.scatter(*plane.codes.T, c=colours.points, rasterized=count > 5000, **style)
    axes.set_aspect("equal", adjustable="box")
    axes.set_xlabel(plane.names[0], fontsize=base.LABEL)
    axes.set_ylabel(plane.names[1], fontsize=base.LABEL)


def _circles(axes: Any, centre: np.ndarray) -> None:
    from matplotlib.patches import Circle

    for radius in (1.0, 2.0, 3.0):
        style = {"edgecolor": base.GREY, "linewidth": 0.8, "alpha": 0.7, "zorder": 2.5}
        axes.add_patch(Circle(centre, radius, fill=False, **style))


def _ellipses(axes: Any, plane: _Plane, stddevs: np.ndarray, colours: _Colours) -> None:
    """Draws q(z|x) of a few points, as far as two standard deviations in the plane."""
    from matplotlib.patches import Ellipse

    for index in _spread(plane.codes, colours.group):
        covariance = plane.rotation * stddevs[index] ** 2 @ plane.rotation.T
        variances, axis = np.linalg.eigh(covariance)
        width, height = 4.0 * np.sqrt(np.maximum(variances, 0.0))  # from -2 to 2 deviations
        angle = float(np.degrees(np.arctan2(axis[1, 0], axis[0, 0])))
        place = plane.codes[index]
        for colour, line in (("white", 3.0), (colours.points[index], 1.5)):
            style = {"edgecolor": colour, "linewidth": line, "zorder": 3, "fill": False}
            axes.add_patch(Ellipse(place, width, height, angle=angle, **style))


def _spread(codes: np.ndarray, group: np.ndarray | None) -> list[int]:
    """Returns which points get an ellipse: one of each class in turn, or evenly spaced ones."""
    count = len(codes)
    if group is None or not group.any():
        return np.unique(np.linspace(0, count - 1, min(count, ELLIPSES)).astype(int)).tolist()
    turn = np.zeros(count, int)
    for each in np.unique(group):
        members = np.flatnonzero(group == each)
        turn[members] = np.arange(len(members))
    return np.lexsort((group, turn))[:ELLIPSES].tolist()


def _name_classes(axes: Any, codes: np.ndarray, colours: _Colours) -> None:
    """Writes the names of classes that are too many for a legend where their middles lie."""
    from matplotlib.patheffects import withStroke

    if colours.group is None or len(colours.legend) or not colours.names:
        return
    for each in np.unique(colours.group):
        place = np.median(codes[colours.group == each], axis=0)
        style = {"fontsize": base.TICK, "ha": "center", "va": "center", "zorder": 4}
        style["parse_math"] = False
        outline = [withStroke(linewidth=2.5, foreground="white")]
        axes.text(*place, colours.names[each], path_effects=outline, **style)


def _density(axes: Any, codes: np.ndarray, colours: _Colours) -> None:
    """Draws a histogram of one-dimensional codes for each class."""
    edges = np.histogram_bin_edges(codes, bins=40)
    group = np.zeros(len(codes), int) if colours.group is None else colours.group
    for each in np.unique(group):
        members = group == each
        counts, _ = np.histogram(codes[members], edges)
        colour = base.BLUE if colours.group is None else colours.points[members][0]
        axes.stairs(counts, edges, color=colour, linewidth=1.5)
    places = np.linspace(min(edges[0], -3.0), max(edges[-1], 3.0), 200)
    density = np.exp(-0.5 * places**2) / np.sqrt(2.0 * np.pi)
    share = len(codes) / len(np.unique(group)) * (edges[1] - edges[0])
    axes.plot(places, share * density, color=base.GREY, linewidth=0.8)
    axes.set_xlabel("z0", fontsize=base.LABEL)
    axes.set_ylabel("codes", fontsize=base.LABEL)


def _legend(axes: Any, colours: _Colours, plane: bool, ellipses: bool) -> None:
    from matplotlib.lines import Line2D

    dot = {"linestyle": "", "marker": "o", "markersize": 5}
    handles = [
        Line2D([], [], color=c, label=n, **dot) for c, n in zip(colours.legend, colours.names)
    ]
    if ellipses and plane:
        words = "q(z|x), 2 standard\ndeviations"
        handles.append(Line2D([], [], color=base.BLACK, linewidth=1.5, label=words))
    words = "p(z), 1 to 3 standard\ndeviations" if plane else "p(z)"
    handles.append(Line2D([], [], color=base.GREY, linewidth=0.8, label=words))
    if len(colours.legend):
        place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
        style = {"fontsize": base.TICK, "frameon": False, "ncols": 1 if len(handles) < 16 else 2}
        for text in axes.legend(handles=handles, **style, **place).get_texts():
            text.set_parse_math(False)
    else:
        for handle in handles:
            handle.set_label(handle.get_label().replace("\n", " "))
        base.legend_below(axes, handles, 2)
    if colours.scale is not None and plane:
        bar = axes.figure.colorbar(colours.scale, ax=axes, shrink=0.7)
        bar.set_label(colours.title, fontsize=base.LABEL, parse_math=False)
        bar.ax.tick_params(labelsize=base.TICK)


def kl_per_dimension(kl: Any, active: Any = None, *, axes: "Axes | None" = None) -> "Figure":
    """Returns a bar for the KL of each latent dimension, in falling order.

    Args:
        kl: KL(q(z|x) || p(z)) of each dimension, (D,), in nats.
        active: Which dimensions are in use, (D,) of truth values, if known; they are coloured and
            counted.
        axes: Where to draw; those of a new figure by default.

    Raises:
        ValueError: if the lengths differ, or a value is NaN or infinite.
    """
    kl = base.finite("kl", kl, ("D",))
    order, count = base.kl_order(kl), len(kl)
    axes = base.panel(float(np.clip(1.5 + 0.25 * count, 3.6, 7.0)), 2.8, axes)
    title = f"{kl.sum():.1f} nats over {count} dimension{'' if count == 1 else 's'}"
    colours = [base.BLUE] * count
    if active is not None:
        active = base.finite("active", active, (count,)).astype(bool)
        title = f"{active.sum()} of {count} active"
        colours = [base.BLUE if each else base.GREY for each in active[order]]
    width = 0.7 if count <= 40 else 1.0
    axes.bar(np.arange(count), kl[order], width=width, color=colours)
    margin = 0.7 + max(4 - count, 0) / 2  # so that one or two bars are no walls
    axes.set_xlim(-margin, count - 1 + margin)
    axes.set_ylabel("KL (nats)", fontsize=base.LABEL)
    base.entitle(axes, title)
    base.plain(axes)
    _name_dimensions(axes, order)
    return base.root(axes)


def _name_dimensions(axes: Any, order: np.ndarray) -> None:
    """Names each bar where they are few, and counts them where they are many."""
    if len(order) <= 40:
        size = base.TICK if len(order) <= 24 else 6
        axes.set_xticks(np.arange(len(order)), [str(dim) for dim in order], fontsize=size)
        axes.set_xlabel("latent dimension", fontsize=base.LABEL)
        axes.tick_params(axis="x", length=0)
    else:
        axes.set_xlabel("latent dimensions, by falling KL", fontsize=base.LABEL)
