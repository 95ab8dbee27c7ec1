"""A progress bar for long runs in a terminal."""

from typing import Any

import keras
import rich.console
import rich.progress


class Progress(keras.callbacks.Callback):
    """One bar over all epochs, with the last epoch's loss and validation bound beside it.

    Args:
        console: A rich console; a new one by default, which shows nothing where there is no
            terminal but the final state.
    """

    #: It sees logs, and not the model.
    every_steps = None

    def __init__(self, console: rich.console.Console | None = None) -> None:
        super().__init__()
        columns = (
            rich.progress.TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            rich.progress.BarColumn(),
            rich.progress.TaskProgressColumn(),
            rich.progress.TimeRemainingColumn(),
            rich.progress.TextColumn("{task.fields[values]}"),
        )
        self._bar = rich.progress.Progress(*columns, console=console)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Starts the bar."""
        params: dict[str, Any] = self.params or {}
        epochs, steps = params["epochs"], params["steps"]
        total = epochs * steps if steps else None
        self._bar.start()
        self._task = self._bar.add_task("", total=total, epoch=0, epochs=epochs, values="")

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Shows the number of the epoch."""
        steps = (self.params or {}).get("steps")
        done = epoch * steps if steps else None
        self._bar.update(self._task, epoch=epoch + 1, completed=done)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Moves the bar by the steps of one execution."""
        steps = (self.params or {}).get("steps") or 0
        done = (self._bar.tasks[self._task].fields["epoch"] - 1) * steps + batch + 1
        self._bar.update(self._task, completed=done)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Shows the epoch's values."""
        values = logs or {}
        shown = [n for n in ("loss", "kl_loss", "val_elbo", "val_loss") if n in values][:3]
        self._bar.update(self._task, values="  ".join(f"{n} {values[n]:.2f}" for n in shown))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Stops the bar, leaving it on the screen."""
        self._bar.stop()
