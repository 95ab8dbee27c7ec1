"""What a `.keras` file may hold, checked before Keras sees it."""

import contextlib
import io
import json
import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_vae import _checks
from keras_vae._version import FORMAT, __version__

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
#: Of layers that bring files, such as vocabularies.
_ASSETS = re.compile(r"assets(/(?!\.)[\w.() -]+)*/?")
#: Members, bytes of the archive's directory, and bytes that are read at a time.
MOST_MEMBERS, _DIRECTORY, _CHUNK = 1000, 2**20, 2**18
#: Bytes of a JSON member. A model of thousands of layers has a few million.
MOST_JSON = 2**23
#: How deep a config may be nested; models within models have about 10 levels each.
DEEPEST = 100
#: All members may be this many times larger than they are stored, or this many bytes.
MOST_EXPANSION, FREE = 20, 2**24
#: Groups and arrays of the weights.
MOST_OBJECTS = 100_000
#: How many times the bytes of its weights a file may make a model allocate: optimisers that were
#: not saved have some more per weight.
MOST_COPIES = 8
#: Keras's classes that hold code, or open files.
_CODE = ("Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
#: Where Keras's classes and functions may come from: `keras`, or `keras.` and one of these.
_PARTS = "activations constraints dtype_policies initializers layers losses metrics models ops"
_HOUSES = frozenset(f"{_PARTS} optimizers quantizers random regularizers src".split())
_DTYPE = re.compile(r"bool|u?int\d{1,2}|b?float\d{1,2}(_\w+)?")
_TRUST = "expected one that vae.save wrote. Take it from where you trust, or save it anew."


class RefusedError(ValueError):
    """A file that holds what `vae.save` would not have written; the message says what."""


class _Guarded(io.BufferedReader):
    """A file that is never read much of at a time, as zipfile would a directory that lies."""

    def read(self, size: int | None = -1) -> bytes:
        """Returns the next bytes, or all that are left."""
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if size > _DIRECTORY:
            raise RefusedError(
                f"{self.name} has a directory of {size:,} bytes; expected an archive of few members"
            )
        return super().read(size)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Opens an archive whose directory is not too large to read."""
    with _Guarded(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
        yield archive


def check(path: Path) -> tuple[dict[str, Any], int]:
    """Returns the config in a `.keras` file and the bytes of its weights, having checked all of it.

    Nothing larger than the file warrants is allocated, and no object is made.

    Raises:
        RefusedError: for members, sizes, classes or weights that `vae.save` would not have written.
        OSError, zipfile.BadZipFile, and others: if it is damaged.
    """
    with opened(path) as archive:
        found = _members(path, archive)
        _parsed(path, archive, found[_METADATA])
        config = _parsed(path, archive, found[_CONFIG])
        _check_format(path, config)
        _check_classes(path, config)
        weights = io.BytesIO()
        for part in _parts(archive, found[_WEIGHTS]):
            weights.write(part)
    return config, _check_weights(path, weights)


# The archive


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Returns the members by name."""
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise RefusedError(f"{path} holds {len(members)} members; {_TRUST}")
    for member in members:
        _check_member(path, member)
    held = sum(member.file_size for member in members)
    stored = sum(member.compress_size for member in members)
    if held > max(FREE, MOST_EXPANSION * stored):
        raise RefusedError(f"{path} holds {held:,} bytes in {stored:,}; {_TRUST}")
    found = {member.filename: member for member in members}
    for name in (_CONFIG, _METADATA, _WEIGHTS):
        if name not in found:
            raise RefusedError(f"{path} lacks {name}; {_TRUST}")
    if len(found) < len(members):
        raise RefusedError(f"{path} holds two members of one name; {_TRUST}")
    ordered = sorted(members, key=lambda member: member.header_offset)
    starts = [member.header_offset for member in ordered[1:]] + [archive.start_dir]
    for member, start in zip(ordered, starts, strict=True):
        if member.header_offset + member.compress_size > start:
            raise RefusedError(f"{path} holds members that overlap; {_TRUST}")
    return found


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    name = _checks.brief(repr(member.filename))
    known = (_CONFIG, _METADATA, _WEIGHTS)
    if member.filename not in known and not _ASSETS.fullmatch(member.filename):
        raise RefusedError(f"{path} holds the member {name}; {_TRUST}")
    linked = stat.S_ISLNK(member.external_attr >> 16)
    kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if linked or member.flag_bits & 1 or member.compress_type not in kinds:
        raise RefusedError(
            f"{path} holds {name} as a link, encrypted or oddly compressed; {_TRUST}"
        )
    if member.filename.endswith(".json") and member.file_size > MOST_JSON:
        raise RefusedError(f"{path} holds {name} of {member.file_size:,} bytes; {_TRUST}")


def _parts(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yields the bytes of a member, no more than it declares; at the end they were sound."""
    count = 0
    with archive.open(member) as opened:
        while part := opened.read(_CHUNK):
            count += len(part)
            yield part
    if count != member.file_size:
        raise zipfile.BadZipFile(f"{member.filename} is shorter than it says")


# The config


def _parsed(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> dict[str, Any]:
    try:
        values = json.loads(b"".join(_parts(archive, member)))
    except RecursionError as error:
        raise RefusedError(f"{path} holds {member.filename} nested too deep; {_TRUST}") from error
    if not isinstance(values, dict):
        raise RefusedError(f"{path} holds {member.filename} that is no object; {_TRUST}")
    for _ in _dicts(path, values):  # measures the depth
        pass
    return values


def _dicts(path: Path, value: Any) -> Iterator[dict[str, Any]]:
    """Yields the objects within a JSON value."""
    waiting = [(value, 0)]
    while waiting:
        each, depth = waiting.pop()
        if depth > DEEPEST:
            raise RefusedError(f"{path} holds JSON nested more than {DEEPEST} deep; {_TRUST}")
        if isinstance(each, dict):
            yield each
            waiting += [(inner, depth + 1) for inner in each.values()]
        elif isinstance(each, list):
            waiting += [(inner, depth + 1) for inner in each]


def _check_format(path: Path, config: dict[str, Any]) -> None:
    inner = config.get("config")
    if isinstance(inner, dict):
        check_format(str(path), inner)


def check_format(what: str, config: dict[str, Any]) -> None:
    """Raises for the config of a model whose format is newer than what this version reads.

    Raises:
        RefusedError: with both versions.
    """
    found = config.get("format", 0)
    if not isinstance(found, int) or found > FORMAT:
        writer = _checks.brief(config.get("written_by", "another version"), 40)
        raise RefusedError(
            f"{what} was written by keras_vae {writer} in format {_checks.brief(found, 40)}; this "
            f"is keras_vae {__version__}, which reads formats up to {FORMAT}. Upgrade keras_vae: "
            "pip install --upgrade keras_vae."
        )


def _check_classes(path: Path, config: dict[str, Any]) -> None:
    for each in _dicts(path, config):
        if "class_name" in each:
            _check_class(path, each)


def _check_class(path: Path, config: dict[str, Any]) -> None:
    name, module = config["class_name"], config.get("module")
    called = config.get("config") if name == "function" else config.get("registered_name", name)
    if not all(isinstance(each, str | None) for each in (name, module, called)):
        raise RefusedError(f"{path} names a class by {_checks.brief(name)}; {_TRUST}")
    if called is not None and keras.saving.get_registered_object(called) is not None:
        return
    if name in _CODE:
        raise RefusedError(
            f"{path} holds the layer {name}, which is code or opens files; expected none. Make a "
            "layer of your own of it, register it with keras.saving.register_keras_serializable, "
            "and save the model anew."
        )
    if name in ("__tensor__", "__numpy__"):
        inner = config.get("config")
        dtype = inner.get("dtype") if isinstance(inner, dict) else None
        if not isinstance(dtype, str) or not _DTYPE.fullmatch(dtype):
            raise RefusedError(f"{path} holds an array of {_checks.brief(dtype)}; {_TRUST}")
    elif name not in ("__keras_tensor__", "__slice__", "__bytes__", "__ellipsis__"):
        _check_module(path, name, module, called)


def _check_module(path: Path, name: str, module: str | None, called: str | None) -> None:
    package, _, inside = (module or "").partition(".")
    plain = name == "function" and module == "builtins"
    if not plain and (package != "keras" or (inside and inside.split(".")[0] not in _HOUSES)):
        shown = _checks.brief(f"{module}.{called if name == 'function' else name}")
        raise RefusedError(
            f"{path} needs {shown}, which is not registered with Keras; expected classes of "
            "keras, keras_vae and your own. Import the module that registers it, if you trust "
            "both."
        )


# The weights


def _check_weights(path: Path, weights: io.BytesIO) -> int:
    """Returns the bytes of all arrays in an HDF5 file, having read none of them."""
    import h5py

    room = weights.getbuffer().nbytes
    seen: set[int] = set()
    total = 0
    with h5py.File(weights, "r") as file:
        waiting: list[tuple[Any, int]] = [(file, 0)]
        while waiting:
            each, depth = waiting.pop()
            place = h5py.h5o.get_info(each.id).addr
            if place in seen or depth > DEEPEST or len(seen) >= MOST_OBJECTS:
                raise RefusedError(f"{path} holds weights that are linked, or too many; {_TRUST}")
            seen.add(place)
            if isinstance(each, h5py.Group):
                waiting += [(child, depth + 1) for child in _children(path, each)]
            else:
                total += _size(path, each)
            if total > room:
                raise RefusedError(
                    f"{path} holds {room:,} bytes of weights for {total:,}; {_TRUST}"
                )
    return total


def _children(path: Path, group: Any) -> list[Any]:
    import h5py

    found = []
    for name in group:
        link = group.get(name, getlink=True)
        kind = group.get(name, getclass=True) if isinstance(link, h5py.HardLink) else None
        if kind not in (h5py.Group, h5py.Dataset):
            shown = _checks.brief(repr(name))
            raise RefusedError(f"{path} holds weights {shown} that are a link or a type; {_TRUST}")
        found.append(group[name])
    return found


def _size(path: Path, array: Any) -> int:
    """Returns the bytes of an array that lies in the file as it is, of numbers."""
    import h5py

    made = array.id.get_create_plist()
    plain = made.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)
    plain = plain and not made.get_nfilters() and not made.get_external_count()
    numbers = array.dtype.kind in "fiubV" and not array.dtype.hasobject and not array.dtype.names
    if not plain or not numbers or array.shape is None:
        raise RefusedError(
            f"{path} holds the weights {_checks.brief(array.name)} compressed, elsewhere, or not "
            f"as numbers; {_TRUST}"
        )
    if array.id.get_storage_size() != array.nbytes:
        raise RefusedError(
            f"{path} holds the weights {_checks.brief(array.name)} of shape "
            f"{_checks.brief(array.shape)} in {array.id.get_storage_size():,} bytes; {_TRUST}"
        )
    return int(array.nbytes)


@contextlib.contextmanager
def allocating(path: Path, stored: int) -> Iterator[None]:
    """Refuses weights, made within, that are far more than a file holds, before they are made.

    Args:
        path: The file, for the message.
        stored: The bytes of its weights.
    """
    most = FREE + MOST_COPIES * stored
    sentence = (
        f"{path} describes weights of more than {most:,} bytes, such as one of shape {{}}, and "
        f"holds {stored:,} bytes of them; {_TRUST}"
    )
    with weights_of_at_most(most, sentence):
        yield


@contextlib.contextmanager
def weights_of_at_most(most: int, sentence: str) -> Iterator[None]:
    """Raises before the weight is made with which those made within are too many.

    Args:
        most: Bytes of all of them.
        sentence: What is raised; `{}` stands for the shape of the last.

    Raises:
        RefusedError: as said.
    """
    made = 0

    def creator(next_creator: Callable[..., Any], **options: Any) -> Any:
        nonlocal made
        initial = options.get("initial_value")
        if callable(initial):
            with tf.Graph().as_default():  # says the shape, and computes nothing
                value = tf.convert_to_tensor(initial())
            made += (value.shape.num_elements() or 0) * value.dtype.size
            if made > most:
                raise RefusedError(sentence.replace("{}", str(tuple(value.shape))))
        return next_creator(**options)

    with tf.variable_creator_scope(creator):
        yield
