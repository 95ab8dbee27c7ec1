"""Checkpoints as files: all that a training goes on from, at any of its steps."""

import json
import os
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_vae import _files, distribute

#: The names of checkpoints, by finished epochs and steps into the next, and those of the parts that
#: workers but the chief write beside.
WRITTEN = re.compile(r"epoch-(\d{6,})(?:-step-(\d{8,}))?\.npz")
#: What Keras appends to the names of layers and optimisers that were given none.
NUMBER = re.compile(r"_\d+(?=[_/]|$)")


class Position(NamedTuple):
    """How far a training is.

    Attributes:
        epoch: How many epochs have ended.
        step: How many steps of the next were taken.
    """

    epoch: int
    step: int = 0

    def path(self, folder: Path, worker: int = 0) -> Path:
        """Returns the checkpoint's path in a folder, or that of a worker's part."""
        step = f"-step-{self.step:08d}" if self.step else ""
        part = f".worker-{worker}" if worker else ""
        return folder / f"epoch-{self.epoch:06d}{step}.npz{part}"


class Found(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        position: How far the training was.
        arrays: The variables by name, and lists of arrays that callbacks keep.
        told: What else there is, as JSON holds it.
    """

    position: Position
    arrays: dict[str, np.ndarray]
    told: dict[str, Any]

    @property
    def epochs(self) -> int:
        """How many epochs have ended."""
        return self.position.epoch


def last_checkpoint(
    folder: str | os.PathLike[str],
    worker: int = 0,
    aloud: bool = False,
    workers: int = 1,
    before: Position | None = None,
) -> Found | None:
    """Returns the last whole checkpoint that `callbacks.Checkpoint` wrote into a folder, or None.

    Args:
        folder: Of the checkpoints.
        worker: Whose part to read, of several that train together.
        aloud: Whether to warn of damaged ones that are passed over.
        workers: How many there are; all take the same checkpoint, of which every part is whole.
        before: Only those before a position; None for all.
    """
    for position, path in reversed(written(Path(folder)).items()):
        if before is not None and position >= before:
            continue
        try:
            arrays = _read(path)
            for other in range(1, workers if position.step else 1):
                part = _read(position.path(path.parent, other))
                arrays = arrays | part if other == worker else arrays
            return Found(position, arrays, json.loads(str(arrays.pop("told"))))
        except Exception as error:  # damaged, which a zip's reader says in many ways
            if aloud:
                warnings.warn(
                    f"The checkpoint {path} is damaged ({type(error).__name__}), so the one before "
                    "it is taken.",
                    stacklevel=2,
                )
    return None


def _read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def write(path: Path, arrays: dict[str, np.ndarray], told: dict[str, Any] | None = None) -> None:
    """Writes a checkpoint, or a worker's part, that is on the disk when this returns.

    Each array has a checksum in the file. It is written beside its place and renamed.
    """
    texts = {} if told is None else {"told": np.array(json.dumps(told))}

    def save(file: Any) -> None:
        np.savez(file, **texts, **arrays)
        file.flush()
        os.fsync(file.fileno())

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{path} could not be written: {error.strerror or error}.") from error
    _files.write(path, save)


def written(folder: Path) -> dict[Position, Path]:
    """Returns the checkpoints in a folder by their positions, the earliest first."""
    found = [(WRITTEN.fullmatch(path.name), path) for path in folder.glob("epoch-*.npz")]
    positions = ((Position(int(m[1]), int(m[2] or 0)), path) for m, path in found if m)
    return dict(sorted(positions))


def remove_unfinished(folder: Path, worker: int = 0) -> None:
    """Removes what a worker that was killed had not written to its end."""
    end = f"npz.worker-{worker}" if worker else "npz"
    for part in folder.glob(f".part-epoch-*.{end}"):
        part.unlink(missing_ok=True)


def remove_others(folder: Path, last: Position, keep: int) -> None:
    """Leaves the last checkpoints; those that seem to come later are damaged."""
    every = written(folder)
    kept = [position for position in every if position <= last][-keep:]
    for position in every.keys() - set(kept):
        every[position].unlink(missing_ok=True)
    names = {position.path(folder).name for position in (*kept, last)}
    for part in folder.glob("epoch-*.npz.worker-*"):
        if part.name.rpartition(".")[0] not in names:
            part.unlink(missing_ok=True)


# The variables of a model that is trained


def shared(model: Any) -> dict[str, Any]:
    """Returns what is alike on all replicas, model and optimiser, by number and name."""
    own = {id(variable) for variable in _of_metrics(model)}
    whole = {
        "model": [variable for variable in model.variables if id(variable) not in own],
        "optimizer": model.optimizer.variables,
        "guard": model.guard.variables,
    }
    return {
        f"{owner} {place} {_path(variable)}".replace("/", "|"): variable
        for owner, variables in whole.items()
        for place, variable in enumerate(variables)
    }


def _path(variable: Any) -> str:
    return NUMBER.sub("", getattr(variable, "path", variable.name))


def local(model: Any) -> dict[str, Any]:
    """Returns what each replica of this worker has of its own: the state of the metrics."""
    return {
        f"metric {place} {replica}": part
        for place, variable in enumerate(_of_metrics(model))
        for replica, part in enumerate(distribute.parts(variable))
    }


def _of_metrics(model: Any) -> list[Any]:
    return [variable for metric in model.metrics for variable in metric.variables]


def array(variable: Any) -> np.ndarray:
    """Returns the values of a variable in a dtype that NumPy's files know, as bfloat16 is not."""
    bare = variable if isinstance(variable, tf.Variable) else distribute.primary(variable)
    return plain(bare.numpy())


def plain(values: Any) -> np.ndarray:
    """Returns an array in a dtype that NumPy's files know."""
    values = np.asarray(values)
    return values.astype(np.float32) if values.dtype.kind == "V" else values


def restore(folder: Path, variables: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Assigns arrays to the variables of their names.

    Raises:
        ValueError: where they are of other variables.
    """
    expected = {name: tuple(variable.shape) for name, variable in variables.items()}
    received = {name: array.shape for name, array in arrays.items()}
    if received != expected:
        other = sorted(set(received.items()) ^ set(expected.items()))
        raise ValueError(
            f"The checkpoint in {folder} is of another model or optimiser ({len(other)} weights "
            f"differ, such as {other[0]}); expected that of this one. Choose another folder."
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])
