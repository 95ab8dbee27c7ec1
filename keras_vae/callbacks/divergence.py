"""A training that diverges: rolled back with a lower learning rate, and in the end stopped."""

import os
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vae import _checkpoints, _checks, _files, distribute
from keras_vae._registry import PACKAGE

#: Of batches that were left out, how many are kept to be looked at.
MOST_BATCHES = 10
#: Of steps between two looks at the counters, which on a GPU waits for the steps before.
EVERY = 50


class Divergence(keras.callbacks.Callback):
    """Watches the steps that a model leaves out because their loss or gradient is not finite.

    Such a step changes nothing: neither weights nor optimiser, moving averages, noise or logged
    means. This callback says how many there were (`skipped_steps` in the logs) and keeps their
    batches. When many come in a row it puts the model back to where it was good and goes on with a
    lower learning rate; when that does not help it puts it back once more and ends the training.

    Where it was good is the last checkpoint of a `Checkpoint` that is given to the same `fit`,
    which writes none while steps are left out; without one, the start of the epoch. Where no step
    could be taken from there, it is the one before. A `jit_compile`d model keeps no batches.

    Args:
        folder: Where batches that were left out are written as .npy files, 10 at most; None for
            nowhere.
        in_a_row: So many steps left out one after the other roll back.
        rollbacks: After so many the training ends.
        factor: What the learning rate is multiplied by at each.

    Raises:
        FloatingPointError: within `fit`, when the training goes on diverging.
    """

    #: What `Checkpoint` keeps of it.
    kept = ("rolled_back", "scale", "seen", "batches")

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        in_a_row: int = 10,
        rollbacks: int = 3,
        factor: float = 0.5,
    ) -> None:
        super().__init__()
        self.folder = None if folder is None else Path(folder)
        self.in_a_row = _checks.integer("in_a_row", in_a_row)
        self.rollbacks = _checks.integer("rollbacks", rollbacks, 0)
        self.factor = _checks.number("factor", factor, 0.0, above=True)
        if self.factor >= 1.0:
            raise ValueError(f"factor is {factor}; expected a number below 1, such as 0.5.")
        self.rolled_back, self.scale, self.seen, self.batches = 0, 1.0, 0, 0
        #: The checkpoints to roll back to; `fit` sets it where a `Checkpoint` is given, too.
        self.checkpoints: Path | None = None
        #: It looks at the model after multiples of so many steps.
        self.every_steps = min(EVERY, self.in_a_row)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Starts to count."""
        self.rolled_back, self.scale, self._scaled = 0, 1.0, 1.0
        self.seen, self.batches, self._looked = self._skipped(), 0, 0
        self._good: list[dict[str, np.ndarray]] = []
        self._tried: int | None = None
        self._unwritten = ""
        self._before: _checkpoints.Position | None = None
        if self.folder is not None and distribute.is_chief(self.model.distribute_strategy):
            self.model.guard.watcher = self._keep

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remembers the state, where no checkpoint will."""
        self._looked = 0
        if self.checkpoints is None and not self.in_doubt():
            self._good = [*self._good[-1:], self._state()]

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Lowers the learning rate again after a checkpoint was gone on from."""
        if self.scale != self._scaled:
            _scale_schedule(self.model, self.scale / self._scaled)
            self._scaled = self.scale

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the counters from time to time."""
        if batch + 1 - self._looked >= self.every_steps:
            self._looked = batch + 1
            if not self.model.skipping:
                self._look()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs how many steps were left out."""
        skipped = self._look()
        if logs is not None:
            logs["skipped_steps"] = skipped

    def in_doubt(self) -> bool:
        """Returns whether no step was taken since one was left out, or since a rollback."""
        return self.model.guard.lost() or int(self.model.sampling.step.numpy()) == self._tried

    def _skipped(self) -> int:
        return int(self.model.guard.skipped.numpy())

    def _look(self) -> int:
        """Returns how many steps were left out so far, and does what is to be done about it."""
        skipped = self._skipped()
        if skipped > self.seen:
            where = f"; their batches are in {self.folder}" if self.folder is not None else ""
            if self._unwritten:
                where = f"; their batches could not be kept ({self._unwritten})"
            warnings.warn(
                f"{skipped} step(s) were left out because the loss or gradient was not finite"
                f"{where}. Look for outliers in the data, or lower the learning rate.",
                stacklevel=2,
            )
            self.seen = skipped
        if int(self.model.guard.longest.numpy()) >= self.in_a_row:
            self._roll_back()
        return skipped

    def _roll_back(self) -> None:
        """Goes back to the last good state, with a lower learning rate, or ends the training."""
        self._put_back()
        for counter in (self.model.guard.in_a_row, self.model.guard.longest):
            counter.assign(0)
        if self.rolled_back == self.rollbacks:
            raise FloatingPointError(
                f"The training diverged: {self.in_a_row} steps in a row had a loss or gradient "
                f"that is not finite, again after {self.rolled_back} rollback(s) to the last good "
                "state with a lower learning rate. The model is as it was then. Look for outliers "
                "in the data, take a lower learning rate or compile with gradient_limit."
            )
        self.rolled_back += 1
        rate = lower_rate(self.model, self.factor)
        if rate is None:
            self.scale *= self.factor
            self._scaled = self.scale
        shown = f"{rate:g}" if rate is not None else f"{self.scale:g} of its schedule"
        warnings.warn(
            f"{self.in_a_row} steps in a row had a loss or gradient that is not finite: the model "
            f"goes back to its last good state and on with the learning rate at {shown} "
            f"(rollback {self.rolled_back} of {self.rollbacks}).",
            stacklevel=2,
        )

    def _state(self) -> dict[str, np.ndarray]:
        variables = _checkpoints.shared(self.model)
        return {name: _checkpoints.array(variable) for name, variable in variables.items()}

    def _put_back(self) -> None:
        """Gives variables the values of the last good state, but for counters and learning rate."""
        taken = int(self.model.sampling.step.numpy())
        arrays = self._arrays(again=taken == self._tried)
        for name, variable in _checkpoints.shared(self.model).items():
            left = name.startswith("guard") or name.endswith("|learning_rate")
            if arrays is not None and not left:
                variable.assign(arrays[name])
        self._tried = int(self.model.sampling.step.numpy())

    def _arrays(self, again: bool) -> dict[str, np.ndarray] | None:
        """Returns the last good state, or the one before where no step could be taken from it."""
        if self.checkpoints is None:
            if again and len(self._good) > 1:
                self._good.pop()
            return self._good[-1] if self._good else None
        find = _checkpoints.last_checkpoint
        found = find(self.checkpoints, before=self._before) if again else None
        found = found or find(self.checkpoints)
        self._before = None if found is None else found.position
        return None if found is None else found.arrays

    def _keep(self, x: np.ndarray) -> None:
        """Writes a batch that was left out."""
        if self.folder is None or self.batches >= MOST_BATCHES:
            return
        self.batches += 1
        number = int(self.model.sampling.step.numpy())
        path = self.folder / f"step-{number:08d}-{self.batches}.npy"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _files.write(path, lambda file: np.save(file, x))
        except OSError as error:  # no reason to end a training
            self._unwritten = str(error)


def lower_rate(model: Any, factor: float) -> float | None:
    """Multiplies the learning rate; returns it, or None where a schedule was scaled."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if callable(optimizer._learning_rate):
        _scale_schedule(model, factor)
        return None
    rate = float(np.asarray(optimizer.learning_rate)) * factor
    optimizer.learning_rate = rate
    return rate


def _scale_schedule(model: Any, factor: float) -> None:
    """Multiplies the schedule of a model's optimiser, whose steps are compiled anew."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    schedule = optimizer._learning_rate
    if isinstance(schedule, Scaled):
        schedule, factor = schedule.schedule, schedule.factor * factor
    optimizer._learning_rate = Scaled(schedule, factor)
    model.make_train_function(force=True)


@keras.saving.register_keras_serializable(PACKAGE)
class Scaled(keras.optimizers.schedules.LearningRateSchedule):
    """Another schedule, multiplied by a number.

    Args:
        schedule: The other, or its config; or a function without arguments.
        factor: The number.
    """

    def __init__(self, schedule: Any, factor: float) -> None:
        super().__init__()
        made = schedule
        if isinstance(schedule, dict):
            made = keras.saving.deserialize_keras_object(schedule)
        self.schedule, self.factor = made, float(factor)

    def __call__(self, step: Any) -> Any:
        """Returns the learning rate at a step."""
        scheduled = isinstance(self.schedule, keras.optimizers.schedules.LearningRateSchedule)
        return (self.schedule(step) if scheduled else self.schedule()) * self.factor

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {"schedule": schedule, "factor": self.factor}
