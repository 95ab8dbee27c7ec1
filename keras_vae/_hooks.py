"""Which steps of a training its callbacks must see: all of them, multiples of some, or none."""

import math
from collections.abc import Iterable
from typing import Any

import keras

from keras_vae import _checks

#: Of modules.
_OURS = "keras_vae."


def every_step_of(callbacks: Iterable[Any], kind: str = "train") -> int | None:
    """Returns after which steps callbacks must see the model as it is then: multiples, or None.

    A callback says so by its attribute `every_steps`. Of others, those that Keras calls with
    batches want each, but for progress bars and what does nothing unless it was asked to.

    Args:
        callbacks: Of a `fit` or `evaluate`.
        kind: Of the steps, "train" or "test".
    """
    wanted = [each for each in (_every_step(one, kind) for one in callbacks) if each is not None]
    return math.gcd(*wanted) if wanted else None


def _every_step(callback: Any, kind: str) -> int | None:
    hooks = [f"on_{kind}_batch_begin", f"on_{kind}_batch_end"]
    hooks += ["on_batch_begin", "on_batch_end"] if kind == "train" else []
    owners = {_owner(callback, hook) for hook in hooks} - {keras.callbacks.Callback}
    if hasattr(callback, "every_steps") and not any(_is_over(callback, each) for each in owners):
        every = callback.every_steps
        return None if every is None else _checks.integer("every_steps", every)
    if owners == {keras.callbacks.ProgbarLogger}:
        return None
    by_epoch = getattr(callback, "save_freq", None) == "epoch"
    if owners == {keras.callbacks.ModelCheckpoint} and by_epoch:
        return None
    return 1 if owners else None


def _owner(callback: Any, hook: str) -> Any:
    """Returns the class that a hook comes from, or the callback itself."""
    if hook in vars(callback):
        return callback
    return next(each for each in type(callback).__mro__ if hook in vars(each))


def _is_over(callback: Any, owner: Any) -> bool:
    """Returns whether a user has put a hook over one of ours, which `every_steps` speaks of."""
    ours = any(each.__module__.startswith(_OURS) for each in type(callback).__mro__)
    known = getattr(owner, "__module__", "").startswith((_OURS, "keras.")) and owner is not callback
    return ours and not known and "every_steps" not in vars(owner)
