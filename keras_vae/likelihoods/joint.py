"""Several likelihoods over blocks of one event."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae import _checks, _registry, distributions
from keras_vae._registry import register
from keras_vae._types import Given, Tensor
from keras_vae.likelihoods.base import NOTHING, Likelihood


@register("likelihood", "joint")
class Joint(Likelihood):
    """p(x|z) = prod_b p_b(x_b|z): a likelihood of its own for each block of the last axis.

    A table of real, count, binary and categorical columns is one event, and so is an image whose
    channels are of different kinds. Parameters stand block after block on the last axis.

    Args:
        likelihoods: One for each block: names, instances or configs.
        sizes: How long each block is on the event's last axis; together as long as that.

    Raises:
        ValueError: if there are not as many sizes as likelihoods, or, when a model is made, if they
            do not add up to the last axis.

    Reference: Nazabal et al., Handling Incomplete Heterogeneous Data using VAEs, 2020, section 3.
    """

    def __init__(self, likelihoods: Sequence[Any], sizes: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(likelihoods, (list, tuple)):
            raise TypeError(
                f"likelihoods is {likelihoods!r}; expected a list, such as ['normal', 'poisson']."
            )
        self.likelihoods = [_registry.get("likelihood", one) for one in likelihoods]
        self.sizes = _checks.integers("sizes", sizes, "(3, 2)")
        if len(self.likelihoods) != len(self.sizes):
            raise ValueError(
                f"likelihoods holds {len(self.likelihoods)} and sizes {len(self.sizes)}; expected "
                "one size for each likelihood."
            )
        if len({id(one) for one in self.likelihoods}) < len(self.likelihoods):
            raise ValueError(
                "likelihoods holds one instance twice; expected an instance of its own for each."
            )
        self.discrete = all(one.discrete for one in self.likelihoods)
        self.takes_offset = any(one.takes_offset for one in self.likelihoods)

    def _setup(self, event_shape: tuple[int, ...]) -> None:
        if sum(self.sizes) != event_shape[-1]:
            raise ValueError(
                f"sizes is {self.sizes}, which adds up to {sum(self.sizes)}; expected the last "
                f"axis of events of shape {event_shape}, {event_shape[-1]}."
            )
        for one, shape in zip(self.likelihoods, self._blocks(event_shape)):
            one.setup(shape)
        self.fill = np.concatenate(
            [
                np.broadcast_to(np.float32(one.fill), (size,))
                for one, size in zip(self.likelihoods, self.sizes)
            ]
        )
        supports = [_checks.support(one.support) for one in self.likelihoods]
        self.support = _checks.Support(
            "; ".join(f"{words} in {where}" for words, where in self._described(supports)),
            lambda x: self._joined([s.contains(b) for s, b in zip(supports, self._split(x))]),
            "Say for each block which values it holds.",
            all(one.whole for one in supports),
        )

    def _described(self, supports: Sequence[_checks.Support]) -> list[tuple[str, str]]:
        """Returns the words of each support with the places on the last axis where it holds."""
        ends = np.cumsum(self.sizes)
        return [
            (one.words, f"{end - size}:{end}") for one, size, end in zip(supports, self.sizes, ends)
        ]

    def _blocks(self, event_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(*event_shape[:-1], size) for size in self.sizes]

    def _split(self, x: Any) -> list[Any]:
        if isinstance(x, np.ndarray):
            return np.split(x, np.cumsum(self.sizes)[:-1], -1)
        return tf.split(x, self.sizes, -1)

    def _joined(self, blocks: list[Any]) -> Any:
        if isinstance(blocks[0], np.ndarray):
            return np.concatenate(blocks, -1)
        return tf.concat(blocks, -1)

    def _each(self, params: Tensor) -> list[tuple[Likelihood, Tensor]]:
        """Returns each likelihood with its parameters."""
        shapes = map(self._params_length, self.likelihoods, self._blocks(self.event_shape))
        return list(zip(self.likelihoods, tf.split(self._checked(params), list(shapes), -1)))

    @staticmethod
    def _params_length(one: Likelihood, shape: tuple[int, ...]) -> int:
        return one.params_shape(shape)[-1]

    def params_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the event's shape with the blocks' parameters on the last axis."""
        lengths = map(self._params_length, self.likelihoods, self._blocks(event_shape))
        return (*event_shape[:-1], sum(lengths))

    def to_network(self, x: Tensor) -> Tensor:
        """Returns what the encoder sees of each block, side by side, (B, *network_shape)."""
        seen = [one.to_network(block) for one, block in zip(self.likelihoods, self._split(x))]
        return tf.concat(seen, -1)

    def network_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the event's shape with what the encoder sees of the blocks on the last axis."""
        shapes = zip(self.likelihoods, self._blocks(event_shape))
        return (*event_shape[:-1], sum(one.network_shape(shape)[-1] for one, shape in shapes))

    def initial_params(self, mean: Tensor, stddev: Tensor) -> Tensor:
        """Returns each block's start, and 0 for those that have none."""
        moments = zip(self._split(mean), self._split(stddev))
        starts = []
        for one, block, (m, s) in zip(
            self.likelihoods, self._blocks(self.event_shape), moments, strict=True
        ):
            start = one.initial_params(m, s)
            starts.append(tf.zeros(one.params_shape(block)) if start is None else start)
        return tf.concat(starts, -1)

    def observe(
        self, params: Tensor, x: Tensor, mask: Tensor | None, weights: Tensor | None
    ) -> list[Any]:
        """Returns what each block observed."""
        return [
            one.observe(own, block, shown, weights)
            for (one, own), block, shown in zip(
                self._each(params), self._split(x), self._masks(mask), strict=True
            )
        ]

    def _masks(self, mask: Tensor | None) -> list[Tensor | None]:
        return [None] * len(self.sizes) if mask is None else self._split(tf.convert_to_tensor(mask))

    def _givens(self, given: Given) -> list[Given]:
        if given.observed is None:
            return [given] * len(self.sizes)
        return [given._replace(observed=one) for one in given.observed]

    def log_prob(
        self, params: Tensor, x: Tensor, given: Given = NOTHING, mask: Tensor | None = None
    ) -> Tensor:
        """Returns log p(x|z), (...), in nats, the sum over the blocks."""
        x = tf.cast(x, tf.float32)
        blocks = zip(
            self._each(params), self._split(x), self._givens(given), self._masks(mask), strict=True
        )
        return tf.add_n([one.log_prob(own, x, g, m) for (one, own), x, g, m in blocks])

    def mean(self, params: Tensor, given: Given = NOTHING) -> Tensor:
        """Returns the mean of p(x|z), (..., E), float32."""
        each = zip(self._each(params), self._givens(given))
        return tf.concat([one.mean(own, g) for (one, own), g in each], -1)

    def sample(self, params: Tensor, seed: Tensor, given: Given = NOTHING) -> Tensor:
        """Returns one draw of p(x|z) for each parameter vector, (..., E), float32."""
        seeds = tf.unstack(tf.random.experimental.stateless_split(seed, len(self.sizes)))
        each = zip(self._each(params), seeds, self._givens(given))
        return tf.concat([one.sample(own, s, g) for (one, own), s, g in each], -1)

    def distribution(self, params: Tensor, given: Given = NOTHING) -> Any:
        """Returns p(x|z) as a TensorFlow Probability distribution over whole events."""
        params = self._checked(params)
        return distributions.from_functions(
            lambda x: self.log_prob(params, x, given),
            lambda: self.mean(params, given),
            lambda seed: self.sample(params, seed, given),
            tf.shape(params)[: -len(self.event_shape)],
            self.event_shape,
        )
