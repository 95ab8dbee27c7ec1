"""Folders of image files, decoded as they are needed."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae._types import Tensor
from keras_vae.data.base import Examples, Indexed, Source, still_readable

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
#: What files of these names may hold. Pillow would run Ghostscript for others.
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "TIFF", "WEBP")
#: Of one image, 8192 x 8192. An image that is mostly one colour is a thousandth of that as a file.
MOST_PIXELS = 2**26
#: Folder names that stand for splits, in any case; any other sub-folder is a class.
SPLITS = {"train": ("train",), "validation": ("validation", "val", "valid"), "test": ("test",)}
_DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_GREY = ("1", "L", "LA", "La", *_DEEP)
_ORIENTATION, _ON_THEIR_SIDE = 0x0112, (5, 6, 7, 8)


class ImageExamples(Examples):
    """Image files, decoded to one size and number of channels when gathered.

    Args:
        paths: The files.
        side: (height, width) every image is resized to.
        channels: 1 for grey, 3 for colour.
    """

    def __init__(self, paths: Sequence[Path], side: tuple[int, int], channels: int) -> None:
        self.paths = list(paths)
        self.count, self.event_shape = len(paths), (*side, channels)
        self.dtype, self.extremes = np.dtype(np.uint8), (0.0, 255.0)

    def gather(self, index: Tensor) -> Tensor:
        """Returns the images at `index` (B,), (B, H, W, C) uint8."""

        def read(places: np.ndarray) -> np.ndarray:
            return np.stack([self._read(self.paths[place]) for place in places])

        images = tf.numpy_function(read, [index], tf.uint8, stateful=False)
        return tf.ensure_shape(images, (None, *self.event_shape))

    def _read(self, path: Path) -> np.ndarray:
        with still_readable(path):
            return decoded(path, self.event_shape)


def decoded(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the first frame of an image file as uint8 of a shape (H, W, C), C being 1 or 3.

    It stands as its EXIF entry says. Alpha is dropped, palettes are looked up, and grey levels of
    16 bits divided by 257. Another size is made by a triangle as wide as the shrinking asks for.
    """
    from PIL import Image, ImageOps

    height, width, channels = shape
    with _opened(path) as file:
        file.draft(None, (2 * max(height, width),) * 2)  # a JPEG may be decoded smaller
        image: Image.Image = ImageOps.exif_transpose(file)
        if image.mode in _DEEP:
            levels = np.clip(np.asarray(image, np.float64), 0, 65535) / 257.0
            image = Image.fromarray(np.round(levels).astype(np.uint8))
        image = image.convert("L" if channels == 1 else "RGB")
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(image).reshape(shape)


def read(folder: Path, side: tuple[int, int] | None = None, skip_corrupt: bool = False) -> Source:
    """Returns the source in a folder of images: `train/`, `test/`, classes below, or all in one.

    Args:
        folder: Searched to any depth, through links. Sub-folders called train, validation and test
            are the splits; sub-folders within a split are classes, which give the labels. What is
            to be split is taken in a fixed permutation, since files are sorted by class.
        side: (height, width) to resize to; None takes the size of the files, which must be one.
        skip_corrupt: Leave out files that cannot be decoded instead of refusing the folder.

    Raises:
        ValueError: for no images, a corrupt one (named), several sizes without `side`, or splits
            without `train/`.
    """
    splits = _folders(folder) or {"train": folder}
    files = {split: _files(inside) for split, inside in splits.items()}
    beside = [] if splits["train"] == folder else _files(folder, frozenset(splits.values()))
    if beside:
        raise ValueError(
            f"{folder} holds {len(beside)} image(s) beside the folders of its splits, such as "
            f"{beside[0]}; expected all of them within {', '.join(p.name for p in splits.values())}"
            ". Move or remove them."
        )
    kept = {split: _sound(paths, skip_corrupt) for split, paths in files.items()}
    sizes = {size for each in kept.values() for _, size, _ in each}
    if not kept["train"]:
        raise ValueError(
            f"{splits['train']} holds no image; expected files ending in {', '.join(SUFFIXES)}."
        )
    if side is None and len(sizes) > 1:
        few = ", ".join(f"{h}x{w}" for h, w in sorted(sizes)[:3])
        raise ValueError(
            f"{folder} holds images of {len(sizes)} sizes ({few}, ...); expected one size, or say "
            "what to resize to: image_size=(64, 64), --image-size 64."
        )
    channels = max(count for each in kept.values() for *_, count in each)
    shape = (*(side or next(iter(sizes))), channels)
    classes = sorted({_class(path, splits[split]) for split in files for path in files[split]})
    if len(splits) < len(SPLITS):
        order = np.random.default_rng(0).permutation(len(kept["train"]))
        kept["train"] = [kept["train"][place] for place in order]
    made: dict[str, Any] = {
        split: _split(splits[split], [path for path, *_ in each], shape, classes)
        for split, each in kept.items()
    }
    return Source(folder.name, **made, label_names=tuple(classes))


def _folders(folder: Path) -> dict[str, Path]:
    """Returns split -> its folder, or nothing where no sub-folder is a split."""
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    found: dict[str, Path] = {}
    for split, names in SPLITS.items():
        called = [path for path in inside if path.name.lower() in names]
        if len(called) > 1:
            raise ValueError(
                f"{folder} holds {' and '.join(path.name for path in called)}; expected one folder "
                f"for the {split} images. Rename or remove the other."
            )
        if called:
            found[split] = called[0]
    if found and "train" not in found:
        raise ValueError(
            f"{folder} holds {' and '.join(path.name for path in found.values())}, but no folder "
            "'train'; expected the training images there. Rename their folder, or move the others "
            "elsewhere."
        )
    return found


def _files(
    folder: Path, without: frozenset[Path] = frozenset(), above: frozenset[Path] = frozenset()
) -> list[Path]:
    """Returns the images below a folder, sorted, through links but not round in circles."""
    real = folder.resolve()
    found: list[Path] = []
    for path in [] if real in above else sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == "__MACOSX" or path in without:
            continue
        if path.is_dir():
            found += _files(path, without, above | {real})
        elif path.suffix.lower() in SUFFIXES and path.is_file():
            found.append(path)
    return found


def _sound(files: list[Path], skip_corrupt: bool) -> list[tuple[Path, tuple[int, int], int]]:
    """Returns each file with its size and channels, having checked that it is whole."""
    kept = []
    for path in files:
        try:
            kept.append((path, *_measured(path)))
        except Exception as error:  # damaged images raise errors of many kinds
            if skip_corrupt:
                continue
            raise ValueError(
                f"The image {path} could not be decoded ({error}); expected a whole image file of "
                f"at most {MOST_PIXELS:,} pixels. Remove it, or leave such files out with "
                "skip_corrupt=True."
            ) from error
    return kept


def _opened(path: Path) -> Any:
    """Returns a file's image, of which nothing is decoded yet."""
    from PIL import Image

    Image.init()
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])


def _measured(path: Path) -> tuple[tuple[int, int], int]:
    """Returns the (height, width) of a file's image as it stands, and its channels."""
    with _opened(path) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"it has {image.width} x {image.height} pixels")
        size, grey = (image.height, image.width), image.mode in _GREY
        if image.getexif().get(_ORIENTATION) in _ON_THEIR_SIDE:
            size = size[::-1]
        image.draft("L", (1, 1))  # a JPEG is then decoded at an eighth of its size
        image.load()
        if image.mode in ("P", "PA"):
            colours = np.asarray(image.convert("RGB"))
            grey = bool((colours == colours[..., :1]).all())
    return size, 1 if grey else 3


def _class(path: Path, root: Path) -> str:
    parts = path.relative_to(root).parts
    return parts[0] if len(parts) > 1 else ""


def _split(root: Path, paths: list[Path], shape: tuple[int, ...], classes: list[str]) -> Indexed:
    labels = None
    if len(classes) > 1:
        labels = np.array([classes.index(_class(path, root)) for path in paths], np.int64)
    return Indexed(ImageExamples(paths, (shape[0], shape[1]), shape[2]), labels)
