"""`VAE`: a Keras model composed of encoder, latent model, decoder, likelihood and objective."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_vae import _checks, _registry, networks
from keras_vae._registry import PACKAGE
from keras_vae.graph import Graph
from keras_vae.inference import Inference
from keras_vae.latents import LatentModel, Single
from keras_vae.layers import Sampling
from keras_vae.likelihoods import Likelihood
from keras_vae.networks import Network
from keras_vae.objectives import Objective
from keras_vae.posteriors import Posterior
from keras_vae.priors import Prior
from keras_vae.training import Training


@keras.saving.register_keras_serializable(PACKAGE)
class VAE(Inference, Training):
    """A variational autoencoder that trains by `fit`, saves, and samples.

    Maximises E_q[log p(x|z)] - beta KL(q(z|x) || p(z)) over q(z|x) and p(x|z), or what the
    objective says. All losses are in nats, summed over the event and averaged over the batch.

    Args:
        event_shape: Shape of one example without the batch axis, such as (28, 28, 1).
        latent_dim: D, the number of latent dimensions.
        network: Name, config or instance of `keras_vae.networks.Network`, which makes the encoder
            and the decoder that are not given. None picks by the shape.
        encoder: A `keras.Model` of your own, from (B, E) to features of any shape, which the
            posterior projects.
        decoder: A `keras.Model` of your own, from (B, D) to the parameters of the likelihood:
            `event_shape` with its last axis times `params_per_element`.
        likelihood: p(x|z); name, config or instance.
        posterior: q(z|x); name, config or instance.
        prior: p(z); name, config or instance.
        objective: What training minimises; name, config or instance.
        latent: A whole `LatentModel` in place of `latent_dim`, `posterior` and `prior`.
        seed: Of the noise in training and evaluation. Initial weights and the order of the data
            follow `keras.utils.set_random_seed`.
        name: Name of the model.
        dtype: Dtype policy; the global one by default. "mixed_float16" makes `compile` scale the
            loss. Networks take the policy that is global when they are made; distributions and
            densities are float32 under every policy.

    Call arguments:
        inputs: x (B, E). Returns the mean of p(x|z) at the mean of q(z|x), (B, E).

    Raises:
        ValueError, TypeError: for parts that do not fit one another, naming both.

    Example:
    >>> import numpy as np, keras_vae as kv
    >>> vae = kv.VAE(event_shape=(8,), latent_dim=2, likelihood="normal")
    >>> vae.compile(optimizer="adam")
    >>> history = vae.fit(np.zeros((4, 8), "float32"), verbose=0)
    >>> vae.sample(3, seed=0).x.shape
    (3, 8)

    Reference: Kingma and Welling, Auto-Encoding Variational Bayes, 2014.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        latent_dim: int | None = None,
        *,
        network: str | Network | None = None,
        encoder: keras.Model | None = None,
        decoder: keras.Model | None = None,
        likelihood: str | Likelihood = "bernoulli",
        posterior: str | Posterior = "diagonal_normal",
        prior: str | Prior = "standard_normal",
        objective: str | Objective = "elbo",
        latent: LatentModel | None = None,
        seed: int | tuple[int, int] = 0,
        name: str = "vae",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype, autocast=False)
        self.event_shape = _checks.shape("event_shape", event_shape)
        self.likelihood = _registry.get("likelihood", likelihood)
        self.objective = _registry.get("objective", objective)
        self.latent = self._latent(latent, latent_dim, posterior, prior)
        self.sampling = Sampling(seed, name="sampling")
        self.sampling.build(None)
        self._check_match()
        self._build_parts(network, encoder, decoder)
        self.graph = Graph(self.encoder, self.latent, self.decoder, self.likelihood)
        self._make_trackers()
        self.built = True

    # Composition

    @staticmethod
    def _latent(latent: Any, latent_dim: Any, posterior: Any, prior: Any) -> LatentModel:
        if latent is None:
            if latent_dim is None:
                raise ValueError("latent_dim is missing; expected the number of latent dimensions.")
            return Single(latent_dim, posterior, prior)
        latent = _registry.get("latent", latent)
        if latent_dim not in (None, latent.latent_dim):
            raise ValueError(
                f"latent_dim is {latent_dim}, but the latent model given has {latent.latent_dim}; "
                "leave latent_dim out."
            )
        return latent

    def _check_match(self) -> None:
        lacking = self.objective.needs - self.latent.offers
        if lacking:
            posterior: Any = getattr(self.latent, "posterior", self.latent)
            raise ValueError(
                f"The objective {self.objective.short_name!r} needs a posterior that offers "
                f"{', '.join(sorted(lacking))}, which {posterior.short_name!r} does not. Choose "
                "another posterior, such as 'diagonal_normal', or another objective, such as "
                "'reconstruction'."
            )

    def _build_parts(self, network: Any, encoder: Any, decoder: Any) -> None:
        """Makes every weight, so that loading finds all of them, `call` or not."""
        maker = networks.get(network, self.event_shape)
        if network is not None and encoder is not None and decoder is not None:
            raise ValueError("network was given beside encoder and decoder; leave it out.")
        self.likelihood.setup(self.event_shape)
        params_shape = self.likelihood.params_shape(self.event_shape)
        seen = self.likelihood.network_shape(self.event_shape)
        self.encoder = encoder or maker.encoder(seen)
        self.latent.setup(_output_shape("encoder", self.encoder, seen))
        self.decoder = decoder or maker.decoder(self.latent.output_dim, params_shape)
        received = _output_shape("decoder", self.decoder, (self.latent.output_dim,))
        if received != params_shape:
            raise ValueError(
                f"The decoder returns parameters of shape {received}; the likelihood "
                f"{self.likelihood.short_name!r} on events of shape {self.event_shape} expects "
                f"{params_shape}. Change the decoder's last layer."
            )
        self.objective.setup(self.latent.latent_dim)
        shared = {id(v) for v in self.encoder.variables} & {id(v) for v in self.decoder.variables}
        if shared:
            names = [v.path for v in self.encoder.variables if id(v) in shared]
            raise ValueError(
                f"The encoder and the decoder share the weight {names[0]!r}, which a file would "
                "hold twice and a loaded model would not share; give each layers of its own."
            )

    def build(self, input_shape: Any = None) -> None:
        """Does nothing: every part is built at construction. Kept for Keras."""

    def adapt(self, data: Any, max_batches: int = 100) -> None:
        """Starts the decoder at the mean of the data, by the bias of its last layer.

        Training then need not find out first which pixels are always black. What is learned in few
        epochs is better for it; docs/defaults.md has the measurement. Call it before `fit`. Where
        the likelihood has no such start, or the last layer no bias, it does nothing.

        Args:
            data: Batches of x (B, E) or (x, ...), or one array (n, E).
            max_batches: How many batches to look at.

        Raises:
            ValueError: for no data, or of another shape.
        """
        batches = data.take(max_batches) if isinstance(data, tf.data.Dataset) else [data]
        total, squares, count = 0.0, 0.0, 0
        for batch in batches:
            first = batch[0] if isinstance(batch, tuple) else batch
            x = np.asarray(_checks.event_of(first), np.float64)
            self._check_shape(x.shape)
            total, squares, count = total + x.sum(0), squares + np.square(x).sum(0), count + len(x)
        if not count:
            raise ValueError("data holds no example; expected at least one to start from.")
        mean = total / count
        stddev = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
        params = self.likelihood.initial_params(
            tf.constant(mean, tf.float32), tf.constant(stddev, tf.float32)
        )
        if params is not None:
            networks.set_output(self.decoder, params.numpy())

    def export(self, *args: Any, **kwargs: Any) -> None:
        """Refuses: `keras_vae.export.saved_model(vae, path)` writes all signatures.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "Keras's export would write `call` alone; use keras_vae.export.saved_model(vae, path), "
            "which writes encode, decode, reconstruct, sample, elbo and log_likelihood."
        )

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` composes the same model from."""
        serialize = keras.saving.serialize_keras_object
        parts = ("encoder", "decoder", "likelihood", "latent", "objective")
        return {
            "event_shape": list(self.event_shape),
            **{part: serialize(getattr(self, part)) for part in parts},
            "seed": list(self.sampling.seed),
            "name": self.name,
            "dtype": serialize(self.dtype_policy),
            **({} if self.trainable else {"trainable": False}),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "VAE":
        """Returns the model that `get_config` described, with new weights."""
        deserialize = keras.saving.deserialize_keras_object
        parts = {k: deserialize(v) if isinstance(v, dict) else v for k, v in config.items()}
        trainable = parts.pop("trainable", True)
        vae = cls(**parts)
        if not trainable:
            vae.trainable = False
        return vae


def load(path: Any) -> VAE:
    """Returns the VAE saved at `path`, a `.keras` file written by `vae.save`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, needs a class that is not imported, or holds something else.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no file {file}; expected a .keras file that vae.save wrote."
        )
    if not zipfile.is_zipfile(file):
        raise ValueError(f"{file} is damaged or no .keras file; expected one that vae.save wrote.")
    try:
        model = keras.saving.load_model(file)
    except (*_checks.UNREADABLE, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{file} is damaged, or needs a class that is not imported ({_checks.brief(error)}). "
            "Import the module that registers the class, or take an earlier file."
        ) from error
    if not isinstance(model, VAE):
        raise ValueError(f"{file} holds a {type(model).__name__}; expected a keras_vae.VAE.")
    return model


def _output_shape(role: str, network: keras.Model, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape (no batch axis) of a network's output, building it on the way."""
    if not isinstance(network, keras.layers.Layer):
        raise TypeError(
            f"{role} is {network!r} ({type(network).__name__}); expected a keras.Model, or use "
            "network=... for a built-in one."
        )
    try:
        output = network(keras.KerasTensor((None, *input_shape), "float32", name="probe"))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"The {role} refused inputs of shape (batch, {str(input_shape)[1:]}: {error}"
        ) from error
    shape = getattr(output, "shape", None)
    if shape is None or len(shape) < 2 or None in shape[1:]:
        raise ValueError(
            f"The {role} returns {getattr(output, 'shape', type(output).__name__)}; expected one "
            "tensor whose shape is known but for the batch axis."
        )
    return tuple(shape[1:])
