"""What Keras delivers to a `VAE`: looked at before it runs, and turned into the model's inputs."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_vae import _checks
from keras_vae._types import Given, Inputs, Tensor
from keras_vae.likelihoods import Likelihood


class Receiving(keras.Model):
    """The methods of `VAE` that check and unpack data, for a model that has the parts."""

    event_shape: tuple[int, ...]
    likelihood: Likelihood

    def _received(self, options: dict[str, Any]) -> dict[str, Any]:
        """Returns the arguments of a Keras method, checked where that needs no look at the data.

        Steps check the values, but XLA cannot compile that: for it arrays are checked here and
        streams on their way. Without y Keras would drop sample weights silently, so they get a y of
        zeros.
        """
        x, weights = options.get("x"), options.get("sample_weight")
        spec = x.element_spec if isinstance(x, tf.data.Dataset) else x
        first = spec[0] if isinstance(spec, tuple) and spec else spec
        shape = getattr(_checks.event_of(first), "shape", None)
        if shape is not None and tf.TensorShape(shape).rank is not None:
            self._check_shape(tuple(shape))
        if self.jit_compile and not self.run_eagerly:
            options = {**options, "x": self._checked(x)}
        if weights is not None:
            _checks.sample_weights(np.asarray(weights))
            event = _checks.event_of(x)
            if options.get("y") is None and event is not None and hasattr(event, "__len__"):
                options = {**options, "y": np.zeros(len(event), np.float32)}
        return options

    def _checked(self, x: Any) -> Any:
        """Returns data whose values are checked outside the step."""
        if isinstance(x, tf.data.Dataset):
            alone = not isinstance(x.element_spec, tuple)

            def check(number: Tensor, batch: Any) -> Any:
                first = batch if alone else batch[0]
                event = tf.cast(_checks.event_of(first), tf.float32)
                with tf.control_dependencies([self._warn_of_grey(event, number)]):
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
            self._checked_batch(x)
        return x

    def _checked_batches(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            try:
                yield self._checked_batch(batch)
            except ValueError as error:  # will come out of TensorFlow as one of its own
                raise ValueError(f"{_checks.MARK} {error} {_checks.MARK}") from None

    def _checked_batch(self, batch: Any) -> Any:
        first = batch[0] if isinstance(batch, tuple) else batch
        values = np.asarray(_checks.event_of(first))
        _checks.array_support(values, self.likelihood.support, self.likelihood.short_name)
        if self._may_be_grey():
            _checks.whole_numbers(values, self.likelihood.short_name)
        return batch

    def _in_support(self, x: Tensor) -> Tensor:
        return _checks.assert_support(x, self.likelihood.support, self.likelihood.short_name)

    def _may_be_grey(self) -> bool:
        """Returns whether the likelihood scores values that it gives no probability to."""
        return self.likelihood.discrete and not _checks.support(self.likelihood.support).whole

    def _warn_of_grey(self, x: Tensor, step: Tensor) -> tf.Operation:
        """Looks at the first batch for values that the likelihood gives no probability to."""
        if not self._may_be_grey():
            return tf.no_op()

        def look(values: np.ndarray) -> None:
            _checks.whole_numbers(values, self.likelihood.short_name)

        def call() -> tf.Operation:
            return tf.group(tf.numpy_function(look, [x], []))

        return tf.group(tf.cond(step == 0, call, tf.no_op))

    def _given(self, x: Any) -> Given:
        """Returns the side inputs that came with x."""
        likelihood = self.likelihood
        offset = _checks.offset_of(x, likelihood.takes_offset, likelihood.short_name)
        if offset is None:
            return Given()
        offset = tf.reshape(tf.cast(offset, tf.float32), [-1])
        return Given(offset=offset if self.jit_compile else _checks.assert_offset(offset))

    def _inputs(self, data: Any) -> Inputs:
        """Returns what Keras delivered as x, mask, weights and side inputs; y is left out."""
        x, _, weights = keras.utils.unpack_x_y_sample_weight(data)
        if isinstance(x, (tuple, list)) and len(x) == 1:
            x = x[0]
        given = self._given(x)
        x = _checks.event_of(x)
        if not hasattr(x, "shape"):
            raise TypeError(
                f"The model received {type(x).__name__} as x; expected one array or tensor of "
                f"shape (batch, {', '.join(map(str, self.event_shape))})."
            )
        if tf.TensorShape(x.shape).rank is not None:
            self._check_shape(tuple(x.shape))
        x = tf.ensure_shape(tf.cast(x, tf.float32), (None, *self.event_shape))
        if weights is not None:
            weights = tf.reshape(tf.cast(weights, tf.float32), [-1])
        if not self.jit_compile:
            x = self._in_support(x)
            weights = None if weights is None else _checks.assert_weights(weights)
        return Inputs(x, None, weights, given)

    def _check_shape(self, received: tuple[Any, ...]) -> None:
        sizes = zip(received[1:], self.event_shape)
        fits = len(received) == len(self.event_shape) + 1
        if not fits or any(size not in (None, expected) for size, expected in sizes):
            raise ValueError(_checks.shape_message(received, self.event_shape))


def num_examples(options: dict[str, Any]) -> int | None:
    """Returns how many examples `fit` is given to train on, or None where that cannot be told."""
    x = _checks.event_of(options["x"])
    if isinstance(x, (np.ndarray, tf.Tensor)):
        return int(len(x) * (1.0 - (options.get("validation_split") or 0.0)))
    return getattr(x, "num_examples", None)
