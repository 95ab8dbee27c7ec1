"""`VAE`: a Keras model composed of encoder, latent model, decoder, likelihood and objective."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_vae import _checks, _registry, distribute, networks
from keras_vae._registry import PACKAGE
from keras_vae._types import Given, Inputs, LossOutput, Tensor
from keras_vae.graph import Forward, Graph, elbo_terms_of
from keras_vae.inference import Inference
from keras_vae.latents import LatentModel, Single
from keras_vae.layers import Sampling
from keras_vae.likelihoods import Likelihood
from keras_vae.networks import Network
from keras_vae.objectives import Objective
from keras_vae.posteriors import Posterior
from keras_vae.priors import Prior

#: Folded into a step's seed for the draws of the objective's own.
_OBJECTIVE_STREAM = 0x0B1


@keras.saving.register_keras_serializable(PACKAGE)
class VAE(Inference, keras.Model):
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
        self._trackers = {name: keras.metrics.Mean(name=name) for name in self._logged()}
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
        self.encoder = encoder or maker.encoder(self.event_shape)
        self.latent.setup(_output_shape("encoder", self.encoder, self.event_shape))
        self.decoder = decoder or maker.decoder(self.latent.output_dim, params_shape)
        received = _output_shape("decoder", self.decoder, (self.latent.output_dim,))
        if received != params_shape:
            raise ValueError(
                f"The decoder returns parameters of shape {received}; the likelihood "
                f"{self.likelihood.short_name!r} on events of shape {self.event_shape} expects "
                f"{params_shape}. Change the decoder's last layer."
            )
        self.objective.setup(self.latent.latent_dim)

    def build(self, input_shape: Any = None) -> None:
        """Does nothing: every part is built at construction. Kept for Keras."""

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

    # Training

    def compile(self, optimizer: Any = "adam", loss: Any = None, **kwargs: Any) -> None:
        """Chooses the optimiser and how steps run, as `keras.Model.compile` does.

        `metrics` and `weighted_metrics` receive (x, mean of p(x|z)).

        Raises:
            ValueError: for a loss, since the objective is the loss; or for a setting that Keras
                cannot run on several replicas.
        """
        for key, value in {"loss": loss, "loss_weights": kwargs.get("loss_weights")}.items():
            if value is not None:
                raise ValueError(
                    f"compile received {key}={value!r}; a VAE's loss is its objective: pass "
                    "objective=... to VAE, and leave this out."
                )
        if self.distribute_strategy.num_replicas_in_sync > 1:
            for key, harmless in (("steps_per_execution", 1), ("jit_compile", False)):
                value = kwargs.get(key, harmless)
                if value not in (harmless, None, "auto"):
                    raise ValueError(
                        f"compile received {key}={value!r}, which Keras cannot run on several "
                        f"replicas; leave it out, or train on one device."
                    )
            self._check_scope()
        super().compile(optimizer=optimizer, **kwargs)
        if self.distribute_strategy.num_replicas_in_sync > 1:
            self._check_optimizer()

    def _check_optimizer(self) -> None:
        """Refuses what Keras does to each replica's share of the gradient, or cannot do there."""
        inner = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        names = ("clipnorm", "global_clipnorm", "clipvalue", "gradient_accumulation_steps")
        for name in names:
            if getattr(inner, name, None):
                raise ValueError(
                    f"The optimiser has {name}={getattr(inner, name)!r}, which Keras applies to "
                    "each of several replicas by itself, so the result is not that of one device; "
                    "leave it out, or train on one device."
                )

    def _check_scope(self) -> None:
        extended = self.distribute_strategy.extended
        for variable in self.variables:
            if not extended.variable_created_in_scope(variable.value):
                raise ValueError(
                    f"The weight {variable.path!r} was made outside the strategy's scope; expected "
                    "the VAE and every network given to it to be made under strategy.scope()."
                )

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles with what `get_compile_config` gave, and makes the optimiser's variables."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The trackers of the loss and its terms, then those given to `compile`."""
        trackers = list(self._trackers.values())
        compiled = self._compile_metrics if self.compiled else None
        return trackers if compiled is None else [*trackers, compiled]

    def _logged(self) -> list[str]:
        names = ["loss", *self.objective.terms, "regularization_loss"]
        return [*names, "elbo"] if "density" in self.latent.offers else names

    def fit(self, x: Any = None, y: Any = None, **kwargs: Any) -> keras.callbacks.History:
        """Trains as `keras.Model.fit` does, on tf.data, arrays, generators; y is ignored.

        Logs `loss`, the objective's terms (`reconstruction_loss`, `kl_loss`, ...),
        `regularization_loss` and `elbo` (at beta = 1), each in nats per example, and the same with
        `val_` for validation data. `loss` is the objective plus the regularisation.

        Raises:
            ValueError: for data of another shape or outside the likelihood's support.
        """
        x, y = self._received(x, y, kwargs)
        validation = kwargs.get("validation_data")
        if isinstance(validation, tuple) and len(validation) == 3 and validation[1] is None:
            kwargs["validation_data"] = (
                *self._received(validation[0], None, {"sample_weight": validation[2]}),
                validation[2],
            )
        if isinstance(x, (tf.data.Dataset, Iterator)):
            kwargs.setdefault("shuffle", False)  # Keras warns that its default has no effect
        with _in_words():
            return super().fit(x, y, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:
        """Returns the logged values over a data set, as `keras.Model.evaluate` does.

        The noise is a function of the seed and each example, so the values do not depend on the
        batch size.

        Raises:
            ValueError: as `fit`.
        """
        x, y = self._received(x, y, kwargs)
        with _in_words():
            return super().evaluate(x, y, **kwargs)

    def predict(self, x: Any, **kwargs: Any) -> np.ndarray:
        """Returns the reconstructions (n, E) of a data set, as `keras.Model.predict` does.

        Raises:
            ValueError: as `fit`.
        """
        self._received(x, None, {})
        with _in_words():
            return super().predict(x, **kwargs)

    def _received(self, x: Any, y: Any, kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Returns (x, y), checked for shape where that needs no look at the data.

        Steps check the values, but for those that XLA compiles: there arrays are checked here, and
        streams are not. Without y Keras would drop sample weights silently, so they get a y of
        zeros.
        """
        spec = x.element_spec if isinstance(x, tf.data.Dataset) else x
        first = spec[0] if isinstance(spec, tuple) and spec else spec
        shape = getattr(first, "shape", None)
        if shape is not None and tf.TensorShape(shape).rank is not None:
            self._check_shape(tuple(shape))
        if self.jit_compile and isinstance(x, (np.ndarray, tf.Tensor)):
            _checks.array_support(
                np.asarray(x), self.likelihood.support, self.likelihood.short_name
            )
        if kwargs.get("sample_weight") is not None and y is None and hasattr(x, "__len__"):
            y = np.zeros(len(x), np.float32)
        return x, y

    def train_step(self, data: Any) -> dict[str, Tensor]:
        """Takes one step of the optimiser; returns the running means of the logged values."""
        inputs = self._inputs(data)
        step = tf.convert_to_tensor(self.sampling.step)
        shape = [self.objective.samples, tf.shape(inputs.x)[0], self.latent.noise_size]
        seed = tf.random.experimental.stateless_fold_in(
            self.sampling.seed_at(step), _OBJECTIVE_STREAM
        )
        groups = self._variable_groups()
        with tf.GradientTape(persistent=True) as tape:
            forward = self.graph.forward(
                inputs,
                self.sampling.noise(shape, step),
                step=self.optimizer.iterations,
                seed=seed,
                training=True,
                path=self.objective.path,
            )
            output = self.objective.evaluate(forward.latent_pass)
            regularization = tf.add_n([tf.cast(loss, tf.float32) for loss in self.losses] or [0.0])
            targets = self._targets(output, inputs.weights, regularization, groups)
        gradients = [
            (gradient, variable)
            for target, variables in targets
            for gradient, variable in zip(tape.gradient(target, variables), variables)
        ]
        if gradients:
            self.optimizer.apply_gradients(gradients)
        self.sampling.step.assign_add(1)
        return self._log(inputs, forward, output, regularization)

    def test_step(self, data: Any) -> dict[str, Tensor]:
        """Scores one batch; returns the running means of the logged values."""
        inputs = self._inputs(data)
        seed = tf.constant(self.sampling.seed, tf.int32)
        noise = self.graph.noise(inputs.x, self.objective.samples, seed)
        step = 0 if self.optimizer is None else self.optimizer.iterations
        forward = self.graph.forward(inputs, noise, step=step, seed=seed, path=self.objective.path)
        output = self.objective.evaluate(forward.latent_pass)
        regularization = tf.add_n([tf.cast(loss, tf.float32) for loss in self.losses] or [0.0])
        return self._log(inputs, forward, output, regularization)

    def predict_step(self, data: Any) -> Tensor:
        """Returns the reconstructions (B, E) of one batch."""
        return self(self._inputs(data).x, training=False)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Returns the mean of p(x|z) at the mean of q(z|x), (B, E), for x (B, E)."""
        posterior_mean = self.graph.posterior(tf.cast(inputs, tf.float32), training).mean()
        params = self.graph.parameters(posterior_mean, training)
        return self.likelihood.mean(params, self.graph.given())

    def _inputs(self, data: Any) -> Inputs:
        """Returns what Keras delivered as x, mask, weights and side inputs; y is left out."""
        x, _, weights = keras.utils.unpack_x_y_sample_weight(data)
        if isinstance(x, (tuple, list)) and len(x) == 1:
            x = x[0]
        if not hasattr(x, "shape"):
            raise TypeError(
                f"The model received {type(x).__name__} as x; expected one array or tensor of "
                f"shape (batch, {', '.join(map(str, self.event_shape))})."
            )
        if tf.TensorShape(x.shape).rank is not None:
            self._check_shape(tuple(x.shape))
        x = tf.ensure_shape(tf.cast(x, tf.float32), (None, *self.event_shape))
        if not self.jit_compile:
            x = _checks.assert_support(x, self.likelihood.support, self.likelihood.short_name)
        if weights is not None:
            weights = tf.reshape(tf.cast(weights, tf.float32), [-1])
        return Inputs(x, None, weights, Given())

    def _check_shape(self, received: tuple[Any, ...]) -> None:
        sizes = zip(received[1:], self.event_shape)
        fits = len(received) == len(self.event_shape) + 1
        if not fits or any(size not in (None, expected) for size, expected in sizes):
            raise ValueError(_checks.shape_message(received, self.event_shape))

    def _variable_groups(self) -> list[tuple[str, list[Any]]]:
        """Returns the trainable variables by the loss they may follow."""
        inference = [self.encoder, *self.latent.inference_layers]
        chosen = {id(v): "inference" for part in inference for v in part.trainable_variables}
        chosen |= {id(v): "objective" for v in self.objective.trainable_variables}
        groups: dict[str, list[Any]] = {}
        for variable in self.trainable_variables:
            groups.setdefault(chosen.get(id(variable), "generative"), []).append(variable)
        return list(groups.items())

    def _targets(
        self,
        output: LossOutput,
        weights: Tensor | None,
        regularization: Tensor,
        groups: list[tuple[str, list[Any]]],
    ) -> list[tuple[Tensor, list[Any]]]:
        """Returns scalars to differentiate, scaled for the optimiser, each with its variables.

        A replica's scalar is its share of the mean over the global batch plus its share of the
        regularisation, because the optimiser sums gradients over replicas.
        """
        penalty = regularization / distribute.num_replicas()

        def target(loss: Tensor) -> Tensor:
            return self.optimizer.scale_loss(distribute.global_mean(loss, weights) + penalty)

        if not output.group_losses:
            return [(target(output.loss), self.trainable_variables)]
        return [(target(output.group_losses.get(g, output.loss)), vs) for g, vs in groups]

    def _log(
        self, inputs: Inputs, forward: Forward, output: LossOutput, regularization: Tensor
    ) -> dict[str, Tensor]:
        penalty = regularization * tf.ones_like(output.loss)
        values = {"loss": output.loss + penalty, "regularization_loss": penalty, **output.terms}
        if "elbo" in self._trackers:
            values["elbo"] = -sum(elbo_terms_of(forward.latent_pass))
        for name, tracker in self._trackers.items():
            tracker.update_state(values[name], inputs.weights)
        if self._compile_metrics is not None:
            mean = self.likelihood.mean(forward.params[0], forward.given)
            self._compile_metrics.update_state(inputs.x, mean, inputs.weights)
        results = self.get_metrics_result()
        if distribute.is_multi_worker():
            # Keras reduces logs over axis 0 there, which scalars lack.
            return {name: tf.reshape(value, [1]) for name, value in results.items()}
        return results

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Makes the variables of optimiser and metrics, without looking at the data.

        Keras would average the first batch over the replicas to build itself, which fails on
        batches that do not divide evenly and on several workers. All parts are built already.
        """
        with self.distribute_strategy.scope():
            if self.optimizer is not None and not self.optimizer.built:
                self.optimizer.build(self.trainable_variables)
            if self._compile_metrics is not None and not self._compile_metrics.built:
                x = keras.KerasTensor((None, *self.event_shape), "float32")
                keras.src.backend.compute_output_spec(self._compile_metrics.update_state, x, x)


def load(path: Any) -> VAE:
    """Returns the VAE saved at `path`, a `.keras` file written by `vae.save`.

    Raises:
        ValueError: if the file is missing or holds something else.
    """
    model = keras.saving.load_model(path)
    if not isinstance(model, VAE):
        raise ValueError(f"{path} holds a {type(model).__name__}; expected a keras_vae.VAE.")
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


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    """Turns the failure of a check inside a graph into a ValueError with its sentence alone."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        message = _checks.user_message(error)
        if message is None:
            raise
        raise ValueError(message) from None
