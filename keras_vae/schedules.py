"""Values that change during training, as pure functions of the optimiser's step.

They run inside the graph, so a change takes effect at once and survives save and resume with the
optimiser. A plain number stands for `Constant` wherever a schedule is taken.
"""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae import _checks, _registry
from keras_vae._registry import register
from keras_vae._types import Tensor


class Schedule(_registry.Configurable):
    """A float32 value as a function of the optimiser's step. Immutable.

    A new schedule writes `_value(step)` on a float32 step.
    """

    def __call__(self, step: Tensor | int) -> Tensor:
        """Returns the scalar float32 value at `step` (any integer or float scalar)."""
        return tf.convert_to_tensor(self._value(tf.cast(step, tf.float32)), tf.float32)

    def _value(self, step: Tensor) -> Tensor:
        raise NotImplementedError

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__:
            raise AttributeError(
                f"{type(self).__name__}.{name} cannot be changed, as compiled steps hold the old "
                "value; build a new schedule and compose a new model with it."
            )
        super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), tuple(self.__dict__.items())))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.__dict__.items())})"


@register("schedule", "constant")
class Constant(Schedule):
    """The same value at every step.

    Args:
        value: A finite number.
    """

    def __init__(self, value: float = 1.0) -> None:
        self.value = _checks.number("value", value)

    def _value(self, step: Tensor) -> Tensor:
        return tf.constant(self.value, tf.float32)


class _Ramp(Schedule):
    """From `start` to `end` over `steps`, then `end`; a subclass gives the curve on [0, 1]."""

    def __init__(self, start: float = 0.0, end: float = 1.0, steps: int = 1000) -> None:
        self.start = _checks.number("start", start)
        self.end = _checks.number("end", end)
        self.steps = _checks.integer("steps", steps, maximum=_checks.LONGEST_SCHEDULE)

    def _value(self, step: Tensor) -> Tensor:
        # An interpolation whose ends are exact: start + fraction * (end - start) rounds at 1.
        part = self._curve(tf.clip_by_value(step / self.steps, 0.0, 1.0))
        return (1.0 - part) * self.start + part * self.end

    def _curve(self, fraction: Tensor) -> Tensor:
        raise NotImplementedError


@register("schedule", "linear")
class Linear(_Ramp):
    """A straight line from `start` at step 0 to `end` at step `steps`, constant afterwards."""

    def _curve(self, fraction: Tensor) -> Tensor:
        return fraction


@register("schedule", "cosine")
class Cosine(_Ramp):
    """Half a cosine wave from `start` to `end` over `steps`, flat at both ends."""

    def _curve(self, fraction: Tensor) -> Tensor:
        return 0.5 * (1.0 - tf.cos(math.pi * fraction))


@register("schedule", "sigmoid")
class Sigmoid(_Ramp):
    """A logistic curve from `start` to `end`, scaled to meet both exactly.

    Args:
        start: The value at step 0.
        end: The value from step `steps` on.
        steps: The length of the ramp.
        steepness: How many logistic units the ramp spans; above 0.

    Reference: Bowman et al., Generating Sentences from a Continuous Space, 2016 (annealing of the
    KL term).
    """

    def __init__(
        self, start: float = 0.0, end: float = 1.0, steps: int = 1000, steepness: float = 12.0
    ) -> None:
        super().__init__(start, end, steps)
        self.steepness = _checks.number("steepness", steepness, 0.0, above=True)

    def _curve(self, fraction: Tensor) -> Tensor:
        # As a tanh, whose ratio is exactly 1 at the ends and neither overflows nor cancels.
        quarter = tf.constant(self.steepness / 4.0, tf.float32)
        return 0.5 + 0.5 * tf.tanh((2.0 * fraction - 1.0) * quarter) / tf.tanh(quarter)


@register("schedule", "cyclical")
class Cyclical(Schedule):
    """Repeated linear ramps: each cycle rises for `ramp` of its length, then holds `end`.

    Args:
        start: The value at the start of each cycle.
        end: The value after each ramp, and for ever after the last cycle.
        steps: The length of one cycle.
        cycles: How many cycles.
        ramp: The share of a cycle that the rise takes; above 0, at most 1.

    Reference: Fu et al., Cyclical Annealing Schedule: A Simple Approach to Mitigating KL
    Vanishing, 2019.
    """

    def __init__(
        self,
        start: float = 0.0,
        end: float = 1.0,
        steps: int = 1000,
        cycles: int = 4,
        ramp: float = 0.5,
    ) -> None:
        self.start = _checks.number("start", start)
        self.end = _checks.number("end", end)
        self.steps = _checks.integer("steps", steps, maximum=_checks.LONGEST_SCHEDULE)
        self.cycles = _checks.integer("cycles", cycles, maximum=_checks.LONGEST_SCHEDULE)
        self.ramp = _checks.number("ramp", ramp, 0.0, above=True)
        if self.ramp > 1.0:
            raise ValueError(
                f"ramp is {ramp}; expected a share of the cycle, above 0 and at most 1."
            )

    def _value(self, step: Tensor) -> Tensor:
        within = tf.math.floormod(step, float(self.steps)) / self.steps
        part = tf.clip_by_value(within / self.ramp, 0.0, 1.0)
        part = tf.where(step >= float(self.steps * self.cycles), 1.0, part)
        return (1.0 - part) * self.start + part * self.end


def get(identifier: Any) -> Schedule:
    """Returns a schedule from a number, a name with options, a config or an instance.

    Raises:
        ValueError, TypeError: for anything else, naming what is known.
    """
    numbers = (int, float, np.integer, np.floating)
    if isinstance(identifier, numbers) and not isinstance(identifier, bool):
        return Constant(identifier)
    schedule: Schedule = _registry.get("schedule", identifier)
    return schedule
