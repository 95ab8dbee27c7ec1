"""Files that mean harm, as functions that make them; `test_hostile.py` opens each."""

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import h5py
import keras
import numpy as np
from PIL import Image

CANARY = "it_ran"


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, parts, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def config_with(change):
    """Returns what makes a `.keras` file whose config went through `change`."""

    def make(good, path):
        parts = members(good)
        config = json.loads(parts["config.json"])
        config = change(config) or config
        return write(path, {**parts, "config.json": json.dumps(config)})

    return make


def parts_with(**changes):
    def make(good, path):
        return write(
            path, {**members(good), **{k.replace("__", "."): v for k, v in changes.items()}}
        )

    return make


def member(name, content=b"x"):
    return lambda good, path: write(path, {**members(good), name: content})


def link(good, path):
    write(path, members(good))
    info = zipfile.ZipInfo("assets/a")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, "/etc/passwd")
    return path


def twice(good, path):
    write(path, members(good))
    raw = path.read_bytes()
    body = members(good)["metadata.json"]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("metadata.jsoN", body)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"metadata.jsoN", b"metadata.json"))
    return path


def overlapping(good, path):
    """Many members whose bytes are the same."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members(good).items():
            archive.writestr(name, content)
        first = archive.getinfo("model.weights.h5")
        for number in range(20):
            copy = zipfile.ZipInfo(f"assets/{number}")
            copy.header_offset, copy.CRC = first.header_offset, first.CRC
            copy.file_size, copy.compress_size = first.file_size, first.compress_size
            archive.filelist.append(copy)
            archive.NameToInfo[copy.filename] = copy
            archive._didModify = True
    return path


def lying(good, path):
    """The directory says that the weights are shorter than they are."""
    write(path, members(good))
    raw = bytearray(path.read_bytes())
    place = raw.rindex(b"model.weights.h5") - 46
    size = struct.unpack_from("<I", raw, place + 24)[0]
    struct.pack_into("<I", raw, place + 24, size * 15)
    path.write_bytes(raw)
    return path


def bomb(name, count):
    def make(good, path):
        parts = {**members(good), name: b"\0" * count}
        return write(path, parts, zipfile.ZIP_DEFLATED)

    return make


def small_bombs(good, path):
    parts = {f"assets/{n}": b"\0" * 2**22 for n in range(20)}
    return write(path, {**members(good), **parts}, zipfile.ZIP_DEFLATED)


def many(good, path):
    return write(path, {**members(good), **{f"assets/{n}": b"" for n in range(40_000)}})


def lzma(good, path):
    return write(path, members(good), zipfile.ZIP_LZMA)


# Configs


def encoder(config):
    return config["config"]["encoder"]["config"]


def dense(config):
    return next(x for x in encoder(config)["layers"] if x["class_name"] == "Dense")


def set_in(*path, value):
    """Returns a change that sets what a path of keys leads to."""

    def change(config):
        place = config["config"]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return config_with(change)


def named(module, name, config, registered=None):
    """An object in the place of the encoder's activation, which Keras would look up."""

    def change(whole):
        dense(whole)["config"]["activation"] = {
            "module": module,
            "class_name": name,
            "config": config,
            "registered_name": registered,
        }

    return config_with(change)


def layer(module, name, config):
    """A layer in the place of the encoder's first dense one."""

    def change(whole):
        dense(whole).update(module=module, class_name=name, config=config)

    return config_with(change)


def deep(good, path):
    parts = members(good)
    text = parts["config.json"].decode()
    nest = '{"a":' * 900 + "1" + "}" * 900
    return write(path, {**parts, "config.json": text[:-1] + f', "x": {nest}}}'})


def renamed(config):
    config["registered_name"] = "keras_vae>likelihood.bernoulli"


def newer(config):
    config["config"] |= {"format": 99, "written_by": "7.0.0"}


# Weights


def weights_with(change):
    """Returns what makes a `.keras` file whose weights went through `change(file)`."""

    def make(good, path):
        parts = members(good)
        held = io.BytesIO(parts["model.weights.h5"])
        with h5py.File(held, "a") as file:
            found = []
            file.visititems(
                lambda name, each: found.append(name) if isinstance(each, h5py.Dataset) else None
            )
            change(file, next(name for name in found if file[name].ndim == 2))
        return write(path, {**parts, "model.weights.h5": held.getvalue()})

    return make


def replaced(**options):
    """A change that puts another array in the place of one."""

    def change(file, name):
        del file[name]
        file.create_dataset(name, **options)

    return weights_with(change)


def linked(make):
    def change(file, name):
        del file[name]
        file[name] = make(file)

    return weights_with(change)


def virtual(file, name):
    del file[name]
    layout = h5py.VirtualLayout((4, 4), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4, 4))
    file.create_virtual_dataset(name, layout)


def circle(file, name):
    file["again"] = file["/"]


def second_name(file, name):
    file["again"] = file[name]


def reference(file, name):
    del file[name]
    file.create_dataset(name, (1,), h5py.ref_dtype)


def compressed_zeros(file, name):
    del file[name]
    file.create_dataset(name, data=np.zeros(2**22, "f4"), compression="gzip")


HUGE = 10**9
#: Name -> (what makes the file, a pattern of what is said).
KERAS = {
    "absolute member": (member("/x"), "holds the member"),
    "member above": (member("../x"), "holds the member"),
    "member above assets": (member("assets/../../x"), "holds the member"),
    "hidden member": (member("assets/.ssh"), "holds the member"),
    "backslashes": (member("assets\\..\\x"), "holds the member"),
    "pickle beside": (member("model.pkl"), "holds the member"),
    "symbolic link": (link, "a link"),
    "two of one name": (twice, "two members"),
    "overlapping": (overlapping, "overlap"),
    "lying sizes": (lying, "damaged|overlap"),
    "bomb of weights": (bomb("model.weights.h5", 2**27), "bytes in"),
    "bomb of config": (bomb("config.json", 2**26), "bytes"),
    "bomb of metadata": (bomb("metadata.json", 2**24), "bytes"),
    "bomb of assets": (bomb("assets/a", 2**27), "bytes in"),
    "many small bombs": (small_bombs, "bytes in"),
    "many members": (many, "directory|members"),
    "odd compression": (lzma, "oddly compressed"),
    "nest": (parts_with(config__json=b"[" * 100_000), "deep|damaged"),
    "nest of 900": (deep, "deep"),
    "metadata nest": (parts_with(metadata__json=b'{"a":' * 100_000), "deep|damaged"),
    "list of lists": (parts_with(config__json=b"[" + b"[]," * 2_000_000 + b"1]"), "no object"),
    "long number": (parts_with(config__json=b"9" * 1_000_000), "damaged"),
    "no config": (lambda good, path: write(path, {"a": b""}), "holds the member"),
    "os.system": (named("os", "function", "system", "system"), "not registered"),
    "eval": (named("builtins", "function", "eval", "eval"), "eval|damaged"),
    "subprocess": (named("subprocess", "Popen", {"args": ["touch", CANARY]}), "not registered"),
    "get_file": (named("keras.utils", "function", "get_file"), "not registered"),
    "load_model": (named("keras.saving", "function", "load_model"), "not registered"),
    "TFSMLayer": (layer("keras.layers", "TFSMLayer", {"filepath": "x"}), "code"),
    "torch": (layer("keras.layers", "TorchModuleWrapper", {"module": "x"}), "code"),
    "vocabulary": (
        layer("keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"}),
        "damaged",
    ),
    "marshalled": (named(None, "__lambda__", {"value": "x"}), "code"),
    "legacy lambda": (layer(None, "Lambda", {"function": "x"}), "code"),
    "wide words": (
        named(None, "__numpy__", {"value": ["a"] * 100, "dtype": "S100000000"}),
        "an array of",
    ),
    "type spec": (named("tensorflow", "__typespec__", []), "not registered"),
    "list for a name": (named("keras", ["Dense"], {}), "names a class"),
    "another root": (config_with(renamed), "holds a"),
    "newer": (config_with(newer), r"written by keras_vae 7\.0\.0 .*Upgrade"),
    "unregistered": (layer("mine", "Mine", {}), "mine.Mine.*Import the module"),
    "huge shape": (replaced(shape=(10**6, 10**6), dtype="f4", chunks=(100, 100)), "compressed"),
    "huge shape, unwritten": (replaced(shape=(10**6, 10**6), dtype="f4"), "in 0 bytes"),
    "compressed zeros": (weights_with(compressed_zeros), "compressed"),
    "virtual array": (weights_with(virtual), "compressed, elsewhere"),
    "circle": (weights_with(circle), "linked"),
    "second name": (weights_with(second_name), "linked"),
    "references": (weights_with(reference), "not as numbers"),
    "words": (replaced(data=np.array([b"abc"])), "not as numbers"),
    "soft link": (linked(lambda file: h5py.SoftLink("/x")), "a link"),
    "external link": (linked(lambda file: h5py.ExternalLink("/etc/passwd", "x")), "a link"),
    "outside array": (
        replaced(shape=(4,), dtype="f4", external=[("/etc/passwd", 0, 16)]),
        "elsewhere",
    ),
    "cut weights": (parts_with(model__weights__h5=b"\x89HDF\r\n\x1a\n" + b"\0" * 500), "damaged"),
    "huge event": (set_in("event_shape", value=[HUGE]), "event_shape"),
    "many axes": (set_in("event_shape", value=[1] * 100_000), "event_shape"),
    "huge latent": (set_in("latent", "config", "latent_dim", value=HUGE), "latent_dim"),
    "huge number": (set_in("latent", "config", "latent_dim", value=10**4000), "latent_dim"),
    "many components": (
        set_in("latent", "config", "prior", "config", "components", value=HUGE),
        "components",
    ),
    "components within bounds": (
        set_in("latent", "config", "prior", "config", "components", value=2**20),
        "describes weights",
    ),
    "steps": (set_in("latent", "config", "posterior", "config", "steps", value=10**12), "steps"),
    "widths": (
        set_in("latent", "config", "posterior", "config", "widths", value=[HUGE]),
        "widths",
    ),
    "widths within bounds": (
        set_in("latent", "config", "posterior", "config", "widths", value=[2**17, 2**17]),
        "describes weights|damaged",
    ),
    "classes": (set_in("condition", "config", "count", value=HUGE), "count"),
    "units": (
        config_with(lambda config: dense(config)["config"].update(units=HUGE)),
        "describes weights",
    ),
    "infinite": (set_in("likelihood", "config", value={"minimum": 1e999}), "damaged"),
}


def real_lambda(good, path):
    """A layer that would write a file when it is called."""
    import keras_vae as kv

    def run(x):
        Path(CANARY).touch()
        return x

    layers = [keras.Input((6,)), keras.layers.Lambda(run), keras.layers.Dense(4)]
    kv.VAE((6,), 2, encoder=keras.Sequential(layers)).save(path)
    Path(CANARY).unlink()
    return path


KERAS["lambda"] = (real_lambda, "Lambda")

# Data


def npy_header(shape, dtype="<f4"):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def raw(content):
    def make(path):
        path.write_bytes(content() if callable(content) else content)
        return path

    return make


def pickled(path):
    with path.open("wb") as file:
        np.save(file, np.array([{"a": 1}], object), allow_pickle=True)
    return path


def npz_of(content, compression=zipfile.ZIP_DEFLATED):
    return lambda path: write(path, {"x.npy": content()}, compression)


def png(width, height, content=b""):
    """A PNG that declares a size, and holds next to nothing."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(content)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def images(*contents, name="{}.png"):
    def make(path):
        path.mkdir()
        for number, content in enumerate(contents):
            (path / name.format(number)).write_bytes(content() if callable(content) else content)
        return path

    return make


def real_bomb():
    held = io.BytesIO()
    Image.new("L", (12_000, 12_000)).save(held, "PNG")
    return held.getvalue()


def parquet(path):
    import pyarrow
    import pyarrow.parquet

    column = pyarrow.array(np.zeros(2**20, "f4"))
    table = pyarrow.table({f"c{n}": column for n in range(64)})
    with pyarrow.parquet.ParquetWriter(path, table.schema, compression="zstd") as writer:
        for _ in range(5):
            writer.write_table(table)
    return path


#: Name -> (suffix, what makes the file, a pattern of what is said).
DATA = {
    "pickles in npy": (".npy", pickled, "pickle"),
    "header that lies": (".npy", raw(npy_header((10**12, 4)) + b"\0" * 64), "could not be read"),
    "header of 100 GB": (".npy", raw(npy_header((10**9, 25)) + b"\0" * 64), "could not be read"),
    "header of words": (".npy", raw(npy_header((10,), "|V1000000000000")), "could not be read"),
    "header nest": (
        ".npy",
        raw(b"\x93NUMPY\x02\x00" + struct.pack("<I", 10**5) + b"(" * 10**5),
        "could not be read",
    ),
    "pickles in npz": (
        ".npz",
        npz_of(lambda: npy_header((1,), "|O") + b"\x80\x04N.", zipfile.ZIP_STORED),
        "could not be read",
    ),
    "npz that lies": (
        ".npz",
        npz_of(lambda: npy_header((10**11, 4)) + b"\0" * 64),
        "could not be read",
    ),
    "npz bomb": (
        ".npz",
        npz_of(lambda: npy_header((2**25, 4)) + b"\0" * 2**29),
        "could not be read",
    ),
    "no zip": (".npz", raw(b"PK\x03\x04" + b"\0" * 100), "could not be read"),
    "long line": (".csv", raw(lambda: b"a" * 2**28), "could not be read"),
    "long field": (
        ".csv",
        raw(lambda: b"a,b\n1,2\n" + b"1" * 2**28),
        "could not be read",
    ),
    "million columns": (
        ".csv",
        raw(lambda: b"\n".join([b",".join(b"c%d" % n for n in range(10**6)), b"1," * 10**6])),
        "could not be read",
    ),
    "binary csv": (".csv", raw(bytes(range(256)) * 1000), "could not be read"),
    "parquet bomb": (".parquet", parquet, "could not be read"),
    "parquet that lies": (".parquet", raw(b"PAR1" + b"\xff" * 100 + b"PAR1"), "could not be read"),
    "declared pixels": ("", images(png(2**31 - 1, 2**31 - 1)), "could not be decoded"),
    "declared gigapixel": ("", images(png(30_000, 30_000)), "could not be decoded"),
    "real pixels": ("", images(real_bomb), "could not be decoded"),
    "script as image": (
        "",
        images(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        "decoded",
    ),
}
