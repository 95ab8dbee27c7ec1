"""Training that goes on where it was cut off."""

import json
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
import tensorflow as tf

from keras_vae import _checkpoints, _checks, distribute
from keras_vae._checkpoints import Found, Position

#: What callbacks of Keras remember from epoch to epoch; others say it by their attribute `kept`.
KEPT: dict[type, tuple[str, ...]] = {
    keras.callbacks.EarlyStopping: ("wait", "stopped_epoch", "best", "best_epoch", "best_weights"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    keras.callbacks.ModelCheckpoint: (
        "best",
        "_current_epoch",
        "_batches_seen_since_last_saving",
        "_last_batch_seen",
    ),
    keras.callbacks.SwapEMAWeights: ("_ema_weights_in_model",),
}
#: Seconds that lie at least between two checkpoints within an epoch.
INTERVAL = 10.0
#: The exit status of a process that SIGTERM ended.
TERMINATED = 143
#: What the files hold, by number.
LAYOUT = 1


class Checkpoint(keras.callbacks.Callback):
    """Writes all that a training goes on from, and goes on from it, to the bit.

    A `fit` with the same callback, model and data that finds a checkpoint goes on at the step after
    it, as if it had never been cut off: with the weights, the state of optimiser and metrics, the
    noise, the order of the data, the history of before, and what `EarlyStopping`,
    `ReduceLROnPlateau` and `ModelCheckpoint` remember. On a CPU with
    `tf.config.experimental.enable_op_determinism()` the end is that of the undisturbed training,
    bit for bit. A callback of your own that remembers something names it in its attribute `kept`:
    what JSON holds, arrays, or lists of arrays. Within an epoch, callbacks see the steps of before
    again, with the logs of the last one and nothing trained; then they get back what they remember.

    This holds for arrays, whose order then is a function of a number drawn from NumPy's global
    generator (of several workers, of the model's seed), and for the sets of `keras_vae.data`. Other
    data (`tf.data` of your own, generators, `steps_per_epoch`, `class_weight`, `shuffle="batch"`)
    is not known inside: training goes on at the start of an epoch, and a warning says so. Random
    numbers of your own from the global generators are not known either.

    Ctrl-C and SIGTERM end the training after the steps that are under way (one, or as many as take
    a tenth of a second) and a checkpoint, by a `KeyboardInterrupt` and by `SystemExit(143)`; in
    validation, at its end. A second one ends it at once.

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
        ValueError: within `fit`, if the checkpoint is of a model of other weights, was written by a
            version whose files are others, or lies within an epoch of data of another number of
            steps or examples.
        TypeError: within `fit`, if a callback names in `kept` what cannot be written.
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
        #: It sees the model after multiples of so many steps, or wherever several at once end.
        self.every_steps = self.steps
        self.order = 0
        self._beside: list[keras.callbacks.Callback] = []
        self._watchers: list[Any] = []
        self._handlers: dict[int, Any] = {}
        self._passes: Any = None
        self._signal = 0

    # What `fit` calls

    def begin(self, model: Any, beside: list[keras.callbacks.Callback]) -> None:
        """Looks for a checkpoint, before any data is read, and says by what arrays are ordered.

        Args:
            model: The model.
            beside: The other callbacks.
        """
        self._beside = beside
        self._watchers = [each for each in beside if hasattr(each, "checkpoints")]
        for watcher in self._watchers:
            watcher.checkpoints = self.folder
        _kept(beside)  # raises for what cannot be kept
        strategy = model.distribute_strategy
        worker, workers = distribute.worker(strategy), distribute.workers(strategy)
        _checkpoints.remove_unfinished(self.folder, worker)
        self._found = _checkpoints.last_checkpoint(self.folder, worker, True, workers)
        if self._found is not None and self._found.told.get("layout") != LAYOUT:
            raise ValueError(
                f"The checkpoint in {self.folder} was written by another version of keras_vae; "
                "expected one of this version. Finish the training with that one, or choose "
                "another folder."
            )
        drawn = model.draw_order()
        self.order = drawn if self._found is None else self._found.told["order"]

    def end(self) -> None:
        """Lets go of the data and the signals, however the training ended."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
        if self._passes is not None:
            self._passes.release()
            self._passes = None
        for watcher in self._watchers:
            watcher.checkpoints = None
        self._leave()  # if one came after the last step

    # What Keras calls

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Finds out where to go on, and goes there if that is the start of an epoch."""
        self._passes = self.model.fit_passes
        self._several = distribute.is_multi_worker(self.model.distribute_strategy)
        self._chief = distribute.is_chief(self.model.distribute_strategy)
        self._due = self._not_before = 0.0
        self._resumed_at = self._step = 0
        self._again: Found | None = None
        self._history: dict[str, Any] | None = None
        self._first: dict[str, int] | None = None
        if self._found is not None:
            self._start(self._found)
        self._listen()

    def _start(self, found: Found) -> None:
        """Makes Keras begin at the epoch of a checkpoint."""
        epochs = self.params["epochs"]
        stopped = bool(found.told["stopped"]) and not found.position.step
        over = stopped or found.epochs >= epochs
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
        self._epoch, self._resumed_at, self._step, start = epoch, 0, 0, 0
        self._restore_history()
        found, self._found = self._found, None
        if found is not None:  # only now has Keras reset the metrics
            self._check_data(found)
            self._restore(found)
            self._resumed_at, self._again = found.position.step, found
            start = self.model.skip(self._resumed_at, self.params["steps"])
        if self._passes is None:
            return
        if self._first is None:
            self._first = {"epoch": epoch, "pass": self._passes.next}
        self._passes.hold(self._first["pass"] + epoch - self._first["epoch"], start)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes a checkpoint if it is time, and ends the training if it was told to."""
        steps = self.params["steps"]
        step = batch + 1 if steps is None else min(batch + 1, steps)
        if self.model.ahead:
            return  # the model is beyond this step
        before, self._step = self._step, step
        if step == self._resumed_at and self._again is not None:
            self._arrive(self._again)
        inside = self._passes is not None and step > self._resumed_at
        if self._several:
            inside &= self.steps is not None and not self._signal
        if inside and (self._signal or self._is_time(before, step)):
            self._write(Position(self._epoch, step))
        self._leave()

    def _arrive(self, found: Found) -> None:
        """Gives callbacks what they remember, now that they have seen the steps of before."""
        self._again = None
        self._give_back(found)
        if found.told["stopped"]:
            self.model.stop_training = True

    def _is_time(self, before: int, step: int) -> bool:
        if self.steps is not None:
            return step // self.steps > before // self.steps
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
        if any(watcher.in_doubt() for watcher in self._watchers):
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
            "layout": LAYOUT,
            "data": self._data(),
            "order": self.order,
            "first": self._first,
            "history": _history(self.model.history, epoch, logs or {}),
            "stopped": bool(self.model.stop_training),
            "kept": kept,
        }
        _checkpoints.write(position.path(self.folder), arrays | more, told)
        keep = max(self.keep, 2) if self._several else self.keep  # others may still write theirs
        _checkpoints.remove_others(self.folder, position, keep)
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
        self._give_back(found)

    def _give_back(self, found: Found) -> None:
        """Gives callbacks what they remember: the first of a class what the first of it had."""
        left = list(self._beside)
        for kept in found.told["kept"]:
            of_class = [each for each in left if type(each).__name__ == kept["class"]]
            if of_class:
                left.remove(of_class[0])
                _put_back(of_class[0], kept, found.arrays)

    def _data(self) -> dict[str, int | None]:
        """Returns what tells one set of training data from another."""
        count = None if self._passes is None else self._passes.num_examples
        return {"steps": self.params["steps"], "examples": count}

    def _check_data(self, found: Found) -> None:
        """Raises a ValueError where a step within an epoch is not what it was."""
        before, now = found.told["data"], self._data()
        if before != now:
            raise ValueError(
                f"The checkpoint in {self.folder} lies within an epoch of {before['steps']} steps "
                f"over {before['examples']} examples, and fit received {now['steps']} steps over "
                f"{now['examples']}; expected the same data and batch_size. Give those, or choose "
                "another folder."
            )

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
            handler = signal.getsignal(number)
            if handler not in (signal.SIG_IGN, None):  # as under nohup, or not Python's
                self._handlers[number] = signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._signal:
            _raise(number)
        self._signal = number

    def _leave(self) -> None:
        """Ends the training if a signal told it to."""
        number, self._signal = self._signal, 0
        if number:
            _raise(number)


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
            value, made = _apart(getattr(callback, field, None), f"{_MORE}{place}|{field}")
            arrays |= made
            values[field] = _told(callback, field, value)
        told.append({"class": type(callback).__name__, "values": values})
    return told, arrays


def _apart(value: Any, name: str) -> tuple[Any, dict[str, np.ndarray]]:
    """Returns a value for JSON, and by name the arrays that it is made of."""
    if isinstance(value, np.generic) or (tf.is_tensor(value) and not value.shape.rank):
        return np.asarray(value).item(), {}
    if hasattr(value, "shape"):
        return {"array": name}, {name: _checkpoints.plain(value)}
    if isinstance(value, (list, tuple)) and any(hasattr(each, "shape") for each in value):
        made = {f"{name}|{i}": _checkpoints.plain(each) for i, each in enumerate(value)}
        return {"arrays": list(made)}, made
    return value, {}


def _told(callback: keras.callbacks.Callback, field: str, value: Any) -> Any:
    """Returns a value that JSON can hold.

    Raises:
        TypeError: for one that it cannot hold.
    """
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"{type(callback).__name__}.{field} is a {type(value).__name__}, which a checkpoint "
            "cannot keep; expected what JSON holds, an array or a list of arrays."
        ) from None
    return value


def _put_back(callback: Any, kept: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Gives a callback back what it remembered."""
    for field, value in kept["values"].items():
        if isinstance(value, dict) and value.keys() == {"arrays"}:
            value = [arrays[name] for name in value["arrays"]]
        elif isinstance(value, dict) and value.keys() == {"array"}:
            value = arrays[value["array"]]
        setattr(callback, field, value)


def _history(history: Any, epoch: int | None, logs: dict[str, Any]) -> dict[str, Any]:
    """Returns the history, with an epoch that has just ended, as JSON may hold it."""
    values = {name: np.asarray(some).tolist() for name, some in history.history.items()}
    if epoch is None or epoch in history.epoch:  # the history may be told of an epoch before us
        return {"epoch": list(history.epoch), "values": values}
    for name, value in logs.items():
        values.setdefault(name, []).append(np.asarray(value).tolist())  # some are vectors
    return {"epoch": [*history.epoch, epoch], "values": values}
