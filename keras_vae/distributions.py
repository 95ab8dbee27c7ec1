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
    """Returns draws of Poisson(exp(log_rate)), float32; NaN where the rate is, which would hang."""
    lost = tf.math.is_nan(log_rate)
    draws = _tfd().Poisson(log_rate=tf.where(lost, 0.0, log_rate)).sample(seed=seed)
    return tf.where(lost, float("nan"), draws)


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
        """The distribution of `from_functions`; a class of its own once TFP is imported."""

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


def full_normal(loc: Tensor, scale: Tensor) -> Any:
    """Returns Normal(loc, scale scale^T) over vectors, for a lower triangular scale (..., D, D)."""
    return _tfd().MultivariateNormalTriL(loc, scale)


def low_rank_normal(loc: Tensor, diagonal: Tensor, factor: Tensor) -> Any:
    """Returns Normal(loc, diag(diagonal) + factor factor^T) over vectors.

    Args:
        loc: (..., D).
        diagonal: Positive, (..., D).
        factor: (..., D, R).
    """
    return _tfd().MultivariateNormalDiagPlusLowRankCovariance(loc, diagonal, factor)


def mixture(logits: Tensor, components: Any) -> Any:
    """Returns the mixture of the components of a distribution of batch shape (K,)."""
    return _tfd().MixtureSameFamily(_tfd().Categorical(logits=logits), components)


def transformed(
    base: Any,
    forward: Callable[[Tensor], tuple[Tensor, Tensor]],
    inverse: Callable[[Tensor], tuple[Tensor, Tensor]],
) -> Any:
    """Returns the distribution of forward(x), x of a base over vectors.

    Args:
        base: A distribution over vectors of D.
        forward: Maps x (..., D) to y and log |dy/dx| (...).
        inverse: Maps y (..., D) to x and log |dy/dx| (...).
    """
    from tensorflow_probability import bijectors

    bijector = bijectors.Inline(
        forward_fn=lambda x: forward(x)[0],
        inverse_fn=lambda y: inverse(y)[0],
        forward_log_det_jacobian_fn=lambda x: forward(x)[1],
        inverse_log_det_jacobian_fn=lambda y: -inverse(y)[1],
        forward_min_event_ndims=1,
    )
    return _tfd().TransformedDistribution(base, bijector)


def low_rank_root(factor: Tensor) -> Tensor:
    """Returns the Cholesky root of I + V^T V, (..., R, R), whose determinant is I + V V^T's.

    Args:
        factor: V, (..., D, R).
    """
    within = tf.matmul(factor, factor, transpose_a=True)
    return tf.linalg.cholesky(tf.eye(factor.shape[-1], dtype=factor.dtype) + within)


def kl_divergence(q: Any, p: Any) -> Tensor | None:
    """Returns KL(q || p) in closed form, in nats, or None where no closed form is known."""
    tfd = _tfd()
    to_normals = isinstance(p, tfd.Independent) and isinstance(p.distribution, tfd.Normal)
    if to_normals and isinstance(q, tfd.MultivariateNormalTriL):
        return _kl_to_normals(q, p.distribution, q.scale.log_abs_determinant())
    if to_normals and isinstance(q, tfd.MultivariateNormalDiagPlusLowRankCovariance):
        stddev = tf.sqrt(q.cov_diag_factor)
        root = low_rank_root(q.cov_perturb_factor / stddev[..., None])
        diagonal = tf.concat([stddev, tf.linalg.diag_part(root)], -1)
        return _kl_to_normals(q, p.distribution, tf.reduce_sum(tf.math.log(diagonal), -1))
    try:
        return tfd.kl_divergence(q, p)
    except NotImplementedError:
        return None


def _kl_to_normals(q: Any, p: Any, log_volume: Tensor) -> Tensor:
    """Returns KL(q || p) of a correlated normal to independent ones, which the library lacks.

    Args:
        q: A normal over vectors of D.
        p: Normals, batch shape (D,).
        log_volume: Half the log-determinant of q's covariance.
    """
    scaled = (q.variance() + tf.math.squared_difference(q.mean(), p.mean())) / p.variance()
    by_dimension = 0.5 * (scaled - 1.0) + tf.math.log(p.stddev())
    return tf.reduce_sum(by_dimension, -1) - log_volume
