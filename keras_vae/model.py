"""`VAE`: a Keras model composed of encoder, latent model, decoder, likelihood and objective."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_vae import _archive, _checks, _files, _registry, _sides, conditions, networks
from keras_vae._registry import PACKAGE
from keras_vae._types import Given, NetworkInput, Tensor
from keras_vae._version import FORMAT, __version__
from keras_vae.graph import Graph
from keras_vae.latents import LatentModel, Single
from keras_vae.layers import Sampling
from keras_vae.likelihoods import Likelihood
from keras_vae.networks import Network
from keras_vae.objectives import Objective
from keras_vae.posteriors import Posterior
from keras_vae.priors import Prior
from keras_vae.scoring import Scoring
from keras_vae.training import Training

#: Examples at a time, of arrays.
_CHUNK = 256
#: What `fit_prior` copies, besides the posterior.
_PARTS = ("encoder", "decoder", "likelihood", "objective", "sampling")


@keras.saving.register_keras_serializable(PACKAGE)
class VAE(Scoring, Training):
    """A variational autoencoder that trains by `fit`, saves, and samples.

    Maximises E_q[log p(x|z)] - beta KL(q(z|x) || p(z)) over q(z|x) and p(x|z), or what the
    objective says. All losses are in nats, summed over the event and averaged over the batch.

    Args:
        event_shape: Shape of one example without the batch axis, such as (28, 28, 1).
        latent_dim: D, the number of latent dimensions.
        network: Name, config or instance of `keras_vae.networks.Network`, which makes the encoder
            and the decoder that are not given. None picks by the shape.
        encoder: A `keras.Model` of your own, from (B, E) to features of any shape, which the
            posterior projects. With a condition, from [(B, E), (B, C)]; where entries may be
            missing, E has a mask beside the values on its last axis, twice as long.
        decoder: A `keras.Model` of your own, from (B, D) to the parameters of the likelihood:
            `event_shape` with its last axis times `params_per_element`. With a condition, from
            [(B, D), (B, C)].
        likelihood: p(x|z); name, config or instance.
        posterior: q(z|x); name, config or instance.
        prior: p(z); name, config or instance.
        objective: What training minimises; name, config or instance.
        latent: A whole `LatentModel` in place of `latent_dim`, `posterior` and `prior`.
        condition: What p(x|z, y) and q(z|x, y) are conditioned on: a number of classes, such as 10;
            the width of a vector, such as (3,); or a name, config or instance of
            `keras_vae.conditions`. `fit` takes it as y. The prior depends on it, too, where it is
            "conditional_normal".
        missing: Whether entries of x may be missing, as NaN. They are left out of the likelihood,
            and the encoder sees 0 for them, with a mask beside; see `impute`.
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
        condition: Any = None,
        missing: bool = False,
        seed: int | tuple[int, int] = 0,
        name: str = "vae",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype, autocast=False)
        self.event_shape = _checks.shape("event_shape", event_shape)
        self.likelihood = _registry.get("likelihood", likelihood)
        self.objective = _registry.get("objective", objective)
        self.condition = conditions.get(condition)
        self.missing = _checks.flag("missing", missing)
        self.latent = self._latent(latent, latent_dim, posterior, prior)
        self.sampling = Sampling(seed, name="sampling")
        self.sampling.build(None)
        self._check_match()
        self._build_parts(network, encoder, decoder)
        self.graph = Graph(self.encoder, self.latent, self.decoder, self.likelihood, self.missing)
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

    def _check_prior(self) -> None:
        prior = getattr(self.latent, "prior", None)
        if prior is not None and prior.trainable_variables and not self.objective.trains_prior:
            raise ValueError(
                f"The objective {self.objective.short_name!r} does not train the prior, and "
                f"{prior.short_name!r} has weights to train. Choose the prior 'standard_normal' "
                "and fit another after the training, by fit_prior, or choose another objective, "
                "such as 'elbo'."
            )

    def _build_parts(self, network: Any, encoder: Any, decoder: Any) -> None:
        """Makes every weight, so that loading finds all of them, `call` or not."""
        maker = networks.get(network, self.event_shape)
        if network is not None and encoder is not None and decoder is not None:
            raise ValueError("network was given beside encoder and decoder; leave it out.")
        self.likelihood.setup(self.event_shape)
        params_shape = self.likelihood.params_shape(self.event_shape)
        size = 0 if self.condition is None else self.condition.size
        beside = {"condition_size": size} if size else {}
        self.latent.network_input = _network_input(self.likelihood, self.missing, size)
        seen = self.latent.network_input.shape
        self.encoder = encoder or maker.encoder(seen, **beside)
        self.latent.setup(_output_shape("encoder", self.encoder, seen, size))
        self._check_prior()
        self.decoder = decoder or maker.decoder(self.latent.output_dim, params_shape, **beside)
        received = _output_shape("decoder", self.decoder, (self.latent.output_dim,), size)
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
        the likelihood has no such start, or the last layer no bias, it leaves the decoder as it is.
        A Vamp prior starts its pseudo-inputs at examples drawn at random.

        Args:
            data: Batches of x (B, E) or (x, y), or one array (n, E); x may be a mapping as for
                `fit`.
            max_batches: How many batches to look at.

        Raises:
            ValueError: for no data, or of another shape.
        """
        total, squares, count = 0.0, 0.0, np.zeros(self.event_shape)
        rows = _Rows(self.latent.examples)
        for batch in self._batches(data, max_batches):
            x = np.asarray(batch["x"], np.float64)
            seen = ~np.isnan(x) if self.missing else np.ones(x.shape, bool)
            x = np.where(seen, x, 0.0)
            total, squares = total + x.sum(0), squares + np.square(x).sum(0)
            count = count + seen.sum(0)
            rows.add(batch)
        if not np.any(count):
            raise ValueError("data holds no example; expected at least one to start from.")
        count = np.maximum(count, 1)
        mean = total / count
        stddev = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
        params = self.likelihood.initial_params(
            tf.constant(mean, tf.float32), tf.constant(stddev, tf.float32)
        )
        if params is not None:
            networks.set_output(self.decoder, params.numpy())
        if self.latent.examples:
            kept = {name: tf.constant(array) for name, array in rows.kept.items()}
            inputs = self.graph.network_input(kept.pop("x"))
            self.latent.adapt(inputs, self._encoded(kept).condition)

    def _batches(self, data: Any, most: int = -1) -> Iterator[dict[str, np.ndarray]]:
        """Yields data, batched or one array, as `_sided` has it, some examples at a time."""
        if isinstance(data, tf.data.Dataset):
            for batch in data.take(most):
                x, y = batch[:2] if isinstance(batch, tuple) else (batch, None)
                yield self._sided(x, y)
        else:
            rows = self._sided(data)
            for first in range(0, len(rows["x"]), _CHUNK):
                yield {name: array[first : first + _CHUNK] for name, array in rows.items()}

    def fit_prior(
        self, data: Any, prior: str | Prior = "mixture", samples: int = 1, seed: int = 0
    ) -> "VAE":
        """Returns a VAE of the same parts with a prior fitted to the codes of data.

        The decoder learned what to make of codes, draws of q(z) = E_x[q(z|x)]. Where these are not
        spread as p(z), samples are better from a prior that is. This model stays as it is, and the
        new one shares no weight with it. It is compiled like this one, with a new optimiser. Under
        an objective that does not train the prior, the fitted one is frozen.

        Args:
            data: Batches of x (B, E) or (x, ...), or one array (n, E); what this model was trained
                on.
            prior: "mixture", "flow", or any prior with weights, by name, config or instance.
            samples: Codes drawn of each example.
            seed: Of the draws, of a tenth of the examples that is held out, and of the order.

        Raises:
            ValueError: for a latent model without one prior, a prior without weights, or fewer than
                two examples.

        Reference: Ghosh et al., From Variational to Deterministic Autoencoders, 2020, section 4.
        """
        new = self._with_prior(prior)
        codes = self._codes(data, _checks.integer("samples", samples), seed)
        order = np.random.default_rng(seed).permutation(codes.shape[1])
        held_out, rest = np.split(order, [max(1, len(order) // 10)])
        sets = [codes[:, rows].reshape(-1, codes.shape[2]) for rows in (rest, held_out)]
        latent: Any = new.latent
        latent.prior.trainable = True
        latent.prior.fit_codes(*sets, new.graph.given(), seed)
        latent.prior.trainable = self.objective.trains_prior
        return new

    def _with_prior(self, prior: Any) -> "VAE":
        """Returns a copy of the model, weights and all, but for a new prior."""
        if not isinstance(self.latent, Single):
            raise ValueError(
                f"The latent model {self.latent.short_name!r} has no single prior to fit; expected "
                "'single', which joins one posterior and one prior."
            )
        config = self.get_config()
        made = _registry.get("prior", prior)
        if made.conditional:
            raise ValueError(
                f"The prior {made.short_name!r} cannot be fitted to codes afterwards, since it "
                "depends on the condition; expected another, such as 'mixture', or a model that is "
                "trained with it."
            )
        made.trainable = self.objective.trains_prior
        config["latent"]["config"]["prior"] = keras.saving.serialize_keras_object(made)
        with self.distribute_strategy.scope():
            new = type(self).from_config(config)
        for part in _PARTS:
            getattr(new, part).set_weights(getattr(self, part).get_weights())
        new.latent.posterior.set_weights(self.latent.posterior.get_weights())
        if self.compiled:
            with self.distribute_strategy.scope():
                new.compile_from_config(self.get_compile_config())
        return new

    def _codes(self, data: Any, samples: int, seed: Any) -> np.ndarray:
        """Returns draws of q(z|x) for every example of data, (S, n, D)."""
        base = tf.constant(_checks.seed_pair(seed))

        def draw(x: Tensor, number: Tensor, given: Given) -> Tensor:
            # By the place, so that equal examples have codes of their own.
            own = tf.random.experimental.stateless_fold_in(base, number)
            shape = [samples, tf.shape(x)[0], self.latent.noise_size]
            return self.graph.posterior(x, given).draw(tf.random.stateless_normal(shape, own))[0]

        codes = []
        for number, rows in enumerate(self._batches(data)):
            name = f"codes {samples} {base.numpy().tolist()}"
            function = self._over_rows(name, draw, rows, tf.constant(0))
            codes.append(function(*map(tf.constant, rows.values()), tf.constant(number)).numpy())
        if sum(part.shape[1] for part in codes) < 2:
            raise ValueError("data holds fewer than two examples; expected those trained on.")
        return np.concatenate(codes, 1)

    def export(self, *args: Any, **kwargs: Any) -> None:
        """Refuses: `keras_vae.export.saved_model(vae, path)` writes all signatures.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "Keras's export would write `call` alone; use keras_vae.export.saved_model(vae, path), "
            "which writes encode, decode, reconstruct, sample, elbo and log_likelihood."
        )

    def save(
        self, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any
    ) -> None:
        """Saves the model as Keras does, but a `.keras` file is whole or not there.

        Args:
            filepath: A path that ends in .keras, or what else Keras takes.
            overwrite: Whether to replace a file without asking.
            zipped: As in Keras.
            kwargs: As in Keras.

        Raises:
            OSError: if it cannot be written; what was there stays.
        """
        if self.compiled:  # with the optimiser's variables, or a file of before any training
            self._maybe_symbolic_build()  # could not be loaded
        target = _local(filepath, ".keras", overwrite)
        if target is None or zipped is False:
            super().save(filepath, overwrite, zipped, **kwargs)
        else:
            with _files.beside(target) as part:
                super().save(part, zipped=zipped, **kwargs)

    def save_weights(
        self, filepath: Any, overwrite: bool = True, max_shard_size: float | None = None
    ) -> None:
        """Saves all weights as Keras does, but a file is whole or not there.

        Args:
            filepath: A path that ends in .weights.h5, or what else Keras takes.
            overwrite: Whether to replace a file without asking.
            max_shard_size: As in Keras, GB; several files are written in place.

        Raises:
            OSError: if it cannot be written; what was there stays.
        """
        target = _local(filepath, ".weights.h5", overwrite)
        if target is None or max_shard_size is not None:
            super().save_weights(filepath, overwrite, max_shard_size)
        else:
            with _files.beside(target) as part:
                super().save_weights(part)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` composes the same model from."""
        serialize = keras.saving.serialize_keras_object
        parts = ("encoder", "decoder", "likelihood", "latent", "objective")
        return {
            "event_shape": list(self.event_shape),
            **{part: serialize(getattr(self, part)) for part in parts},
            **({"condition": serialize(self.condition)} if self.condition is not None else {}),
            **({"missing": True} if self.missing else {}),
            "seed": list(self.sampling.seed),
            "name": self.name,
            "dtype": serialize(self.dtype_policy),
            **({} if self.trainable else {"trainable": False}),
            "format": FORMAT,
            "written_by": __version__,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "VAE":
        """Returns the model that `get_config` described, with new weights.

        Raises:
            ValueError: for a config of a newer version than this.
        """
        _archive.check_format("The config", config)
        deserialize = keras.saving.deserialize_keras_object
        kept = {name: config[name] for name in config if name not in ("format", "written_by")}
        parts = {k: deserialize(v) if isinstance(v, dict) else v for k, v in kept.items()}
        trainable = parts.pop("trainable", True)
        vae = cls(**parts)
        if not trainable:
            vae.trainable = False
        return vae


def _local(path: Any, suffix: str, overwrite: bool) -> Path | None:
    """Returns the path of a file to write beside and rename; None where Keras is to do it.

    That is what is no path here, and what it would ask about.
    """
    if not isinstance(path, (str, os.PathLike)) or "://" in str(path):
        return None
    target = Path(path)
    asks = target.exists() and not overwrite
    return target if target.name.endswith(suffix) and not asks else None


class _Rows:
    """At most `count` rows of batches, each subset of that size as likely as any other."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.kept: dict[str, np.ndarray] = {}
        self._tickets = np.empty(0)
        self._rng = np.random.default_rng(np.random.randint(0, 2**31))

    def add(self, rows: dict[str, np.ndarray]) -> None:
        """Keeps the rows whose tickets, drawn at random, are the lowest so far."""
        if not self.count:
            return
        tickets = np.concatenate([self._tickets, self._rng.random(len(rows["x"]))])
        every = _sides.stacked([self.kept, rows]) if self.kept else rows
        lowest = np.argsort(tickets)[: self.count]
        self.kept, self._tickets = _sides.rows(every, lowest), tickets[lowest]


def _network_input(likelihood: Likelihood, missing: bool, condition_size: int) -> NetworkInput:
    """Returns what the encoder sees of events: shape and range, and how long a condition.

    The range is that of the support's ends, as the encoder sees them, and of a mask.
    """
    support = _checks.support(likelihood.support)
    ends = [tf.fill((1, *likelihood.event_shape), end) for end in (support.least, support.greatest)]
    seen = [likelihood.to_network(end).numpy() for end in ends]
    least, greatest = float(np.min(seen)), float(np.max(seen))
    shape = tuple(seen[0].shape[1:])
    if missing:
        shape = (*shape[:-1], shape[-1] + likelihood.event_shape[-1])
        least, greatest = min(least, 0.0), max(greatest, 1.0)
    known = least < greatest  # else NaN, or what an infinite end became
    least, greatest = (least, greatest) if known else (-np.inf, np.inf)
    return NetworkInput(shape, least, greatest, condition_size)


def _output_shape(
    role: str, network: keras.Model, input_shape: tuple[int, ...], condition_size: int
) -> tuple[int, ...]:
    """Returns the shape (no batch axis) of a network's output, building it on the way."""
    if not isinstance(network, keras.layers.Layer):
        raise TypeError(
            f"{role} is {network!r} ({type(network).__name__}); expected a keras.Model, or use "
            "network=... for a built-in one."
        )
    shapes = [input_shape, (condition_size,)]
    probes = [keras.KerasTensor((None, *shape), "float32", name="probe") for shape in shapes]
    try:
        output = network(probes if condition_size else probes[0])
    except (ValueError, TypeError) as error:
        beside = f" and a condition of shape (batch, {condition_size})" if condition_size else ""
        raise ValueError(
            f"The {role} refused inputs of shape (batch, {str(input_shape)[1:]}{beside}: {error}"
        ) from error
    shape = getattr(output, "shape", None)
    if shape is None or len(shape) < 2 or None in shape[1:]:
        raise ValueError(
            f"The {role} returns {getattr(output, 'shape', type(output).__name__)}; expected one "
            "tensor whose shape is known but for the batch axis."
        )
    return tuple(shape[1:])
