"""What must happen before TensorFlow is imported: refuse other backends, quieten the command."""

import contextlib
import os
import sys
from collections.abc import Iterator
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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps TensorFlow's start-up notes off stderr, unless TF_CPP_MIN_LOG_LEVEL asks for them.

    Some are written before TensorFlow reads that level, so the file descriptor itself is turned
    aside meanwhile. A failed import still shows its traceback.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") < "2":
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


# The variable first: importing Keras with a backend that is not installed fails on its own, with
# less to go by.
_refuse(os.environ.get("KERAS_BACKEND") or "tensorflow")

if _is_command():
    with _quiet():
        import tensorflow as tf

        tf.config.list_physical_devices()  # where CUDA says that there is none

try:
    import keras
except ImportError as error:
    raise ImportError(
        f"Keras could not be imported ({error}). keras_vae runs on its TensorFlow backend: if "
        "keras.json names another, set KERAS_BACKEND=tensorflow before Python starts."
    ) from error

_refuse(keras.backend.backend())
