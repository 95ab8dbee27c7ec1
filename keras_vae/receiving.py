"""What Keras delivers to a `VAE`: looked at before it runs, and turned into the model's inputs."""

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_vae import _checks, _sides, distribute
from keras_vae._types import Given, Inputs, Tensor
from keras_vae.conditions import Condition
from keras_vae.data import pipeline
from keras_vae.likelihoods import Likelihood


class Receiving(keras.Model):
    """The methods of `VAE` that check and unpack data, for a model that has the parts."""

    event_shape: tuple[int, ...]
    likelihood: Likelihood
    condition: Condition | None
    missing: bool

    def _received(self, options: dict[str, Any]) -> dict[str, Any]:
        """Returns the arguments of a Keras method, checked where that needs no look at the data.

        Steps check the values, but XLA cannot compile that: for it arrays are checked here and
        streams on their way. Without y Keras would drop sample weights silently, so they get a y of
        zeros; a condition that is given as y goes with x, since Keras drops y, too.
        """
        x, weights = options.get("x"), options.get("sample_weight")
        spec = x.element_spec if isinstance(x, tf.data.Dataset) else x
        first = spec[0] if isinstance(spec, tuple) and spec else spec
        shape = getattr(_sides.event_of(first), "shape", None)
        if shape is not None and tf.TensorShape(shape).rank is not None:
            self._check_shape(tuple(shape))
            self._check_sides(first, _y_of(spec) if isinstance(spec, tuple) else options.get("y"))
        if self.jit_compile and not self.run_eagerly:
            options = {**options, "x": self._checked(x, options.get("y"))}
        if weights is not None:
            _checks.sample_weights(np.asarray(weights))
            event = _sides.event_of(x)
            if options.get("y") is None and event is not None and hasattr(event, "__len__"):
                options = {**options, "y": np.zeros(len(event), np.float32)}
        return options

    def _check_sides(self, x: Any, y: Any) -> None:
        """Raises where x, or its spec, comes with other side inputs than the model's."""
        sides = self._side_inputs(x, y)
        if hasattr(sides.get("mask"), "shape"):
            _sides.check_mask(sides["mask"], (None, *self.event_shape))
        condition = sides.get("condition")
        if self.condition is not None and isinstance(condition, (np.ndarray, list)):
            self.condition.array(condition, len(condition))

    def _checked(self, x: Any, y: Any = None) -> Any:
        """Returns data whose values are checked outside the step."""
        if isinstance(x, tf.data.Dataset):
            alone = not isinstance(x.element_spec, tuple)

            def check(number: Tensor, batch: Any) -> Any:
                first = batch if alone else batch[0]
                event = tf.cast(_sides.event_of(first), tf.float32)
                if self.missing:
                    mask = self._side_inputs(first, _y_of(batch)).get("mask")
                    event = self._marked(event, mask)
                checks = [self._warn_of_grey(event, number)]
                condition = self._condition_of(first, _y_of(batch))
                if self.condition is not None:
                    checks.append(self.condition.checked(condition))
                with tf.control_dependencies(checks):
                    event = self._in_support(event)
                first = {**first, "x": event} if isinstance(first, Mapping) else event
                return first if alone else (first, *batch[1:])

            checked = x.enumerate().map(check, num_parallel_calls=tf.data.AUTOTUNE)
            for told in ("passes", "num_examples"):  # what keras_vae.data says of its sets
                if hasattr(x, told):
                    setattr(checked, told, getattr(x, told))
            return checked
        if isinstance(x, Iterator):
            return self._checked_batches(x)
        if isinstance(x, (np.ndarray, tf.Tensor, Mapping)):
            self._checked_batch((x, y))
        return x

    def _checked_batches(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            try:
                yield self._checked_batch(batch)
            except ValueError as error:  # will come out of TensorFlow as one of its own
                raise ValueError(f"{_checks.MARK} {error} {_checks.MARK}") from None

    def _checked_batch(self, batch: Any) -> Any:
        first = batch[0] if isinstance(batch, tuple) else batch
        values = np.asarray(_sides.event_of(first))
        if self.missing:
            sides = self._side_inputs(first, _y_of(batch))
            values = _sides.marked(values, sides.get("mask"))
        self._check_support(values)
        condition = self._condition_of(first, _y_of(batch))
        if self.condition is not None:
            self.condition.array(condition, len(values))
        if self._may_be_grey():
            _checks.whole_numbers(_seen(values), self.likelihood.short_name)
        return batch

    def _check_support(self, x: np.ndarray) -> None:
        """Raises a ValueError for a value of x (n, E) outside the support of the likelihood."""
        if self.missing:
            x = self.likelihood.filled(tf.constant(x, tf.float32), ~np.isnan(x)).numpy()
        _checks.array_support(x, self.likelihood.support, self.likelihood.short_name)

    def _in_support(self, x: Tensor) -> Tensor:
        """Returns x (B, E); running it fails on a value outside the support."""
        likelihood = self.likelihood
        if not self.missing:
            return _checks.assert_support(x, likelihood.support, likelihood.short_name)
        shown = likelihood.filled(x, tf.logical_not(tf.math.is_nan(x)))
        shown = _checks.assert_support(shown, likelihood.support, likelihood.short_name)
        with tf.control_dependencies([shown]):
            return tf.identity(x)

    def _may_be_grey(self) -> bool:
        """Returns whether the likelihood scores values that it gives no probability to."""
        return self.likelihood.discrete and not _checks.support(self.likelihood.support).whole

    def _warn_of_grey(self, x: Tensor, step: Tensor) -> tf.Operation:
        """Looks at the first batch for values that the likelihood gives no probability to."""
        if not self._may_be_grey():
            return tf.no_op()
        name = self.likelihood.short_name  # not self: TensorFlow keeps the function for ever

        def look(values: np.ndarray) -> None:
            _checks.whole_numbers(_seen(values), name)

        def call() -> tf.Operation:
            return tf.group(tf.numpy_function(look, [x], []))

        return tf.group(tf.cond(step == 0, call, tf.no_op))

    @property
    def _needed(self) -> tuple[str, ...]:
        """The names of the side inputs that events must come with."""
        has = {"offset": self.likelihood.takes_offset, "condition": self.condition is not None}
        return tuple(name for name, needed in has.items() if needed)

    @property
    def taken(self) -> tuple[str, ...]:
        """The keys of a mapping of events that the model takes."""
        return ("x", *self._needed, *(("mask",) if self.missing else ()))

    def _side_inputs(self, x: Any, y: Any = None) -> dict[str, Any]:
        """Returns the side inputs that came with x, or as y, by name.

        Raises:
            ValueError: for one that is missing, or that the model does not take.
        """
        if self.condition is not None and y is not None and self._condition_of(x, None) is None:
            x = _sides.joined(x, condition=y)
        return _sides.sides_of(x, self._needed, ("mask",) if self.missing else ())

    @staticmethod
    def _condition_of(x: Any, y: Any) -> Any:
        """Returns the condition that came with x, or else as y."""
        held = x.get("condition") if isinstance(x, Mapping) else None
        return y if held is None else held

    def _given(self, sides: Mapping[str, Any]) -> Given:
        """Returns the side inputs of one batch as the parts see them."""
        given = Given()
        if "offset" in sides:
            offset = tf.reshape(tf.cast(sides["offset"], tf.float32), [-1])
            offset = offset if self.jit_compile else _checks.assert_offset(offset)
            given = given._replace(offset=offset)
        if self.condition is not None:
            values = self.condition.checked(sides["condition"], assert_values=not self.jit_compile)
            given = given._replace(condition=self.condition.encode(values))
        return given

    def _inputs(self, data: Any) -> Inputs:
        """Returns what Keras delivered as x, weights and side inputs.

        y is the condition, where the model has one and x comes without; else it is left out.
        """
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        if isinstance(x, (tuple, list)) and len(x) == 1:
            x = x[0]
        sides = self._side_inputs(x, y)
        x = _sides.event_of(x)
        if not hasattr(x, "shape"):
            raise TypeError(
                f"The model received {type(x).__name__} as x; expected one array or tensor of "
                f"shape (batch, {', '.join(map(str, self.event_shape))})."
            )
        if tf.TensorShape(x.shape).rank is not None:
            self._check_shape(tuple(x.shape))
        x = tf.ensure_shape(tf.cast(x, tf.float32), (None, *self.event_shape))
        if self.missing:
            x = self._marked(x, sides.get("mask"), assert_values=not self.jit_compile)
        if weights is not None:
            weights = tf.reshape(tf.cast(weights, tf.float32), [-1])
        if not self.jit_compile:
            x = self._in_support(x)
            weights = None if weights is None else _checks.assert_weights(weights)
        return Inputs(x, weights, self._given(sides))

    def _marked(self, x: Tensor, mask: Tensor | None, assert_values: bool = True) -> Tensor:
        """Returns x (B, E) with one and the same NaN for every entry that is missing.

        With `assert_values`, running it fails on a mask of anything but 0 and 1.
        """
        lost = tf.math.is_nan(x)
        if mask is not None:
            _sides.check_mask(mask, (None, *self.event_shape))
            mask = tf.ensure_shape(tf.cast(mask, tf.float32), (None, *self.event_shape))
            if assert_values:
                inside = (mask == 0.0) | (mask == 1.0)
                mask = _checks.assert_where(
                    mask, inside, "mask", lambda: f"expected {_sides.MASK}."
                )
            lost |= tf.logical_not(mask > 0.0)
        return tf.where(lost, float("nan"), x)

    def _check_shape(self, received: tuple[Any, ...]) -> None:
        sizes = zip(received[1:], self.event_shape)
        fits = len(received) == len(self.event_shape) + 1
        if not fits or any(size not in (None, expected) for size, expected in sizes):
            raise ValueError(_checks.shape_message(received, self.event_shape))


def _seen(x: np.ndarray) -> np.ndarray:
    """Returns x with 0 for entries that are missing."""
    return np.where(np.isnan(x), 0.0, x)


def _y_of(batch: Any) -> Any:
    """Returns y of (x, y, ...), or None."""
    return batch[1] if isinstance(batch, tuple) and len(batch) > 1 else None


def batched(options: dict[str, Any], draw: Callable[[], int] | None = None) -> dict[str, Any]:
    """Returns the arguments of a Keras method with arrays as batches, as Keras would make them.

    Their order is a function of a number. What `validation_split` takes becomes the validation
    data, as Keras takes it. What is no array, or is to be taken in a way of Keras's own, is left.

    Args:
        options: Of `fit`, `evaluate` or `predict`.
        draw: Returns the number, if it is needed; None leaves examples in order.
    """
    others = ("steps_per_epoch", "class_weight", "steps")
    parts = _arrays(options)
    if parts is None or options.get("shuffle") == "batch" or any(map(options.get, others)):
        return options
    options = {key: value for key, value in options.items() if key not in parts}
    split, size = options.pop("validation_split", None), options.pop("batch_size", None)
    size = 32 if size is None else _checks.integer("batch_size", size)
    shuffle = bool(options.pop("shuffle", True)) and draw is not None
    count = _one_count(parts)
    if split and options.get("validation_data") is None:
        cut = _cut(count, split)
        held_out = {name: _sides.rows(part, slice(cut, None)) for name, part in parts.items()}
        options["validation_data"] = _packed(held_out)
        parts = {name: _sides.rows(part, slice(cut)) for name, part in parts.items()}
    if options.get("validation_data") is not None:
        options["validation_batch_size"] = options.get("validation_batch_size") or size
    seed = None if draw is None else (0, draw() if shuffle else 0)
    return {"x": pipeline.of_arrays(_packed(parts), size, shuffle, seed), **options}


def validation_batched(options: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `fit` with validation data as batches, where it is arrays."""
    given = options.get("validation_data")
    parts = given if isinstance(given, tuple) else (given,)
    if given is None or options.get("validation_steps") or not 0 < len(parts) <= 3:
        return options
    told = dict(zip(("x", "y", "sample_weight"), parts))
    size = options.get("validation_batch_size") or options.get("batch_size")
    made = batched({**told, "batch_size": size})["x"]
    return {**options, "validation_data": made if isinstance(made, tf.data.Dataset) else given}


def _arrays(options: dict[str, Any]) -> dict[str, Any] | None:
    """Returns x and what comes beside it, by name, or None where that is not all arrays."""
    x = options["x"]
    x = x[0] if isinstance(x, (tuple, list)) and len(x) == 1 else x
    events = list(x.values()) if isinstance(x, Mapping) else [x]
    if not events or not all(map(_is_array, events)):
        return None
    parts = {"x": x}
    for name in ("y", "sample_weight"):
        part = options.get(name)
        if isinstance(part, (list, tuple)) and not any(map(np.ndim, part)):
            part = np.asarray(part)
        if part is None:
            continue
        if isinstance(part, (list, tuple)) or not all(map(np.ndim, tf.nest.flatten(part))):
            return None
        parts[name] = part
    return parts


def _is_array(part: Any) -> bool:
    numbers = isinstance(part, tf.Tensor) or getattr(part, "dtype", np.dtype("O")).kind in "fiub"
    return isinstance(part, (np.ndarray, tf.Tensor)) and numbers and bool(part.ndim)


def _packed(parts: dict[str, Any]) -> Any:
    """Returns x, (x, y) or (x, y, weights), as Keras delivers them."""
    return parts["x"] if len(parts) == 1 else tuple(parts.values())


def _one_count(parts: dict[str, Any]) -> int:
    """Returns how many examples there are of all parts.

    Raises:
        ValueError: where they have not as many, or none.
    """
    counts = {name: {len(each) for each in tf.nest.flatten(part)} for name, part in parts.items()}
    if len(set().union(*counts.values())) > 1 or 0 in counts["x"]:
        told = ", ".join(f"{name} {min(found)}" for name, found in counts.items())
        raise ValueError(
            f"The numbers of examples are: {told}; expected as many of each, and some."
        )
    return min(counts["x"])


def _cut(count: int, split: float) -> int:
    cut = int(math.floor(count * (1.0 - split)))
    if not 0 < cut < count:
        raise ValueError(
            f"validation_split={split} of {count} examples leaves none on one side; expected a "
            "number between 0 and 1 that leaves some."
        )
    return cut


def num_examples(options: dict[str, Any]) -> int | None:
    """Returns how many examples `fit` is given to train on, or None where that cannot be told."""
    x = _sides.event_of(options["x"])
    if isinstance(x, (np.ndarray, tf.Tensor)):
        return int(len(x) * (1.0 - (options.get("validation_split") or 0.0)))
    return getattr(x, "num_examples", None)


@contextlib.contextmanager
def in_words() -> Iterator[None]:
    """Turns what can go wrong inside a graph into an error with its sentence alone.

    A failed check becomes a ValueError, the loss of another worker a ConnectionError.
    """
    try:
        yield
    except (tf.errors.OpError, ValueError) as error:
        message = _checks.user_message(error)
        if message is not None:
            raise ValueError(message) from None
        if isinstance(error, tf.errors.OpError) and distribute.worker_was_lost(error):
            raise ConnectionError(distribute.LOST) from error
        raise


def bound(method: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Returns the arguments of a call of `method` by name.

    Raises:
        TypeError: as Python does, for arguments that the method does not take.
    """
    arguments = inspect.signature(method).bind(*args, **kwargs).arguments
    others = arguments.pop("kwargs", {})
    return {**arguments, **others}
