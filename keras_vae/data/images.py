"""Folders of image files, decoded as they are needed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae._types import Tensor
from keras_vae.data.base import Examples, Indexed, Source, resized

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
#: Folder names that stand for splits; any other sub-folder is a class.
SPLITS = {"train": ("train",), "validation": ("validation", "val", "valid"), "test": ("test",)}


class ImageExamples(Examples):
    """Image files, decoded to one size and number of channels when gathered.

    Args:
        paths: The files.
        side: (height, width) every image is resized to.
        channels: 1 for grey, 3 for colour.
    """

    def __init__(self, paths: Sequence[Path], side: tuple[int, int], channels: int) -> None:
        self.paths = [str(path) for path in paths]
        self.count, self.event_shape = len(paths), (*side, channels)
        self.dtype, self.extremes = np.dtype(np.uint8), (0.0, 255.0)

    def gather(self, index: Tensor) -> Tensor:
        """Returns the images at `index` (B,), (B, H, W, C) uint8."""
        paths = tf.gather(tf.constant(self.paths), index)
        spec = tf.TensorSpec(self.event_shape, tf.uint8)
        return tf.map_fn(self._decode, paths, fn_output_signature=spec, parallel_iterations=8)

    def _decode(self, path: Tensor) -> Tensor:
        height, width, channels = self.event_shape
        image = tf.io.decode_image(tf.io.read_file(path), channels, expand_animations=False)
        return tf.ensure_shape(resized(image, (height, width)), self.event_shape)


def read(folder: Path, side: tuple[int, int] | None = None, skip_corrupt: bool = False) -> Source:
    """Returns the source in a folder of images: `train/`, `test/`, classes below, or all in one.

    Args:
        folder: Searched to any depth. Sub-folders called train, validation and test are the splits;
            sub-folders within a split are classes, which give the labels.
        side: (height, width) to resize to; None takes the size of the files, which must be one.
        skip_corrupt: Leave out files that cannot be decoded instead of refusing the folder.

    Raises:
        ValueError: for no images, a corrupt one (named), or several sizes without `side`.
    """
    splits = {}
    for split, names in SPLITS.items():
        inside = next((folder / name for name in names if (folder / name).is_dir()), None)
        if inside is not None:
            splits[split] = (inside, _files(inside))
    if "train" not in splits:
        splits = {"train": (folder, _files(folder))}
    kept = {split: _sound(files, skip_corrupt) for split, (_, files) in splits.items()}
    sizes = {size for files in kept.values() for _, size, _ in files}
    if not kept["train"]:
        raise ValueError(
            f"{folder} holds no image; expected files ending in {', '.join(SUFFIXES)}."
        )
    if side is None and len(sizes) > 1:
        few = ", ".join(f"{h}x{w}" for h, w in sorted(sizes)[:3])
        raise ValueError(
            f"{folder} holds images of {len(sizes)} sizes ({few}, ...); expected one size, or say "
            "what to resize to: image_size=(64, 64), --image-size 64."
        )
    channels = max(count for files in kept.values() for *_, count in files)
    target = side or next(iter(sizes))
    classes = sorted({_class(path, root) for root, files in splits.values() for path in files})
    made: dict[str, Any] = {
        split: _split(splits[split][0], [path for path, *_ in files], target, channels, classes)
        for split, files in kept.items()
    }
    return Source(folder.name, **made, label_names=tuple(classes))


def _files(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if path.is_file())


def _sound(files: list[Path], skip_corrupt: bool) -> list[tuple[Path, tuple[int, int], int]]:
    """Returns each file with its size and channels, having checked that it is whole."""
    from PIL import Image, UnidentifiedImageError

    kept = []
    for path in files:
        try:
            with Image.open(path) as image:
                size, grey = (image.height, image.width), image.mode in ("1", "L", "I", "I;16")
                image.draft("L", (1, 1))  # a JPEG is then decoded at an eighth of its size
                image.load()
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
            if skip_corrupt:
                continue
            raise ValueError(
                f"The image {path} could not be decoded ({error}); expected a whole image file. "
                "Remove it, or leave such files out with skip_corrupt=True."
            ) from error
        kept.append((path, size, 1 if grey else 3))
    return kept


def _class(path: Path, root: Path) -> str:
    parts = path.relative_to(root).parts
    return parts[0] if len(parts) > 1 else ""


def _split(
    root: Path, paths: list[Path], side: tuple[int, int], channels: int, classes: list[str]
) -> Indexed:
    labels = None
    if len(classes) > 1:
        labels = np.array([classes.index(_class(path, root)) for path in paths])
    return Indexed(ImageExamples(paths, side, channels), labels)
