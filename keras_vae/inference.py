"""What users ask of a trained model: arrays in, NumPy arrays out, in batches of any size."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae import _checks, plots
from keras_vae._types import Given, Tensor
from keras_vae.estimators import SCHEDULES, LogLikelihood
from keras_vae.graph import Annealed, ELBOTerms, Encoding, Graph, Sample
from keras_vae.latents import LatentModel
from keras_vae.likelihoods import Likelihood

#: How codes may be joined.
BETWEEN = {"linear": plots.linear, "spherical": plots.spherical}


class Inference:
    """The methods of `VAE` that neither train nor save.

    Each compiles one function of `Graph` on first use. Several outputs come as a named tuple with
    the names of the exported signatures. Where the likelihood takes a size factor, events x are
    given as {"x": (n, E), "offset": (n,)}, as to `fit`.
    """

    event_shape: tuple[int, ...]
    graph: Graph
    latent: LatentModel
    likelihood: Likelihood

    def encode(self, x: Any, batch_size: int = 256) -> Encoding:
        """Returns the mean and standard deviation of q(z|x), each (n, D), for x (n, E)."""
        rows = [_rows("x", _checks.event_of(x), self.event_shape)]
        return self._over_batches("encode", self.graph.encode, rows, batch_size)

    def decode(self, z: Any, batch_size: int = 256, offset: Any = None) -> np.ndarray:
        """Returns the mean of p(x|z), (n, E), for latents z (n, D).

        `offset` holds size factors, (n,), for a likelihood that takes them; None is 1 for each.
        """
        rows = [_rows("z", z, (self.latent.output_dim,)), *self._offsets(offset, len(z))]

        def decode(z: Tensor, *offset: Tensor) -> Tensor:
            return self.graph.decode(z, Given(offset=[*offset, None][0]))

        return self._over_batches("decode", decode, rows, batch_size)

    def reconstruct(self, x: Any, batch_size: int = 256) -> np.ndarray:
        """Returns the mean of p(x|z) at the mean of q(z|x), (n, E), for x (n, E)."""
        return self._in_batches("reconstruct", self.graph.reconstruct, x, batch_size)

    def sample(self, n: int, seed: Any = None, offset: Any = None) -> Sample:
        """Returns n new events: draws `x` and means `mean` of p(x|z), (n, E), and `z` (n, D).

        Args:
            n: How many.
            seed: Whole number or pair of them; the same seed gives the same events, here and from
                the exported model. None takes one from NumPy's global generator.
            offset: Size factors, (n,) or one number, for a likelihood that takes them; None is 1.
        """
        n = _checks.integer("n", n, maximum=2**31 - 1)
        if seed is None:
            seed = np.random.randint(0, 2**31, 2)
        offsets = [tf.constant(each) for each in self._offsets(offset, n)]
        specs = [tf.TensorSpec([], tf.int32), tf.TensorSpec([2], tf.int32)]
        specs += [tf.TensorSpec([None], tf.float32) for _ in offsets]

        def sample(n: Tensor, seed: Tensor, *offset: Tensor) -> Sample:
            return self.graph.sample(n, seed, Given(offset=[*offset, None][0]))

        function = self._compiled("sample", sample, specs)
        return _to_numpy(function(tf.constant(n), tf.constant(_checks.seed_pair(seed)), *offsets))

    def _offsets(self, offset: Any, count: int) -> list[np.ndarray]:
        """Returns the size factors of what is drawn, (count,), if the likelihood takes any."""
        if not self.likelihood.takes_offset:
            if offset is not None:
                _checks.offset_of({"x": None, "offset": offset}, False, self.likelihood.short_name)
            return []
        return [_checks.array_offset(1.0 if offset is None else offset, count)]

    def interpolate(self, a: Any, b: Any, steps: int = 8, method: str = "linear") -> np.ndarray:
        """Returns the decoded lines or arcs between the codes of a and b, (n, steps, E).

        Args:
            a: Events where they start, (n, E).
            b: Events where they end, (n, E).
            steps: Points on each, both ends included; at least 2.
            method: "linear" for straight lines, or "spherical"; see `keras_vae.plots.spherical`.

        Raises:
            ValueError: if a and b differ in number, or for another method.
        """
        steps = _checks.integer("steps", steps, 2)
        path = BETWEEN[_checks.one_of("method", method, tuple(BETWEEN))]
        start, end = self.encode(a).mean, self.encode(b).mean
        if start.shape != end.shape:
            raise ValueError(
                f"a holds {len(start)} events and b {len(end)}; expected the same number."
            )
        decoded = self.decode(path(start, end, steps).reshape(-1, start.shape[1]))
        return decoded.reshape(len(start), steps, *self.event_shape)

    def posterior(self, x: Any) -> Any:
        """Returns q(z|x) for x (B, E) as a TensorFlow Probability distribution; differentiable."""
        return self.graph.posterior(tf.convert_to_tensor(x, tf.float32)).distribution()

    def observation(self, z: Any) -> Any:
        """Returns p(x|z) for z (..., D) as a TensorFlow Probability distribution."""
        params = self.graph.parameters(tf.convert_to_tensor(z, tf.float32))
        return self.likelihood.distribution(params, self.graph.generating())

    def elbo(
        self, x: Any, num_samples: int = 1, seed: Any = 0, batch_size: int = 256
    ) -> np.ndarray:
        """Returns the evidence lower bound at beta = 1 of each example, (n,), in nats.

        Args:
            x: Events (n, E).
            num_samples: Draws of z per example that the reconstruction term is averaged over.
            seed: Of the draws, which depend on each example's own bits and not on the batch.
            batch_size: Examples at a time; without effect on the values.

        Raises:
            ValueError: if the posterior has no density, or x is outside the support.
        """
        return self._scored("elbo", self.graph.elbo, x, num_samples, seed, batch_size)

    def elbo_terms(
        self, x: Any, num_samples: int = 1, seed: Any = 0, batch_size: int = 256
    ) -> ELBOTerms:
        """Returns the two terms whose negative sum is `elbo`, each (n,), in nats."""
        function = self.graph.elbo_terms
        return self._scored("elbo_terms", function, x, num_samples, seed, batch_size)

    def kl_parts(self, x: Any, seed: Any = 0, batch_size: int = 256) -> np.ndarray:
        """Returns KL(q(z|x) || p(z)) by latent dimension, (n, D), in nats; the sum is the KL.

        Where it does not split by dimension there is one column, or one for each stochastic layer.
        Arguments and errors are those of `elbo`.
        """
        self._check_density("kl_parts")
        seed = tf.constant(_checks.seed_pair(seed))
        rows = [_rows("x", _checks.event_of(x), self.event_shape)]
        return self._over_batches("kl_parts", self.graph.kl_parts, rows, batch_size, seed)

    def log_likelihood(
        self, x: Any, num_samples: int = 500, seed: Any = 0, batch_size: int = 100
    ) -> np.ndarray:
        """Returns log p(x) of each example, (n,), in nats, by importance sampling from q(z|x).

        Arguments and errors are those of `elbo`. The estimate is log of the mean of
        p(x|z) p(z) / q(z|x) over the samples, a lower bound in expectation.
        """
        return self.importance_sample(x, num_samples, seed, batch_size).log_likelihood

    def importance_sample(
        self, x: Any, num_samples: int = 500, seed: Any = 0, batch_size: int = 100
    ) -> LogLikelihood:
        """Returns `log_likelihood` with its Monte Carlo error, effective sample size and tail."""
        function = self.graph.log_likelihood
        return self._scored("log_likelihood", function, x, num_samples, seed, batch_size)

    def prior_sample(
        self, x: Any, num_samples: int = 500, seed: Any = 0, batch_size: int = 100
    ) -> LogLikelihood:
        """Returns log p(x) by the mean of p(x|z) over draws of p(z), plain Monte Carlo.

        It needs no posterior, and fails where the data says much of z: then hardly a draw of p(z)
        explains x, and the estimate is far too low. Arguments are those of `elbo`.
        """
        function = self.graph.prior_log_likelihood
        return self._scored("prior_sample", function, x, num_samples, seed, batch_size, False)

    def annealed_sample(
        self,
        x: Any,
        num_chains: int = 16,
        temperatures: int = 500,
        leapfrog_steps: int = 10,
        seed: Any = 0,
        batch_size: int = 100,
        schedule: str = "sigmoid",
        start: str = "prior",
        origin: Any = None,
    ) -> Annealed:
        """Returns log p(x) of each example by annealed importance sampling, (n,), in nats.

        Chains go from p(z) to the posterior by Hamiltonian transitions. The value is a lower bound
        in expectation, which more temperatures tighten. Each chain takes temperatures times
        leapfrog_steps gradients of the decoder, and so do up to 16 chains of a pilot run, which
        finds the step sizes. They are fixed in the run that is weighed, so adapting does not bias
        it.

        Args:
            x: Events (n, E).
            num_chains: Independent chains per example.
            temperatures: Steps on the geometric path.
            leapfrog_steps: Of each Hamiltonian transition.
            seed: Of the chains, which depend on each example's own bits and not on the batch.
            batch_size: Examples at a time.
            schedule: Of the inverse temperatures: "sigmoid" or "linear".
            start: "prior", or "posterior" to begin at q(z|x).
            origin: The latents (n, D) that x was simulated from, as `sample` returns them. Then the
                chains run backwards, and the value is an upper bound in expectation.

        Raises:
            ValueError: for an unknown schedule or start, x outside the support, or q(z|x) without
                density as start.

        References: Neal, Annealed Importance Sampling, 2001; Grosse, Ghahramani and Adams,
        Sandwiching the Marginal Likelihood Using Bidirectional Monte Carlo, 2015.
        """
        _checks.one_of("schedule", schedule, SCHEDULES)
        if _checks.one_of("start", start, ("prior", "posterior")) == "posterior":
            self._check_density("annealed_sample(start='posterior')")
        counts = {"num_chains": num_chains, "temperatures": temperatures}
        counts["leapfrog_steps"] = leapfrog_steps
        whole = [
            tf.constant(_checks.integer(name, value, maximum=2**31 - 1))
            for name, value in counts.items()
        ]
        rows = self._supported(x)
        sides = len(rows) - 1
        if origin is not None:
            rows.append(_rows("origin", origin, (self.latent.latent_dim,)))
        split = len(rows)

        def function(*arguments: Tensor) -> Annealed:
            x, *others = arguments[:split]
            origin, given = [*others[sides:], None][0], Given(offset=[*others[:sides], None][0])
            return self.graph.annealed(
                x, *arguments[split:], schedule=schedule, start=start, origin=origin, given=given
            )

        name = f"annealed {schedule} {start} {split}"
        seed = tf.constant(_checks.seed_pair(seed))
        return self._over_batches(name, function, rows, batch_size, *whole, seed)

    def _scored(
        self,
        name: str,
        function: Any,
        x: Any,
        num_samples: int,
        seed: Any,
        batch_size: int,
        density: bool = True,
    ) -> Any:
        if density:
            self._check_density(name)
        num_samples = tf.constant(_checks.integer("num_samples", num_samples, maximum=2**31 - 1))
        seed = tf.constant(_checks.seed_pair(seed))
        self._supported(x)
        return self._in_batches(name, function, x, batch_size, num_samples, seed)

    def _supported(self, x: Any) -> list[np.ndarray]:
        rows = self._with_sides(x)
        _checks.array_support(rows[0], self.likelihood.support, self.likelihood.short_name)
        return rows

    def _with_sides(self, x: Any) -> list[np.ndarray]:
        """Returns x (n, E) and, if the likelihood takes them, its size factors (n,)."""
        likelihood = self.likelihood
        offset = _checks.offset_of(x, likelihood.takes_offset, likelihood.short_name)
        rows = _rows("x", _checks.event_of(x), self.event_shape)
        return [rows] if offset is None else [rows, _checks.array_offset(offset, len(rows))]

    def _check_density(self, name: str) -> None:
        if "density" not in self.latent.offers:
            raise ValueError(
                f"{name} needs a posterior with a density; this model's posterior has none, so "
                "there is no bound on log p(x). Use 'diagonal_normal' instead of 'point'."
            )

    def _in_batches(
        self,
        name: str,
        function: Callable[..., Any],
        x: Any,
        batch_size: int,
        *arguments: Tensor,
    ) -> Any:
        """Returns what a function of x, arguments and side inputs gives over all of x."""
        rows = self._with_sides(x)
        count = len(rows) - 1

        def with_sides(x: Tensor, *others: Tensor) -> Any:
            given = Given(offset=[*others[:count], None][0])
            return function(x, *others[count:], given=given)

        return self._over_batches(name, with_sides, rows, batch_size, *arguments)

    def _over_batches(
        self,
        name: str,
        function: Callable[..., Any],
        rows: list[np.ndarray],
        batch_size: int,
        *arguments: Tensor,
    ) -> Any:
        """Returns the compiled function's outputs over all rows, concatenated, as NumPy arrays."""
        batch_size = _checks.integer("batch_size", batch_size)
        if len({len(array) for array in rows}) > 1:
            raise ValueError(
                f"x holds {len(rows[0])} rows and origin {len(rows[1])}; expected as many."
            )
        specs = [tf.TensorSpec([None, *array.shape[1:]], tf.float32) for array in rows]
        specs += [tf.TensorSpec(a.shape, a.dtype) for a in arguments]
        compiled = self._compiled(name, function, specs)
        outputs = []
        for first in range(0, len(rows[0]), batch_size):
            batch = [tf.constant(array[first : first + batch_size]) for array in rows]
            outputs.append(_to_numpy(compiled(*batch, *arguments)))
        return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *outputs)

    def _compiled(self, name: str, function: Any, signature: list[tf.TensorSpec]) -> Any:
        functions = self.__dict__.setdefault("_functions", {})  # past Keras's attribute tracking
        if name not in functions:
            functions[name] = tf.function(function, input_signature=signature)
        return functions[name]


def _rows(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Returns values as a float32 array (n, *shape) with n of at least 1."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} holds {array.dtype}; expected numbers.")
    if array.shape[1:] != tuple(shape):
        raise ValueError(_checks.shape_message(array.shape, shape).replace("x", name, 1))
    if len(array) == 0:
        raise ValueError(f"{name} is empty; expected at least one row.")
    return array.astype(np.float32, copy=False)


def _to_numpy(nest: Any) -> Any:
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), nest)
