"""How long a training took, in every epoch's logs."""

import time
from typing import Any

import keras


class Clock(keras.callbacks.Callback):
    """Adds the seconds since the start, and those before it, to every epoch's logs."""

    #: What `Checkpoint` keeps of it.
    kept = ("seconds",)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Starts to count."""
        self.seconds = 0.0

    @property
    def seconds(self) -> float:
        """How long the training took so far, with what came before a checkpoint."""
        return round(time.perf_counter() - self._start, 3)

    @seconds.setter
    def seconds(self, value: float) -> None:
        """Starts to count at what came before a checkpoint."""
        self._start = time.perf_counter() - value

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs the seconds."""
        if logs is not None:
            logs["seconds"] = self.seconds
