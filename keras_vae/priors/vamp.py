"""The variational mixture of posteriors."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_vae import _checks
from keras_vae._registry import register
from keras_vae._types import Given, Tensor
from keras_vae.priors.base import Prior

#: Pseudo-inputs that start at data are moved by this share of its spread, so that none are equal.
_JITTER = 0.01


@register("prior", "vamp")
class Vamp(Prior):
    """p(z) = sum_k w_k q(z|u_k): the posteriors of K learned pseudo-inputs.

    Pseudo-inputs are what the encoder sees, and are kept within the range of what it may see. They
    start at random examples where `VAE.adapt` is called, as `keras-vae train` does. A sample comes
    from a component drawn at random.

    Where the model has a condition, each pseudo-input has a learned one of its own.

    With a posterior whose density takes many passes, such as an autoregressive flow, every step
    takes K times as many.

    Args:
        components: K. With `pseudo_inputs` it is their number.
        pseudo_inputs: Where they start, (K, ...) of the shape the encoder sees; else at data, or at
            random. Kept as weights, not in the config.
        learned_weights: Whether the w_k are learned; else each is 1 / K.

    Reference: Tomczak and Welling, VAE with a VampPrior, 2018, eq. 9 (equal weights).
    """

    needs = frozenset({"density"})

    def __init__(
        self, components: int = 500, pseudo_inputs: Any = None, learned_weights: bool = False
    ) -> None:
        super().__init__()
        self._start = None if pseudo_inputs is None else np.asarray(pseudo_inputs, np.float32)
        if self._start is not None and not (self._start.ndim and len(self._start)):
            raise ValueError("pseudo_inputs holds no example; expected at least one.")
        count = components if self._start is None else len(self._start)
        self.components = _checks.integer("components", count, maximum=_checks.WIDEST)
        self.learned_weights = bool(learned_weights)
        self.posterior_densities = self.components
        self.examples = 0 if self._start is not None else self.components

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments without `pseudo_inputs`, which are weights."""
        return {"components": self.components, "learned_weights": self.learned_weights} | (
            {} if self.trainable else {"trainable": False}
        )

    def _setup(self, latent_dim: int) -> None:
        if self.network_input is None:
            raise ValueError(
                "The prior 'vamp' was set up without `network_input`, the shape its pseudo-inputs "
                "have; expected a latent model that sets it, such as keras_vae.latents.Single in a "
                "VAE."
            )
        self.inputs = self.add_weight(
            name="pseudo_inputs",
            shape=(self.components, *self.network_input.shape),
            initializer=self._initializer(),
        )
        if self.network_input.condition_size:
            self.conditions = self.add_weight(
                name="pseudo_conditions",
                shape=(self.components, self.network_input.condition_size),
                initializer="zeros",
            )
        if self.learned_weights:
            self.logits = self.add_weight(
                name="logits", shape=(self.components,), initializer="zeros"
            )

    def _initializer(self) -> Any:
        shape, least, greatest, _ = self.network_input or ((), 0.0, 0.0, 0)
        if self._start is None:
            bounded = math.isfinite(least) and math.isfinite(greatest)
            uniform, normal = keras.initializers.RandomUniform, keras.initializers.RandomNormal
            return uniform(least, greatest) if bounded else normal(stddev=1.0)
        if self._start.shape[1:] != shape:
            raise ValueError(
                f"pseudo_inputs have shape {self._start.shape}; expected (components, "
                f"{', '.join(map(str, shape))}), the shape of what the encoder sees."
            )
        start = self._start
        return lambda shape, dtype=None: tf.constant(start)

    def adapt(self, inputs: Tensor, conditions: Tensor | None = None) -> None:
        """Starts the pseudo-inputs at network inputs (n, ...), again and again if n is below K."""
        if conditions is not None:
            self.conditions.assign(self._repeated(conditions))
        start = self._repeated(inputs)
        noise = np.random.standard_normal(start.shape).astype(np.float32)
        spread = tf.math.reduce_std(inputs)
        self.inputs.assign(start + _JITTER * tf.where(spread > 0.0, spread, 1.0) * noise)

    def _repeated(self, rows: Tensor) -> Tensor:
        """Returns the first K of rows (n, ...) that stand one after the other."""
        turns = -(-self.components // len(rows))
        return tf.tile(rows, [turns, *[1] * (len(rows.shape) - 1)])[: self.components]

    def _distribution(self, given: Given) -> Any:
        if given.posterior_of is None:
            raise ValueError(
                "The prior 'vamp' was bound without an encoder; expected `given.posterior_of`, as "
                "the model's own functions give it (`vae.graph.given()`)."
            )
        _, least, greatest, conditional = self.network_input or ((), -math.inf, math.inf, 0)
        inputs: Any = _kept_within(tf.convert_to_tensor(self.inputs), least, greatest)
        if conditional:
            inputs = [inputs, tf.convert_to_tensor(self.conditions)]
        logits = self.logits if self.learned_weights else tf.zeros([self.components])
        return _Posteriors(given.posterior_of, inputs, tf.nn.log_softmax(logits))


class _Posteriors:
    """A mixture of the posteriors of some network inputs (K, ...), or nests of them."""

    def __init__(
        self, posterior_of: Callable[[Any], Any], inputs: Any, log_weights: Tensor
    ) -> None:
        self._posterior_of = posterior_of
        self._inputs = inputs
        self._log_weights = log_weights

    def log_prob(self, z: Tensor) -> Tensor:
        """Returns log p(z), (...), for z (..., D)."""
        components = self._posterior_of(self._inputs).log_prob(z[..., None, :])
        return tf.reduce_logsumexp(components + self._log_weights, -1)

    def sample(self, n: Tensor | int, seed: Tensor) -> Tensor:
        """Returns n draws, (n, D), each of a component drawn at random."""
        seeds = tf.random.experimental.stateless_split(seed, 2)
        drawn = tf.random.stateless_categorical(self._log_weights[None], n, seeds[0])[0]
        # Only the inputs drawn are encoded: estimates draw few at a time from many components.
        chosen = tf.nest.map_structure(lambda inputs: tf.gather(inputs, drawn), self._inputs)
        q = self._posterior_of(chosen)
        return q.draw(tf.random.stateless_normal([1, n, q.noise_size], seeds[1]))[0][0]


def _kept_within(x: Tensor, least: float, greatest: float) -> Tensor:
    """Returns x clipped, with the gradient of the identity unless it points further outside.

    The gradient of a plain clip is 0 outside, and what has left would never come back.
    """

    @tf.custom_gradient
    def clip(values: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        def gradient(upstream: Tensor) -> Tensor:
            outward = (values < least) & (upstream > 0.0) | (values > greatest) & (upstream < 0.0)
            return tf.where(outward, 0.0, upstream)

        return tf.clip_by_value(values, least, greatest), gradient

    return clip(x)
