"""What users ask of a trained model: codes, reconstructions, samples; arrays in, arrays out."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae import _checks, _sides, plots
from keras_vae._types import Given, Tensor
from keras_vae.conditions import Condition
from keras_vae.graph import Encoding, Graph, Sample
from keras_vae.latents import LatentModel
from keras_vae.likelihoods import Likelihood

#: The side inputs that reach the parts as fields of `Given`.
_GIVEN = ("offset", "condition")
#: How codes may be joined.
BETWEEN = {"linear": plots.linear, "spherical": plots.spherical}


class Inference:
    """The methods of `VAE` that encode and decode, and how arrays of any size go in batches.

    Each compiles one function of `Graph` on first use. Several outputs come as a named tuple with
    the names of the exported signatures. What belongs to an example comes with it, as to `fit`:
    {"x": (n, E), "offset": (n,)} where the likelihood takes a size factor. A condition comes so,
    too, or as the argument `condition`: one for each example, or one for all.
    """

    event_shape: tuple[int, ...]
    graph: Graph
    latent: LatentModel
    likelihood: Likelihood
    condition: Condition | None
    missing: bool
    _side_inputs: Callable[..., dict[str, Any]]
    _check_support: Callable[[np.ndarray], None]

    def encode(self, x: Any, batch_size: int = 256, condition: Any = None) -> Encoding:
        """Returns the mean and standard deviation of q(z|x), each (n, D), for x (n, E)."""
        x = _sides.joined(x, condition=condition)
        return self._in_batches("encode", self.graph.encode, x, batch_size)

    def decode(
        self, z: Any, batch_size: int = 256, offset: Any = None, condition: Any = None
    ) -> np.ndarray:
        """Returns the mean of p(x|z), (n, E), for latents z (n, D).

        `offset` holds size factors, (n,), for a likelihood that takes them; None is 1 for each.
        """
        rows = {"x": rows_of("z", z, (self.latent.output_dim,))}
        rows |= self._drawing(len(rows["x"]), offset, condition)
        return self._over_batches("decode", self.graph.decode, rows, batch_size)

    def reconstruct(self, x: Any, batch_size: int = 256, condition: Any = None) -> np.ndarray:
        """Returns the mean of p(x|z) at the mean of q(z|x), (n, E), for x (n, E)."""
        x = _sides.joined(x, condition=condition)
        return self._in_batches("reconstruct", self.graph.reconstruct, x, batch_size)

    def sample(self, n: int, seed: Any = None, offset: Any = None, condition: Any = None) -> Sample:
        """Returns n new events: draws `x` and means `mean` of p(x|z), (n, E), and `z` (n, D).

        Args:
            n: How many.
            seed: Whole number or pair of them; the same seed gives the same events, here and from
                the exported model. None takes one from NumPy's global generator.
            offset: Size factors, (n,) or one number, for a likelihood that takes them; None is 1.
            condition: For a model that has one: one for each event, or one for all.
        """
        n = _checks.integer("n", n, maximum=2**31 - 1)
        if seed is None:
            seed = np.random.randint(0, 2**31, 2)
        sides = self._drawing(n, offset, condition)
        names = tuple(sides)
        specs = [tf.TensorSpec([], tf.int32), tf.TensorSpec([2], tf.int32)]
        specs += [tf.TensorSpec([None, *each.shape[1:]], tf.float32) for each in sides.values()]

        def sample(n: Tensor, seed: Tensor, *sides: Tensor) -> Sample:
            return self.graph.sample(n, seed, self._encoded(dict(zip(names, sides))))

        function = self._compiled("sample", sample, specs)
        arguments = [tf.constant(n), tf.constant(_checks.seed_pair(seed))]
        return _to_numpy(function(*arguments, *map(tf.constant, sides.values())))

    def _drawing(self, count: int, offset: Any, condition: Any) -> dict[str, np.ndarray]:
        """Returns the side inputs of what is drawn, by name, `count` of each."""
        if offset is None and self.likelihood.takes_offset:
            offset = 1.0
        found = self._side_inputs(_sides.joined({"x": 0}, offset=offset, condition=condition))
        return self._arrays(found, count)

    def _arrays(self, sides: dict[str, Any], count: int) -> dict[str, np.ndarray]:
        """Returns side inputs as float32 arrays with a row for each of `count` examples."""
        arrays = {}
        if "offset" in sides:
            arrays["offset"] = _checks.array_offset(sides["offset"], count)
        if self.condition is not None:
            arrays["condition"] = self.condition.array(sides["condition"], count)
        return arrays

    def _encoded(self, sides: dict[str, Tensor]) -> Given:
        """Returns side inputs, as `_arrays` has them, as the parts see them."""
        given = Given(offset=sides.get("offset"))
        if self.condition is not None:
            given = given._replace(condition=self.condition.encode(sides["condition"]))
        return given

    def interpolate(self, a: Any, b: Any, steps: int = 8, method: str = "linear") -> np.ndarray:
        """Returns the decoded lines or arcs between the codes of a and b, (n, steps, E).

        Of a model with a condition, all of a line is decoded under that of its start.

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
        z = path(start, end, steps).reshape(-1, start.shape[1])
        condition = None
        if self.condition is not None:
            condition = np.repeat(self._sided(a)["condition"], steps, 0)
        decoded = self.decode(z, condition=condition)
        return decoded.reshape(len(start), steps, *self.event_shape)

    def posterior(self, x: Any, condition: Any = None) -> Any:
        """Returns q(z|x) for x (B, E) as a TensorFlow Probability distribution; differentiable."""
        x = tf.convert_to_tensor(x, tf.float32)
        return self.graph.posterior(x, self._bound_to(condition, len(x))).distribution()

    def observation(self, z: Any, condition: Any = None) -> Any:
        """Returns p(x|z) for z (..., D) as a TensorFlow Probability distribution.

        A condition, one or as many as the last of the leading axes is long, holds for all others.
        """
        z = tf.convert_to_tensor(z, tf.float32)
        given = self._bound_to(condition, z.shape[-2] if z.shape.rank > 1 else 1)
        if z.shape.rank == 1 and given.condition is not None:
            given = given._replace(condition=given.condition[0])
        params = self.graph.parameters(z, given)
        return self.likelihood.distribution(params, self.graph.generating(given))

    def posterior_sample(self, x: Any, noise: Any, batch_size: int = 256) -> np.ndarray:
        """Returns one draw of q(z|x) for each example, (n, D), made of given noise.

        Args:
            x: Events (n, E).
            noise: Standard normal numbers, (n, N); `vae.latent.noise_size` is N.
            batch_size: Examples at a time; without effect on the values.
        """
        rows = self._sided(x)
        rows["noise"] = rows_of("noise", noise, (self.latent.noise_size,))

        def draw(x: Tensor, given: Given, noise: Tensor) -> Tensor:
            return self.graph.posterior(x, given).draw(noise[None])[0][0]

        return self._over_batches("posterior_sample", draw, rows, batch_size)

    def inference_graph(self) -> Any:
        """Returns the `tf.Graph` of `reconstruct`, to be looked at in TensorBoard."""
        condition = None if self.condition is None else np.zeros(self.condition.shape)
        rows = {"x": np.zeros((1, *self.event_shape), np.float32)}
        rows |= self._drawing(1, None, condition)
        function = self._over_rows("reconstruct", self.graph.reconstruct, rows)
        return function.get_concrete_function().graph

    def _bound_to(self, condition: Any, count: int) -> Given:
        """Returns what goes beside `count` examples or latents, size factors of 1 included."""
        arrays = self._drawing(count, None, condition)
        return self._encoded({name: tf.constant(array) for name, array in arrays.items()})

    def _sided(self, x: Any, y: Any = None) -> dict[str, np.ndarray]:
        """Returns x (n, E) as float32, NaN where entries are missing, and its side inputs.

        y is the condition, where the model has one and x comes without.
        """
        sides = self._side_inputs(x, y)
        rows = rows_of("x", _sides.event_of(x), self.event_shape)
        if self.missing:
            rows = _sides.marked(rows, sides.get("mask"))
        return {"x": rows, **self._arrays(sides, len(rows))}

    def _in_batches(
        self,
        name: str,
        function: Callable[..., Any],
        x: Any,
        batch_size: int,
        *arguments: Tensor,
    ) -> Any:
        """Returns what a function of x, arguments and side inputs gives over all of x."""
        return self._over_batches(name, function, self._sided(x), batch_size, *arguments)

    def _at_once(self, name: str, function: Callable[..., Any], x: Any) -> Any:
        """Returns what a function of x and its side inputs gives for all examples together."""
        rows = self._sided(x)
        return self._over_rows(name, function, rows)(*map(tf.constant, rows.values())).numpy()

    def _over_batches(
        self,
        name: str,
        function: Callable[..., Any],
        rows: dict[str, np.ndarray],
        batch_size: int,
        *arguments: Tensor,
    ) -> Any:
        """Returns the compiled function's outputs over all rows, concatenated, as NumPy arrays.

        Args:
            name: Of the function, for one compilation.
            function: Of x, the arguments, and `given=`; what else is among the rows by name.
            rows: "x" and what goes beside it, each (n, ...).
            batch_size: Rows at a time.
            *arguments: The same for all rows.
        """
        batch_size = _checks.integer("batch_size", batch_size)
        lengths = {key: len(array) for key, array in rows.items()}
        if len(set(lengths.values())) > 1:
            told = " and ".join(f"{key} holds {count} rows" for key, count in lengths.items())
            raise ValueError(f"{told}; expected as many of each.")
        compiled = self._over_rows(name, function, rows, *arguments)
        outputs = []
        for first in range(0, lengths["x"], batch_size):
            batch = [tf.constant(array[first : first + batch_size]) for array in rows.values()]
            outputs.append(_to_numpy(compiled(*batch, *arguments)))
        return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *outputs)

    def _over_rows(
        self, name: str, function: Callable[..., Any], rows: dict[str, np.ndarray], *arguments: Any
    ) -> Any:
        """Returns a function compiled for rows of any number, in their order, and arguments."""
        names = tuple(rows)

        def on_rows(*tensors: Tensor) -> Any:
            batch = dict(zip(names, tensors))
            given = self._encoded({key: batch.pop(key) for key in names if key in _GIVEN})
            return function(batch.pop("x"), *tensors[len(names) :], given=given, **batch)

        specs = [tf.TensorSpec([None, *array.shape[1:]], tf.float32) for array in rows.values()]
        specs += [tf.TensorSpec(a.shape, a.dtype) for a in arguments]
        return self._compiled(f"{name} {names}", on_rows, specs)

    def _compiled(self, name: str, function: Any, signature: list[tf.TensorSpec]) -> Any:
        functions = self.__dict__.setdefault("_functions", {})  # past Keras's attribute tracking
        if name not in functions:
            functions[name] = tf.function(function, input_signature=signature)
        return functions[name]


def rows_of(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
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
