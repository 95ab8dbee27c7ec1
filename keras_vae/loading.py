"""Models from files, which are checked first."""

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import keras

from keras_vae import _archive, _checks
from keras_vae.model import VAE

#: What a damaged archive raises, beside the rest.
_DAMAGED = (zipfile.BadZipFile, zlib.error, NotImplementedError, struct.error)


def load(path: Any) -> VAE:
    """Returns the VAE saved at `path`, a `.keras` file written by `vae.save`.

    The file is checked before anything is made of it: its members and their sizes, its classes,
    and that it asks for no more weights than it holds. docs/files.md says what that is worth.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, was written by a newer version, needs a class that is not
            imported, or holds something else, such as code.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no file {file}; expected a .keras file that vae.save wrote."
        )
    if not zipfile.is_zipfile(file):
        raise ValueError(f"{file} is damaged or no .keras file; expected one that vae.save wrote.")
    try:
        config, stored = _archive.check(file)
        _check_is_vae(file, config)
        with _archive.allocating(file, stored):
            model = keras.saving.load_model(file)
    except _archive.RefusedError:
        raise
    except (*_checks.UNREADABLE, *_DAMAGED) as error:
        raise ValueError(
            f"{file} is damaged, or needs a class that is not imported ({_checks.brief(error)}). "
            "Import the module that registers the class, or take an earlier file."
        ) from error
    return model


def _check_is_vae(file: Path, config: dict[str, Any]) -> None:
    made = keras.saving.get_registered_object(config.get("registered_name"))
    if not isinstance(made, type) or not issubclass(made, VAE):
        shown = _checks.brief(config.get("class_name"), 60)
        raise _archive.RefusedError(f"{file} holds a {shown}; expected a keras_vae.VAE.")
