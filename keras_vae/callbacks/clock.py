"""How long a training has taken."""

import time
from typing import Any

import keras


class Clock(keras.callbacks.Callback):
    """Adds the `seconds` since the start of a training to every epoch's logs.

    Give it before callbacks that write the logs.

    Args:
        before: Seconds that the training took before it was gone on with.
    """

    def __init__(self, before: float = 0.0) -> None:
        super().__init__()
        self._before = before

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock."""
        self._start = time.perf_counter() - self._before

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs what it shows."""
        if logs is not None:
            logs["seconds"] = round(time.perf_counter() - self._start, 3)
