"""Training that goes on where it was cut off."""

import os
import signal
import threading
import time
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

import keras
import numpy as np

from keras_vae import _checkpoints, _checks, distribute
from keras_vae._checkpoints import Found, Position

#: What callbacks of Keras remember from epoch to epoch; others say it by their attribute `kept`.
KEPT: dict[type, tuple[str, ...]] = {
    keras.callbacks.EarlyStopping: ("wait", "stopped_epoch", "best", "best_epoch", "best_weights"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    keras.callbacks.ModelCheckpoint: ("best",),
    keras.callbacks.SwapEMAWeights: ("_ema_weights_in_model",),
}
#: Seconds that lie at least between two checkpoints within an epoch.
INTERVAL = 10.0
#: The exit status of a process that SIGTERM ended.
TERMINATED = 143


class Checkpoint(keras.callbacks.Callback):
    """Writes all that a training goes on from, and goes on from it, to the bit.

    A `fit` with the same callback, model and data that finds a checkpoint goes on at the step after
    it, as if it had never been cut off: with the weights, the state of optimiser and metrics, the
    noise, the order of the data, the history of before, and what `EarlyStopping`,
    `ReduceLROnPlateau` and `ModelCheckpoint` remember. On a CPU with
    `tf.config.experimental.enable_op_determinism()` the end is that of the undisturbed training,
    bit for bit. A callback of your own that remembers something names it in its attribute `kept`.

    This holds for arrays, whose order then is a function of a number drawn from NumPy's global
    generator, and for the sets of `keras_vae.data`. Other data (`tf.data` of your own, generators,
    `steps_per_epoch`, `class_weight`) is not known inside: training goes on at the start of the
    epoch that was cut off, and a warning says so. Random numbers of your own from the global
    generators are not known either.

    Ctrl-C and SIGTERM end the training after the step that is under way and its checkpoint, by a
    `KeyboardInterrupt` and by `SystemExit(143)`. A second one ends it at once.

    A folder is of one training. A second `fit` with it, in this process or another, goes on where
    the first ended, whatever the weights are by then: it takes the epochs that `epochs` says beyond
    those, or none. For a training of its own give it a folder of its own.

    Every worker must see the folder. Of several the chief writes at the ends of epochs; within them
    all write, each what it alone knows, but only if `steps` is given. A file is written beside its
    place and renamed, with checksums; one that is damaged is passed over for the one before, with a
    warning.

    Args:
        folder: Of the checkpoints; it is made.
        keep: How many of the last are kept.
        share: The most of the training's time that writing them takes, above 0 and at most 1: after
            one, none is written until it is met, and within an epoch not for 10 seconds. 1 writes
            one after every epoch.
        steps: Write one after every so many steps instead.

    Raises:
        ValueError: within `fit`, if the checkpoint is of a model of other weights.
        OSError: within `fit`, if it cannot be written.
    """

    #: `fit` looks for it, and calls it after all other callbacks.
    resumes = True

    def __init__(
        self,
        folder: str | os.PathLike[str],
        keep: int = 2,
        share: float = 0.02,
        steps: int | None = None,
    ) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.keep = _checks.integer("keep", keep)
        self.share = min(_checks.number("share", share, 0.0, above=True), 1.0)
        self.steps = None if steps is None else _checks.integer("steps", steps)
        self.order = 0
        self._beside: list[keras.callbacks.Callback] = []
        self._handlers: dict[int, Any] = {}
        self._passes: Any = None

    # What `fit` calls

    def begin(self, model: Any, beside: list[keras.callbacks.Callback]) -> None:
        """Looks for a checkpoint, before any data is read, and says by what arrays are ordered.

        Args:
            model: The model.
            beside: The other callbacks.
        """
        self._beside = beside
        watchers = [each for each in beside if hasattr(each, "checkpoints")]
        for watcher in watchers:
            watcher.checkpoints = self.folder
        self._rolls_back = bool(watchers)
        worker = distribute.worker(model.distribute_strategy)
        self._found = _checkpoints.last_checkpoint(self.folder, worker, aloud=True)
        drawn = int(np.random.randint(0, 2**31 - 1))
        self.order = drawn if self._found is None else self._found.told["order"]

    def end(self) -> None:
        """Lets go of the data and the signals, however the training ended."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
        if self._passes is not None:
            self._passes.release()
            self._passes = None

    # What Keras calls

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Finds out where to go on, and goes there if that is the start of an epoch."""
        self._passes = getattr(self.model.fit_data[0][0], "passes", None)
        self._several = distribute.is_multi_worker(self.model.distribute_strategy)
        self._chief = distribute.is_chief(self.model.distribute_strategy)
        self._due = self._not_before = 0.0
        self._signal, self._resumed_at = 0, 0
        self._history: dict[str, Any] | None = None
        self._first: dict[str, int] | None = None
        if self._found is not None:
            self._start(self._found)
        self._listen()

    def _start(self, found: Found) -> None:
        """Makes Keras begin at the epoch of a checkpoint."""
        epochs = self.params["epochs"]
        over = bool(found.told["stopped"]) or found.epochs >= epochs
        if self._passes is None and not over:
            warnings.warn(
                "The data is neither arrays nor a set of keras_vae.data, so what was seen of an "
                f"epoch is not known: training goes on at the start of epoch {found.epochs + 1}.",
                stacklevel=2,
            )
        self._history, self._first = found.told["history"], found.told["first"]
        self.model._initial_epoch = epochs if over else found.epochs  # as BackupAndRestore does
        if over or not found.position.step:
            self._restore(found)
            self._found = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Goes to a step within an epoch, and holds the data at this epoch's pass."""
        self._epoch, self._resumed_at = epoch, 0
        self._restore_history()
        found, self._found = self._found, None
        if found is not None:  # only now has Keras reset the metrics
            self._restore(found)
            self._resumed_at = found.position.step
            self.model.skip(self._resumed_at, self.params["steps"])
        if self._passes is None:
            return
        if self._first is None:
            self._first = {"epoch": epoch, "pass": self._passes.next}
        self._passes.hold(self._first["pass"] + epoch - self._first["epoch"], self._resumed_at)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes a checkpoint if it is time, and ends the training if it was told to."""
        steps = self.params["steps"]
        step = batch + 1 if steps is None else min(batch + 1, steps)
        inside = self._passes is not None and step > self._resumed_at
        if self._several:
            inside &= self.steps is not None and not self._signal
        if inside and (self._signal or self._is_time(step)):
            self._write(Position(self._epoch, step))
        self._leave()

    def _is_time(self, step: int) -> bool:
        if self.steps is not None:
            return step % self.steps == 0
        return time.monotonic() >= max(self._due, self._not_before)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes a checkpoint if that takes little of the time, or the training is to end."""
        wanted = self._signal or self.steps is not None or time.monotonic() >= self._due
        if self._chief and wanted:
            self._write(Position(epoch + 1), epoch, logs or {})
        self._leave()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Puts back the history where no epoch was left."""
        self._restore_history()

    # Writing and reading

    def _write(
        self, position: Position, epoch: int | None = None, logs: dict[str, Any] | None = None
    ) -> None:
        """Writes a checkpoint at a position, with the history of an epoch that ends there."""
        started = time.monotonic()
        if self._rolls_back and int(self.model.guard.in_a_row.numpy()):
            return  # what diverges is nothing to go back to
        local = {} if epoch is not None else _checkpoints.local(self.model)
        arrays = {name: _checkpoints.array(variable) for name, variable in local.items()}
        if not self._chief:
            worker = distribute.worker(self.model.distribute_strategy)
            _checkpoints.write(position.path(self.folder, worker), arrays)
            return
        variables = _checkpoints.shared(self.model)
        arrays |= {name: _checkpoints.array(variable) for name, variable in variables.items()}
        kept, more = _kept(self._beside)
        told = {
            "order": self.order,
            "first": self._first,
            "history": _history(self.model.history, epoch, logs or {}),
            "stopped": bool(self.model.stop_training),
            "kept": kept,
        }
        _checkpoints.write(position.path(self.folder), arrays | more, told)
        _checkpoints.remove_others(self.folder, position, self.keep)
        ended = time.monotonic()
        self._due = ended + (ended - started) * (1.0 / self.share - 1.0)
        self._not_before = ended + INTERVAL

    def _restore(self, found: Found) -> None:
        """Puts back what a checkpoint holds of variables and callbacks."""
        variables = _checkpoints.shared(self.model)
        if found.position.step:
            variables |= _checkpoints.local(self.model)
        arrays = {k: array for k, array in found.arrays.items() if not k.startswith(_MORE)}
        _checkpoints.restore(self.folder, variables, arrays)
        for callback, kept in zip(self._beside, found.told["kept"], strict=False):
            if kept["class"] == type(callback).__name__:
                _put_back(callback, kept, found.arrays)

    def _restore_history(self) -> None:
        if self._history is not None:
            self.model.history.epoch = list(self._history["epoch"])
            self.model.history.history = dict(self._history["values"])
            self._history = None

    # Signals

    def _listen(self) -> None:
        """Has Ctrl-C and SIGTERM noted down; only the main thread may."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._signal:
            _raise(number)
        self._signal = number

    def _leave(self) -> None:
        """Ends the training if a signal told it to."""
        if self._signal:
            _raise(self._signal)


def _raise(number: int) -> None:
    if number == signal.SIGTERM:
        raise SystemExit(TERMINATED)
    raise KeyboardInterrupt


#: What the names of arrays that callbacks keep begin with.
_MORE = "kept|"


def _fields(callback: keras.callbacks.Callback) -> tuple[str, ...]:
    """Returns the names of what a callback remembers."""
    fields = getattr(callback, "kept", ())
    for kind, known in KEPT.items():
        fields = (*fields, *known) if isinstance(callback, kind) else fields
    return tuple(fields)


def _kept(callbacks: list[keras.callbacks.Callback]) -> tuple[list[Any], dict[str, np.ndarray]]:
    """Returns what callbacks remember: numbers as JSON holds them, and arrays by name."""
    told: list[Any] = []
    arrays: dict[str, np.ndarray] = {}
    for place, callback in enumerate(callbacks):
        values: dict[str, Any] = {}
        for field in _fields(callback):
            value = getattr(callback, field, None)
            if isinstance(value, list):
                parts = {f"{_MORE}{place}|{field}|{i}": np.asarray(v) for i, v in enumerate(value)}
                arrays |= parts
                value = list(parts)
            elif value is not None and not isinstance(value, (bool, int, str)):
                value = float(value)
            values[field] = value
        told.append({"class": type(callback).__name__, "values": values})
    return told, arrays


def _put_back(callback: Any, kept: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Gives a callback back what it remembered."""
    for field, value in kept["values"].items():
        setattr(
            callback, field, [arrays[name] for name in value] if isinstance(value, list) else value
        )


def _history(history: Any, epoch: int | None, logs: dict[str, Any]) -> dict[str, Any]:
    """Returns the history, with an epoch that has just ended, as JSON may hold it."""
    known = history.epoch[:-1] if epoch in history.epoch else history.epoch
    values = {
        name: np.asarray(values[: len(known)]).tolist()  # some metrics are vectors
        for name, values in history.history.items()
    }
    for name, value in logs.items():
        values.setdefault(name, []).append(np.asarray(value).tolist())
    return {"epoch": [*known, *([] if epoch is None else [epoch])], "values": values}
