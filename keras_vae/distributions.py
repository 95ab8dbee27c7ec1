"""The one door to TensorFlow Probability, which is imported when a distribution is first made.

Thin constructors with float32 parameters, and the statistics that TensorFlow Probability lacks.
"""

import functools
from collections.abc import Callable
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


def laplace(loc: Tensor, scale: Tensor) -> Any:
    """Returns Laplace(loc, scale), elementwise."""
    return _tfd().Laplace(loc, scale)


def student_t(df: Tensor, loc: Tensor, scale: Tensor) -> Any:
    """Returns Student's t with `df` degrees of freedom, moved and scaled, elementwise."""
    return _tfd().StudentT(df, loc, scale)


def continuous_bernoulli(logits: Tensor) -> Any:
    """Returns the continuous Bernoulli of these logits on [0, 1], elementwise."""
    return _tfd().ContinuousBernoulli(logits=logits)


def beta(concentration1: Tensor, concentration0: Tensor) -> Any:
    """Returns Beta(concentration1, concentration0) on (0, 1), elementwise."""
    return _tfd().Beta(concentration1, concentration0)


def categorical(logits: Tensor) -> Any:
    """Returns the distribution of a class 0..K-1 as float32, for logits (..., K)."""
    return _tfd().Categorical(logits=logits, dtype=tf.float32)


def one_hot_categorical(logits: Tensor) -> Any:
    """Returns the distribution of a class as a one-hot float32 vector, for logits (..., K)."""
    return _tfd().OneHotCategorical(logits=logits, dtype=tf.float32)


def poisson_draw(log_rate: Tensor, seed: Tensor) -> Tensor:
    """Returns draws of Poisson(exp(log_rate)), float32."""
    return _tfd().Poisson(log_rate=log_rate).sample(seed=seed)


def gamma_draw(concentration: Tensor, log_rate: Tensor, seed: Tensor) -> Tensor:
    """Returns draws of Gamma(concentration, exp(log_rate)), float32."""
    return _tfd().Gamma(concentration, log_rate=log_rate).sample(seed=seed)


def from_functions(
    log_prob: Callable[[Tensor], Tensor],
    mean: Callable[[], Tensor],
    draw: Callable[[Tensor], Tensor],
    batch_shape: Tensor,
    event_shape: tuple[int, ...] = (),
) -> Any:
    """Returns a distribution over float32 values of these functions.

    Args:
        log_prob: From x (..., E) to log p(x), (...), in nats.
        mean: Returns the mean, (*batch_shape, *event_shape).
        draw: From a seed int32[2] to one draw, of the mean's shape.
        batch_shape: int32 tensor.
        event_shape: E.
    """
    return _from_functions_class()(log_prob, mean, draw, batch_shape, event_shape)


@functools.cache
def _from_functions_class() -> Any:
    tfd = _tfd()
    base: Any = tfd.Distribution

    class FromFunctions(base):
        def __init__(
            self, log_prob: Any, mean: Any, draw: Any, batch_shape: Any, event_shape: Any
        ) -> None:
            self._functions = (log_prob, mean, draw)
            self._shapes = (batch_shape, event_shape)
            super().__init__(
                tf.float32, tfd.NOT_REPARAMETERIZED, False, True, parameters=dict(locals())
            )

        def _batch_shape_tensor(self) -> Tensor:
            return self._shapes[0]

        def _batch_shape(self) -> Any:
            static = tf.get_static_value(self._shapes[0], partial=True)
            return tf.TensorShape(static)

        def _event_shape_tensor(self) -> Tensor:
            return tf.constant(self._shapes[1], tf.int32)

        def _event_shape(self) -> Any:
            return tf.TensorShape(self._shapes[1])

        def _log_prob(self, x: Tensor) -> Tensor:
            return self._functions[0](x)

        def _mean(self) -> Tensor:
            return self._functions[1]()

        def _sample_n(self, n: Any, seed: Any = None) -> Tensor:
            seeds = tf.random.experimental.stateless_split(_sanitized(seed), n)
            return tf.map_fn(self._functions[2], seeds, fn_output_signature=tf.float32)

    return FromFunctions


def _sanitized(seed: Any) -> Tensor:
    import tensorflow_probability as tfp

    return tfp.random.sanitize_seed(seed)


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
