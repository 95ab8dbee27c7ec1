"""Epochs that are trained one at a time, so that several models can take turns."""

import itertools
import time
from collections.abc import Callable
from typing import Any

import keras


class Clock(keras.callbacks.Callback):
    """Notes the seconds of epochs, with those of the callbacks before it."""

    def on_train_begin(self, logs: Any = None) -> None:
        """Forgets the epochs of before."""
        self.took: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts the clock."""
        self.begun = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Reads it."""
        self.took.append(time.perf_counter() - self.begun)


def training(model: keras.Model, data: Any, **options: Any) -> Callable[[], float]:
    """Returns what trains one epoch more, and tells its seconds without those of `fit` itself."""
    clock, numbers = Clock(), itertools.count()

    def turn() -> float:
        number = next(numbers)
        counted = {"initial_epoch": number, "epochs": number + 1}
        model.fit(data, verbose=0, callbacks=[clock], **counted, **options)
        return clock.took[-1]

    return turn
