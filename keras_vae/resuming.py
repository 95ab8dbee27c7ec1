"""How `fit` goes on with a training: steps that are left out, data in an order, what is said."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_vae import _hooks, distribute, executing, guarding, receiving
from keras_vae.receiving import Receiving


class Resuming(Receiving):
    """The methods of `VAE` by which a callback goes on with a training."""

    fit_data: tuple[Any, Any]
    fit_passes: Any
    train_function: Any
    test_function: Any

    @property
    def guard(self) -> guarding.Guard:
        """What leaves out the steps that would break the model, and counts them."""
        return self.__dict__["_guard"]

    def _tell_of_skipped(self, steps: int, options: dict[str, Any]) -> None:
        """Warns of steps that were left out, where no `callbacks.Divergence` did."""
        callbacks, _ = _resuming(options.get("callbacks"))
        if steps > 0 and not any(hasattr(each, "checkpoints") for each in callbacks):
            warnings.warn(
                f"{steps} step(s) were left out because the loss or gradient was not finite. Look "
                "for outliers in the data, or lower the learning rate; callbacks.Divergence keeps "
                "the batches.",
                stacklevel=3,
            )

    def _resumable(self, options: dict[str, Any]) -> dict[str, Any]:
        """Returns the arguments of `fit` for a training that a callback can go on with.

        Such a callback comes after all others, and arrays are put into an order that it knows.
        """
        callbacks, ours = _resuming(options.get("callbacks"))
        if not ours:
            return receiving.batched(options, self.draw_order)
        if len(ours) > 1 or isinstance(options["callbacks"], keras.callbacks.CallbackList):
            raise ValueError(
                f"fit received {len(ours)} Checkpoint(s) in a "
                f"{type(options['callbacks']).__name__}; expected one, in a list of callbacks."
            )
        beside = [each for each in callbacks if each not in ours]
        ours[0].begin(self, beside)
        options = {**options, "callbacks": [*beside, *ours]}
        return receiving.batched(options, lambda: ours[0].order)

    def draw_order(self) -> int:
        """Returns a number that the order of arrays is a function of, the same on all workers."""
        if distribute.workers(self.distribute_strategy) > 1:
            return int(np.abs(self.sampling.seed[0]))
        return int(np.random.randint(0, 2**31 - 1))

    def skip(self, steps: int, of: int) -> int:
        """Leaves out the next steps of `fit`, of all in an epoch.

        Returns: how many of their batches the data should put at its end: all, or none where the
        last execution is of fewer steps than others. It would find some of them there, so that
        what is left out is read instead.

        Raises:
            ValueError: for steps that do not end with an execution of `steps_per_execution`.
        """
        each = self.steps_per_execution
        if steps % each and steps != of:
            raise ValueError(
                f"The checkpoint was written after {steps} steps, and steps_per_execution is "
                f"{each}; expected a number that divides it, such as that of before."
            )
        self.__dict__["_left_out"] = -(-steps // each)
        self.__dict__["_executions"]["train"].restart(steps, of)
        self.__dict__["_left_out_logs"] = self._results()
        self.__dict__["_left_out_read"] = bool(of % each)
        return 0 if of % each else steps

    @property
    def skipping(self) -> bool:
        """Whether the next step of `fit` is one that is left out, after `skip`."""
        return bool(self._left_out)

    @property
    def ahead(self) -> int:
        """How many steps were taken beyond the one that `fit` tells callbacks of."""
        return self.__dict__["_executions"]["train"].ahead

    def make_train_function(self, force: bool = False) -> Any:
        """Makes what takes a step, as Keras does; it leaves out steps that `skip` names."""
        if self.train_function is not None and not force:
            return self.train_function
        execution = self._made("train", super().make_train_function, force)

        def run(iterator: Any) -> Any:
            if self._left_out:
                self.__dict__["_left_out"] -= 1
                if self._left_out_read:
                    for _ in range(self.steps_per_execution):
                        next(iterator, None)
                return self._left_out_logs
            return execution(iterator)

        self.train_function = run
        return run

    def make_test_function(self, force: bool = False) -> Any:
        """Makes what scores a batch, as Keras does."""
        if self.test_function is None or force:
            self.test_function = self._made("test", super().make_test_function, force)
        return self.test_function

    def _made(self, kind: str, make: Any, force: bool) -> executing.Execution:
        """Returns what takes steps of a kind, several at a time where that may be."""
        function = make(force)
        function = getattr(self, f"{kind}_function") if function is None else function
        execution = self.__dict__["_executions"][kind]
        step = self._autoconvert_optionals(getattr(self, f"{kind}_step"))
        if self.jit_compile:
            step = tf.function(step, reduce_retracing=True, jit_compile=True, autograph=False)
        execution.make(step, self._results, function)
        return execution

    def _begin_steps(self, kind: str, callbacks: Any, steps: int | None) -> None:
        """Says how many steps of a kind may be taken at once in the passes that begin."""
        execution = self.__dict__["_executions"][kind]
        every = _hooks.every_step_of(_resuming(callbacks)[0], kind)
        execution.begin(self._takes_several(kind), every, steps)

    def _takes_several(self, kind: str) -> bool:
        raise NotImplementedError

    def reset_metrics(self) -> None:
        """Sets the logged means to nothing, as Keras does when a pass over data begins."""
        super().reset_metrics()
        if "_executions" in self.__dict__ and not self.__dict__.get("_is_aside"):
            self.__dict__["_executions"]["train"].restart()

    @contextlib.contextmanager
    def _aside(self) -> Iterator[None]:
        """Tells that what resets the means is no pass of a `fit`, which may be under way."""
        before = self.__dict__.get("_is_aside", False)
        self.__dict__["_is_aside"] = True
        try:
            yield
        finally:
            self.__dict__["_is_aside"] = before

    @contextlib.contextmanager
    def _fitting(self, data: Any, passes: Any, options: dict[str, Any]) -> Iterator[None]:
        """Shows callbacks what the model is being fitted to: `fit_data`, (training, validation).

        `fit_passes` are those over the training data, where they are known.
        """
        self.__dict__["fit_data"] = data  # past Keras's attribute tracking
        self.__dict__["fit_passes"] = passes
        self.__dict__["_left_out"] = 0
        _, resuming = _resuming(options.get("callbacks"))
        try:
            yield
        finally:
            del self.__dict__["fit_data"], self.__dict__["fit_passes"]
            self._initial_epoch = None  # of a checkpoint, which Keras would begin every `fit` at
            self.__dict__["_left_out"] = 0
            if self.compiled:
                self.__dict__["_executions"]["train"].begin(together=False)
            for each in resuming:
                each.end()
            if "_guard" in self.__dict__:
                self.__dict__["_guard"].watcher = None


def _resuming(callbacks: Any) -> tuple[list[Any], list[Any]]:
    """Returns the callbacks that `fit` was given, and those of them that go on with a training."""
    held = getattr(callbacks, "callbacks", callbacks)  # of a CallbackList
    listed = [] if held is None else keras.tree.flatten(held)
    return listed, [each for each in listed if getattr(each, "resumes", False)]
