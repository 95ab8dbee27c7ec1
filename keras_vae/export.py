"""Models as files that need nothing of this package."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from keras_vae import imputation
from keras_vae._types import Given, Tensor
from keras_vae.model import VAE

#: How many draws the spread of an exported imputation is from.
_DRAWS = 20


def saved_model(vae: VAE, path: str | os.PathLike[str]) -> Path:
    """Writes a SavedModel that loads where keras, TensorFlow Probability and keras_vae are absent.

    Signatures, each dynamic in the batch:

    - `encode(x) -> mean, stddev`: q(z|x), (B, D).
    - `decode(z) -> mean`: the mean of p(x|z), (B, E).
    - `reconstruct(x) -> mean`: (B, E).
    - `sample(n: int32[], seed: int32[2]) -> x, mean, z`: n new events.
    - `elbo(x, seed: int32[2]) -> elbo`: nats, (B,).
    - `log_likelihood(x, num_samples: int32[], seed: int32[2]) -> log_likelihood`: nats, (B,).
    - `impute(x, num_samples: int32[], seed: int32[2]) -> x, stddev`, where the model takes missing
      entries, which are NaN in x: what they may have been, and its spread, (B, E).

    Where the likelihood takes a size factor, all that see or score x but `encode` take `offset`
    (B,), too, and what is decoded and drawn has the size factor 1. Where the model has a condition,
    each takes `condition`: classes (B,) int32, or vectors (B, C); `sample` one or n of them.

    The last three are left out where the posterior has no density. The same seed gives the same
    answer in every process. Each is also a method of the loaded object; `encode` is the default
    signature of servers.

    Args:
        vae: The model.
        path: A folder that does not exist yet. It is written beside and renamed, so a failure
            leaves nothing behind.

    Returns: the path.

    Raises:
        FileExistsError: if the path exists.
    """
    target = Path(path)
    if target.exists():
        raise FileExistsError(
            f"{target} exists already; expected a new folder. Choose another path, or remove it."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        module = tf.Module()
        module.weights = [variable.value for variable in vae.variables]
        signatures = {}
        for name, (function, takes, sides) in _endpoints(vae).items():
            compiled = tf.function(function)
            signatures[name] = compiled.get_concrete_function(*takes, **sides)
            setattr(module, name, compiled)
        signatures["serving_default"] = signatures["encode"]
        tf.saved_model.save(module, str(temporary / "model"), signatures)
        (temporary / "model").rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


class _Endpoint(NamedTuple):
    """A function to export, what it takes, and what of a model's side inputs by name."""

    function: Callable[..., dict[str, Tensor]]
    takes: list[tf.TensorSpec]
    sides: dict[str, tf.TensorSpec]


def _endpoints(vae: VAE) -> dict[str, _Endpoint]:
    x = tf.TensorSpec([None, *vae.event_shape], tf.float32, name="x")
    z = tf.TensorSpec([None, vae.latent.output_dim], tf.float32, name="z")
    seed = tf.TensorSpec([2], tf.int32, name="seed")
    count = tf.TensorSpec([], tf.int32, name="n")
    num_samples = tf.TensorSpec([], tf.int32, name="num_samples")
    condition = {}
    if vae.condition is not None:
        shape = [None, *vae.condition.shape]
        condition["condition"] = tf.TensorSpec(shape, vae.condition.dtype, name="condition")
    sides = dict(condition)
    if vae.likelihood.takes_offset:
        sides["offset"] = tf.TensorSpec([None], tf.float32, name="offset")
    functions = _Functions(vae)
    endpoints = {
        "encode": _Endpoint(functions.encode, [x], condition),
        "decode": _Endpoint(functions.decode, [z], condition),
        "reconstruct": _Endpoint(functions.reconstruct, [x], sides),
        "sample": _Endpoint(functions.sample, [count, seed], condition),
    }
    if "density" in vae.latent.offers:
        scored = [x, num_samples, seed]
        endpoints["elbo"] = _Endpoint(functions.elbo, [x, seed], sides)
        endpoints["log_likelihood"] = _Endpoint(functions.log_likelihood, scored, sides)
        if vae.missing:
            endpoints["impute"] = _Endpoint(functions.impute, scored, sides)
    return endpoints


class _Functions:
    """The functions to export, whose arguments have the names of the signatures."""

    def __init__(self, vae: VAE) -> None:
        self._vae, self._graph = vae, vae.graph

    def _given(self, offset: Tensor | None = None, condition: Tensor | None = None) -> Given:
        if self._vae.condition is not None:
            condition = self._vae.condition.encode(self._vae.condition.checked(condition))
        return Given(condition, offset)

    def encode(self, x: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        return self._graph.encode(x, self._given(condition=condition))._asdict()

    def decode(self, z: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        return {"mean": self._graph.decode(z, self._given(condition=condition))}

    def reconstruct(
        self, x: Tensor, offset: Tensor | None = None, condition: Tensor | None = None
    ) -> dict[str, Tensor]:
        return {"mean": self._graph.reconstruct(x, self._given(offset, condition))}

    def sample(self, n: Tensor, seed: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        given = self._given(condition=condition)
        if given.condition is not None:
            rows = tf.broadcast_to(given.condition, [n, given.condition.shape[-1]])
            given = given._replace(condition=rows)
        return self._graph.sample(n, seed, given)._asdict()

    def elbo(
        self, x: Tensor, seed: Tensor, offset: Tensor | None = None, condition: Tensor | None = None
    ) -> dict[str, Tensor]:
        return {"elbo": self._graph.elbo(x, 1, seed, self._given(offset, condition))}

    def log_likelihood(
        self,
        x: Tensor,
        num_samples: Tensor,
        seed: Tensor,
        offset: Tensor | None = None,
        condition: Tensor | None = None,
    ) -> dict[str, Tensor]:
        given = self._given(offset, condition)
        found = self._graph.log_likelihood(x, num_samples, seed, given)
        return {"log_likelihood": found.log_likelihood}

    def impute(
        self,
        x: Tensor,
        num_samples: Tensor,
        seed: Tensor,
        offset: Tensor | None = None,
        condition: Tensor | None = None,
    ) -> dict[str, Tensor]:
        given = self._given(offset, condition)
        found = imputation.impute(self._graph, x, num_samples, _DRAWS, seed, given)
        return {"x": found.x, "stddev": found.stddev}
