"""Training that goes on where it was cut off."""

import json
import os
import re
import time
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_vae import _checks, _files, distribute

#: The names of checkpoints, by the number of finished epochs.
PATTERN = "epoch-{:06d}.npz"
WRITTEN = re.compile(r"epoch-(\d{6,})\.npz")
#: What Keras appends to the names of layers and optimisers that were given none.
NUMBER = re.compile(r"_\d+(?=[_/]|$)")


class Checkpoint(keras.callbacks.Callback):
    """Writes all that a training goes on from at the end of epochs, and goes on from it.

    A `fit` with the same callback, model and data that finds a checkpoint starts at the epoch after
    it, with the weights, the optimiser's state, the counters of noise, the number of passes that
    `keras_vae.data` has made over the data and the history of before: the end is that of a training
    that was never cut off. What else was shuffled is not known: give arrays with `shuffle=False`,
    and let a `tf.data` pipeline or a generator of your own give the order of an epoch by itself,
    the same in each. With `steps_per_epoch` the data begins anew. So does what other callbacks
    remember, such as the best of `EarlyStopping`.

    A folder is of one training. A second `fit` with it, in this process or another, goes on where
    the first ended, whatever the weights are by then: it takes the epochs that `epochs` says beyond
    those, or none. For a training of its own give it a folder of its own.

    Every worker must see the folder; the chief alone writes. A file is written beside its place and
    renamed, so that it is whole; one that is damaged is passed over for the one before.

    Args:
        folder: Of the checkpoints; it is made.
        keep: How many of the last are kept.
        share: The most of the training's time that writing them takes, above 0 and at most 1: after
            one, epochs go by without until it is met. 1 writes one after every epoch.

    Raises:
        ValueError: within `fit`, if the checkpoint is of a model of other weights.
        OSError: within `fit`, if it cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int = 2, share: float = 0.02) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.keep = _checks.integer("keep", keep)
        self.share = min(_checks.number("share", share, 0.0, above=True), 1.0)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Restores the last checkpoint, where there is one."""
        self._history: dict[str, Any] | None = None
        self._due = 0.0
        found = last_checkpoint(self.folder)
        if found is None:
            return
        variables = self._variables()
        _check(self.folder, variables, found.arrays)
        for name, variable in variables.items():
            variable.assign(found.arrays[name])
        passes = getattr(self.model.fit_data[0][0], "passes", None)
        if passes is not None and found.told["passes"] is not None:
            passes.next = found.told["passes"]
        self._history = found.told["history"]
        self.model._initial_epoch = found.epochs  # as Keras's BackupAndRestore does

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Puts back the history, which Keras has emptied by now."""
        self._restore_history()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes a checkpoint if that takes little of the time, and removes old ones."""
        started = time.monotonic()
        if not distribute.is_chief(self.model.distribute_strategy) or started < self._due:
            return
        passes = getattr(self.model.fit_data[0][0], "passes", None)
        told = {
            "passes": None if passes is None else passes.next,
            "history": _with(self.model.history, epoch, logs or {}),
        }
        arrays = {name: _array(variable) for name, variable in self._variables().items()}
        _write(self.folder / PATTERN.format(epoch + 1), arrays, told)
        self._remove_others(epoch + 1)
        ended = time.monotonic()
        self._due = ended + (ended - started) * (1.0 / self.share - 1.0)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Puts back the history where no epoch was left."""
        self._restore_history()

    def _restore_history(self) -> None:
        if self._history is not None:
            self.model.history.epoch = list(self._history["epoch"])
            self.model.history.history = dict(self._history["values"])
            self._history = None

    def _remove_others(self, last: int) -> None:
        """Leaves the last checkpoints; those that seem to come later are damaged."""
        written = _written(self.folder)
        kept = [epochs for epochs in written if epochs <= last][-self.keep :]
        for epochs in written.keys() - set(kept):
            written[epochs].unlink(missing_ok=True)

    def _variables(self) -> dict[str, Any]:
        """Returns the variables of the model and its optimiser by number and name."""
        whole = {"model": self.model.variables, "optimizer": self.model.optimizer.variables}
        return {
            f"{owner} {place} {NUMBER.sub('', variable.path)}".replace("/", "|"): variable
            for owner, variables in whole.items()
            for place, variable in enumerate(variables)
        }


def _array(variable: Any) -> np.ndarray:
    """Returns the values of a variable in a dtype that NumPy's files know, as bfloat16 is not."""
    array = np.asarray(distribute.primary(variable).numpy())
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def _write(target: Path, arrays: dict[str, np.ndarray], told: dict[str, Any]) -> None:
    """Writes a checkpoint that is on the disk when this returns."""

    def save(file: Any) -> None:
        np.savez(file, told=np.array(json.dumps(told)), **arrays)
        file.flush()
        os.fsync(file.fileno())

    target.parent.mkdir(parents=True, exist_ok=True)
    _files.write(target, save)


def _written(folder: Path) -> dict[int, Path]:
    """Returns the checkpoints in a folder by their numbers of epochs, the oldest first."""
    found = [(WRITTEN.fullmatch(path.name), path) for path in folder.glob("epoch-*.npz")]
    return dict(sorted((int(matched[1]), path) for matched, path in found if matched))


class Found(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        epochs: How many are finished.
        arrays: The variables by name.
        told: What else there is, as JSON holds it.
    """

    epochs: int
    arrays: dict[str, np.ndarray]
    told: dict[str, Any]


def last_checkpoint(folder: str | os.PathLike[str]) -> Found | None:
    """Returns the last whole checkpoint that `Checkpoint` wrote into a folder, or None."""
    for epochs, path in reversed(_written(Path(folder)).items()):
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            told = json.loads(str(arrays.pop("told")))
            return Found(epochs, arrays, told)
        except Exception:  # damaged, which a zip's reader says in many ways
            continue
    return None


def _check(folder: Path, variables: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Raises where a checkpoint holds other variables than the model and its optimiser have."""
    expected = {name: tuple(variable.shape) for name, variable in variables.items()}
    received = {name: array.shape for name, array in arrays.items()}
    if received != expected:
        other = sorted(set(received.items()) ^ set(expected.items()))
        raise ValueError(
            f"The checkpoint in {folder} is of another model or optimiser ({len(other)} weights "
            f"differ, such as {other[0]}); expected that of this one. Choose another folder."
        )


def _with(history: Any, epoch: int, logs: dict[str, Any]) -> dict[str, Any]:
    """Returns the history with an epoch that has just ended, as JSON may hold it."""
    known = history.epoch[:-1] if epoch in history.epoch else history.epoch
    values = {
        name: np.asarray(values[: len(known)]).tolist()  # some metrics are vectors
        for name, values in history.history.items()
    }
    for name, value in logs.items():
        values.setdefault(name, []).append(np.asarray(value).tolist())
    return {"epoch": [*known, epoch], "values": values}
