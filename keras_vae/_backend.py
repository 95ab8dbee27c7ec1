"""What must happen before TensorFlow is imported: refuse other backends, quieten the command."""

import os
import sys
from pathlib import Path


def _refuse(backend: str) -> None:
    if backend != "tensorflow":
        raise ImportError(
            f"keras_vae runs on Keras's TensorFlow backend, but the backend is {backend!r}: set "
            "KERAS_BACKEND=tensorflow before Python starts."
        )


def _is_command() -> bool:
    """Returns whether Python was started as `keras-vae` or `python -m keras_vae`."""
    return Path(sys.argv[0]).stem == "keras-vae" or sys.orig_argv[1:3] == ["-m", "keras_vae"]


if _is_command():
    # TensorFlow reads this when it is imported, and its start-up notes are not for users of a
    # command.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# The variable first: importing Keras with a backend that is not installed fails on its own, with
# less to go by.
_refuse(os.environ.get("KERAS_BACKEND", "tensorflow"))

import keras  # noqa: E402

_refuse(keras.backend.backend())
