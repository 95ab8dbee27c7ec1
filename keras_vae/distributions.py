"""The one door to TensorFlow Probability, which is imported when a distribution is first made.

Thin constructors with float32 parameters, and the statistics that TensorFlow Probability lacks.
"""

import functools
from typing import Any

import tensorflow as tf

from keras_vae._types import Tensor


@functools.cache
def _tfd() -> Any:
    try:
        import tensorflow_probability as tfp

        return tfp.distributions
    except ImportError as error:
        raise ImportError(
            f"TensorFlow Probability could not be imported ({error}); it needs tf-keras beside it: "
            "run `pip install --upgrade tensorflow-probability tf-keras`."
        ) from error


def normal(loc: Tensor, scale: Tensor) -> Any:
    """Returns Normal(loc, scale^2), elementwise."""
    return _tfd().Normal(loc, scale)


def bernoulli(logits: Tensor) -> Any:
    """Returns Bernoulli(sigmoid(logits)) over float32 values, elementwise.

    The dtype matters: with TensorFlow Probability's default of int32 a NumPy target of 0.3 counts
    as 0, silently.
    """
    return _tfd().Bernoulli(logits=logits, dtype=tf.float32)


def point(loc: Tensor) -> Any:
    """Returns the point mass at `loc`, elementwise."""
    return _tfd().Deterministic(loc)


def independent(distribution: Any, ndims: int) -> Any:
    """Returns the distribution with its last `ndims` batch axes made one event."""
    return _tfd().Independent(distribution, ndims) if ndims else distribution


def kl_divergence(q: Any, p: Any) -> Tensor | None:
    """Returns KL(q || p) in closed form, in nats, or None where no closed form is known."""
    try:
        return _tfd().kl_divergence(q, p)
    except NotImplementedError:
        return None
