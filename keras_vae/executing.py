"""Several steps in one call into TensorFlow, while Keras's loop asks for them one by one.

Keras's `steps_per_execution` needs a number from the user and shows callbacks a part of the steps.
Here the number follows from the time that steps take, callbacks see all of them, and those that
must see the model as it was after each get that.
"""

import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_vae._types import Tensor

#: What an execution should take at most, in seconds: signals and progress bars wait for its end.
SECONDS = 0.1
MOST_STEPS = 100
#: How many times the steps of the last one an execution may take.
GROWTH = 4

Logs = dict[str, Any]


class Execution:
    """Takes the next steps on an iterator, or says what they gave where they were taken before.

    Attributes:
        ahead: How many steps beyond the last one asked for were taken already.
    """

    def __init__(self) -> None:
        self.ahead = 0
        self._together = False
        self._every: int | None = None
        self._pass: int | None = None
        self._asked, self._steps, self._warm = 0, 1, False
        self._logs: Logs = {}

    def make(
        self,
        step: Callable[[Any], Any],
        results: Callable[[], Logs],
        one_by_one: Callable[[Any], Logs],
    ) -> None:
        """Makes the functions that take steps.

        Args:
            step: Takes one on a batch, changing variables.
            results: Returns what a step logs, as it is after the last one.
            one_by_one: Takes one on an iterator, as Keras does; returns its logs.
        """
        self._one_by_one, self._several = one_by_one, _several(step, results)
        self._steps, self._warm = 1, False

    def begin(self, together: bool, every: int | None = None, steps: int | None = None) -> None:
        """Starts anew, before passes.

        Args:
            together: Whether to take steps in the graph of several; else as Keras does.
            every: Executions end where a multiple of this many steps was taken in the pass; None
                lets them end anywhere.
            steps: How many a pass has, where data goes on behind it; else None.
        """
        self._together, self._every, self._pass = together, every, steps
        self.restart()

    def restart(self, asked: int = 0, steps: int | None = None) -> None:
        """Tells that a pass over the data begins, or where it begins if not with its first step.

        Args:
            asked: How many of its steps were taken before.
            steps: How many it has, where those of before come behind it.
        """
        self.ahead, self._asked = 0, asked
        self._pass = self._pass if steps is None else steps

    def __call__(self, iterator: Any) -> Logs:
        """Returns the logs of a step."""
        if not (self._together and isinstance(iterator, tf.data.Iterator)):
            return self._one_by_one(iterator)
        self._asked += 1
        if self.ahead:
            self.ahead -= 1
            return self._logs
        started = time.perf_counter()
        taken, logs = self._several(iterator, tf.constant(self._next()))
        taken = int(taken)
        if not taken:
            raise StopIteration
        with tf.device(
            "CPU:0"
        ):  # each step reads them; of numbers Keras asks at length what they are
            self._logs = tf.nest.map_structure(tf.identity, logs)
        self._adapt((time.perf_counter() - started) / taken)
        self.ahead = taken - 1
        return self._logs

    def _next(self) -> int:
        """Returns how many steps the next execution should take."""
        before, steps = self._asked - 1, self._steps
        if self._every is not None:
            steps = min(steps, self._every - before % self._every)
        return steps if self._pass is None else max(1, min(steps, self._pass - before))

    def _adapt(self, seconds: float) -> None:
        """Chooses how many steps to take from what one took; the first was traced, too."""
        if self._warm:
            fitting = int(SECONDS / max(seconds, 1e-9))
            self._steps = max(1, min(fitting, GROWTH * self._steps, MOST_STEPS))
        self._warm = True


def _several(step: Callable[[Any], Any], results: Callable[[], Logs]) -> Callable[..., Any]:
    """Returns a graph that takes up to so many steps on an iterator: how many, and the logs."""

    @tf.function(reduce_retracing=True, autograph=False)
    def take(iterator: Any, steps: Tensor) -> tuple[Tensor, Logs]:
        def going(taken: Tensor, batch: Any) -> Tensor:
            return tf.logical_and(taken < steps, batch.has_value())

        def one(taken: Tensor, batch: Any) -> tuple[Tensor, Any]:
            step(batch.get_value())
            taken += 1
            # One batch more than the steps would be lost to the next execution.
            following = tf.cond(taken < steps, iterator.get_next_as_optional, lambda: batch)
            return taken, following

        first = (tf.constant(0), iterator.get_next_as_optional())
        return tf.while_loop(going, one, first)[0], results()

    return take
