"""Models as files that need nothing of this package."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_vae._types import Given, Tensor
from keras_vae.model import VAE


def saved_model(vae: VAE, path: str | os.PathLike[str]) -> Path:
    """Writes a SavedModel that loads where keras, TensorFlow Probability and keras_vae are absent.

    Signatures, each dynamic in the batch:

    - `encode(x) -> mean, stddev`: q(z|x), (B, D).
    - `decode(z) -> mean`: the mean of p(x|z), (B, E).
    - `reconstruct(x) -> mean`: (B, E).
    - `sample(n: int32[], seed: int32[2]) -> x, mean, z`: n new events.
    - `elbo(x, seed: int32[2]) -> elbo`: nats, (B,).
    - `log_likelihood(x, num_samples: int32[], seed: int32[2]) -> log_likelihood`: nats, (B,).

    Where the likelihood takes a size factor, `reconstruct` and the last two take `offset` (B,),
    too, and what is decoded and drawn has the size factor 1.

    The last two are left out where the posterior has no density. The same seed gives the same
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
        signatures = {
            name: tf.function(function, input_signature=signature)
            for name, (function, signature) in _endpoints(vae).items()
        }
        for name, function in signatures.items():
            setattr(module, name, function)
        signatures["serving_default"] = signatures["encode"]
        tf.saved_model.save(module, str(temporary / "model"), signatures)
        (temporary / "model").rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _endpoints(vae: VAE) -> dict[str, tuple[Callable[..., Any], list[tf.TensorSpec]]]:
    graph = vae.graph
    x = tf.TensorSpec([None, *vae.event_shape], tf.float32, name="x")
    z = tf.TensorSpec([None, vae.latent.output_dim], tf.float32, name="z")
    seed = tf.TensorSpec([2], tf.int32, name="seed")
    count = tf.TensorSpec([], tf.int32, name="n")
    num_samples = tf.TensorSpec([], tf.int32, name="num_samples")

    def sample(n: Tensor, seed: Tensor) -> dict[str, Tensor]:
        return graph.sample(n, seed)._asdict()

    offset = [tf.TensorSpec([None], tf.float32, name="offset")] * vae.likelihood.takes_offset

    def reconstruct(x: Tensor, offset: Tensor | None = None) -> dict[str, Tensor]:
        return {"mean": graph.reconstruct(x, Given(offset=offset))}

    def elbo(x: Tensor, seed: Tensor, offset: Tensor | None = None) -> dict[str, Tensor]:
        return {"elbo": graph.elbo(x, 1, seed, Given(offset=offset))}

    def log_likelihood(
        x: Tensor, num_samples: Tensor, seed: Tensor, offset: Tensor | None = None
    ) -> dict[str, Tensor]:
        estimate = graph.log_likelihood(x, num_samples, seed, Given(offset=offset))
        return {"log_likelihood": estimate.log_likelihood}

    endpoints: dict[str, tuple[Callable[..., Any], list[tf.TensorSpec]]] = {
        "encode": (lambda x: graph.encode(x)._asdict(), [x]),
        "decode": (lambda z: {"mean": graph.decode(z)}, [z]),
        "reconstruct": (reconstruct, [x, *offset]),
        "sample": (sample, [count, seed]),
    }
    if "density" in vae.latent.offers:
        endpoints["elbo"] = (elbo, [x, seed, *offset])
        endpoints["log_likelihood"] = (log_likelihood, [x, num_samples, seed, *offset])
    return endpoints
