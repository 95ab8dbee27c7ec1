"""Data sets of TensorFlow Datasets: `mnist`, `fashion_mnist` and every other registered name."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae import _checks
from keras_vae._types import Tensor
from keras_vae.data import base
from keras_vae.data.base import ArrayExamples, Indexed, Source, Split, Streamed

#: Sets that are usually binarised by drawing x ~ Bernoulli(grey level).
BINARISED = ("mnist", "fashion_mnist", "omniglot")
#: Which of a set's splits serve as ours, in order of preference.
SPLITS = {"train": ("train",), "validation": ("validation", "valid"), "test": ("test",)}


def data_dir() -> Path:
    """Returns the folder TensorFlow Datasets keeps its data in.

    Raises:
        ValueError: if `TFDS_DATA_DIR` names the home of a user there is not.
    """
    place = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    try:
        return Path(place).expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"TFDS_DATA_DIR is {place!r}, which cannot be looked up ({error}); expected a folder. "
            "Give its whole path."
        ) from error


def prepared() -> list[str]:
    """Returns the names that are prepared in `data_dir`, sorted."""
    root = data_dir()
    found = (info for depth in ("*/*", "*/*/*") for info in root.glob(f"{depth}/dataset_info.json"))
    return sorted({info.relative_to(root).parents[1].as_posix() for info in found})


def is_known(name: str) -> bool:
    """Returns whether a set of this name is prepared, or TensorFlow Datasets can prepare it."""
    return _path(name) is not None or name.split("/")[0].split(":")[0] in _registered()


def near(name: str) -> str:
    """Returns " Did you mean 'x'?" or "" for a name that is not registered."""
    return _checks.near(name, _registered())


def _registered() -> list[str]:
    import tensorflow_datasets as tfds

    return tfds.list_builders(with_community_datasets=False)


def source(name: str, side: tuple[int, int] | None = None, download: bool = False) -> Source:
    """Returns a prepared set, held in memory as it is stored, or streamed where it is too large.

    Args:
        name: A registered name.
        side: (height, width) images are resized to; needed where they are of several sizes.
        download: Fetch and prepare the set where it is absent. Otherwise the network is not
            touched.

    Raises:
        ValueError: if the set is not prepared, naming the command that prepares it; or if it holds
            no images, or images of several sizes and no `side` is given.
    """
    import tensorflow_datasets as tfds

    path = _path(name)
    if path is None and not download:
        raise ValueError(
            f"The data set {name!r} is not prepared in {data_dir()}, and nothing is fetched "
            "unasked. Add --download (download=True), run `tfds build " + name + "`, or set "
            "TFDS_DATA_DIR to a folder that holds it."
        )
    if path is None:
        builder = tfds.builder(name, data_dir=data_dir())
        builder.download_and_prepare()
    else:  # what is on the disk says all; to ask by name might ask the network too
        builder = tfds.builder_from_directory(path)
    key, shape = _image(name, builder.info.features, side)
    splits: dict[str, Any] = {}
    for ours, theirs in SPLITS.items():
        chosen = next((split for split in theirs if split in builder.info.splits), None)
        if chosen is not None:
            splits[ours] = _split(builder, chosen, key, shape, side)
    if "train" not in splits:
        raise ValueError(
            f"The data set {name!r} has the splits {', '.join(builder.info.splits)}; expected one "
            "called 'train'."
        )
    features = dict(builder.info.features.items())
    names = tuple(getattr(features.get("label"), "names", None) or ())
    binarize = "dynamic" if name.split("/")[0] in BINARISED else None
    return Source(name.replace("/", "_"), **splits, binarize=binarize, label_names=names)


def _path(name: str) -> Path | None:
    """Returns the folder of the newest prepared version of NAME, NAME/CONFIG or NAME:VERSION."""
    name, _, version = name.partition(":")
    if not re.match(r"\w", name):  # the folder of all sets, or one outside it
        return None
    found = [info.parent for info in (data_dir() / name).glob("**/dataset_info.json")]
    found = [path for path in found if version in ("", path.name)]
    configs = {path.parent for path in found}
    if len(configs) > 1:
        known = ", ".join(sorted(f"{name}/{path.name}" for path in configs))
        raise ValueError(f"The data set {name!r} is prepared as {known}; expected one of these.")
    numbers = {path: [int(part) for part in re.findall(r"\d+", path.name)] for path in found}
    return max(found, key=numbers.__getitem__) if found else None


def _image(name: str, features: Any, side: Any) -> tuple[str, tuple[int, ...]]:
    """Returns the key of the images and the shape they will have."""
    shapes = {key: each.shape for key, each in features.items() if key in ("image", "x")}
    for key, shape in shapes.items():
        if len(shape) == 3 and shape[2] is not None and side is not None:
            return str(key), (*side, shape[2])
        if shape and None not in shape and side is None:
            return str(key), tuple(shape)
    remedy = "Say what to resize to: image_size=64, --image-size 64." if shapes and not side else ""
    raise ValueError(
        f"The data set {name!r} has the features {', '.join(features)}"
        + "".join(f", {key!r} of shape {shape}" for key, shape in shapes.items())
        + f"; expected an 'image' of one shape. {remedy}".rstrip()
    )


def _split(builder: Any, split: str, key: str, shape: tuple[int, ...], side: Any) -> Split:
    """Returns a split as arrays, filled batch by batch so that one copy is held, or as a stream."""
    import tensorflow_datasets as tfds

    count = builder.info.splits[split].num_examples
    feature = builder.info.features[key]
    stored = np.dtype(feature.np_dtype)
    dtype = stored if side is None or stored == np.uint8 else np.dtype(np.float32)
    label: Any = dict(builder.info.features.items()).get("label")
    labelled = isinstance(getattr(label, "shape", None), tuple) and None not in label.shape
    read = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)

    def named(found: dict[str, Tensor]) -> dict[str, Tensor]:
        x = found[key] if side is None else _resized(found[key], side)
        return {"x": x, "labels": found["label"]} if labelled else {"x": x}

    def stream(start: int, stop: int) -> tf.data.Dataset:
        part = f"{split}[{start}:{stop}]"
        return builder.as_dataset(split=part, read_config=read).map(
            named, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    streamed = Streamed(stream, count, shape, dtype, labelled, _extremes(dtype))
    if count * int(np.prod(shape)) * dtype.itemsize > base.IN_MEMORY:
        return streamed
    x = np.empty((count, *shape), dtype)
    labels = np.empty((count, *label.shape), label.np_dtype) if labelled else None
    start = 0
    for batch in streamed.batches(1000, labelled).as_numpy_iterator():
        stop = start + len(batch["x"])
        x[start:stop] = batch["x"]
        if labels is not None:
            labels[start:stop] = batch["labels"]
        start = stop
    return Indexed(ArrayExamples(x), labels)


def _resized(image: Tensor, side: tuple[int, int]) -> Tensor:
    """Returns an image (H, W, C) resized to (height, width), anti-aliased, uint8 or float32."""
    values = tf.image.resize(tf.cast(image, tf.float32), side, antialias=True)
    return tf.saturate_cast(tf.round(values), tf.uint8) if image.dtype == tf.uint8 else values


def _extremes(dtype: np.dtype) -> tuple[float, float] | None:
    return (0.0, 255.0) if dtype == np.uint8 else None
