"""How a `VAE` trains: the Keras side of `compile`, `fit`, `evaluate`, `predict` and their steps."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_vae import _checks, _sides, distribute, executing, guarding, receiving
from keras_vae._types import Given, Inputs, LossOutput, Tensor
from keras_vae.graph import Forward, Graph, elbo_terms_of
from keras_vae.latents import LatentModel
from keras_vae.layers import Sampling
from keras_vae.objectives import Objective
from keras_vae.resuming import Resuming

#: Folded into a step's seed for the draws of the objective's own.
_OBJECTIVE_STREAM = 0x0B1


class Training(Resuming):
    """The methods of `VAE` that train and score by Keras's loop, for a model that has the parts."""

    encoder: keras.Model
    latent: LatentModel
    objective: Objective
    sampling: Sampling
    graph: Graph
    _compiled: Callable[..., Any]

    def compile(
        self,
        optimizer: Any = "adam",
        loss: Any = None,
        loss_weights: Any = None,
        *args: Any,
        gradient_limit: float | None = None,
        **kwargs: Any,
    ) -> None:
        """Chooses the optimiser and how steps run, as `keras.Model.compile` does.

        A step with a loss or gradient that is not finite changes nothing, whatever is chosen here;
        `callbacks.Divergence` watches how many there are.

        Args:
            optimizer: As for Keras, as are the others that are not named here.
            loss: None; the objective is the loss.
            loss_weights: None.
            *args: As for Keras; `metrics` and `weighted_metrics` receive (x, mean of p(x|z)).
            gradient_limit: Steps whose gradient has a greater norm are left out, too, but at most
                10 in a row: the next is taken, scaled down to the limit.
            **kwargs: As for Keras.

        Raises:
            ValueError: for a loss, since the objective is the loss; or for a setting that Keras
                cannot run on several replicas.
        """
        for key, value in {"loss": loss, "loss_weights": loss_weights}.items():
            if value is not None:
                raise ValueError(
                    f"compile received {key}={value!r}; a VAE's loss is its objective: pass "
                    "objective=... to VAE, and leave this out."
                )
        options = receiving.bound(super().compile, optimizer, None, None, *args, **kwargs)
        distribute.check(self.distribute_strategy)
        replicas = self.distribute_strategy.num_replicas_in_sync
        if replicas > 1:
            for key, harmless in (("steps_per_execution", 1), ("jit_compile", False)):
                value = options.get(key, harmless)
                if value not in (harmless, None, "auto"):
                    raise ValueError(
                        f"compile received {key}={value!r}, which Keras cannot run on several "
                        f"replicas; leave it out, or train on one device."
                    )
            self._check_scope()
        if gradient_limit is not None:
            gradient_limit = _checks.number("gradient_limit", gradient_limit, 0.0, above=True)
            if replicas > 1:
                raise ValueError(
                    f"compile received gradient_limit={gradient_limit:g}, and several replicas "
                    "have a part of the gradient each; leave it out, or train on one device."
                )
        super().compile(**options)
        self.__dict__["_left_out"] = 0
        self.__dict__["_one_by_one"] = "steps_per_execution" in options or replicas > 1
        self.__dict__["_executions"] = {kind: executing.Execution() for kind in ("train", "test")}
        with self.distribute_strategy.scope():
            self._check_optimizer(replicas)
            self.__dict__["_guard"] = guarding.Guard(gradient_limit)

    def _check_optimizer(self, replicas: int) -> None:
        """Refuses what Keras does to each replica's share of the gradient, or cannot do there."""
        inner = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        mirrored = isinstance(self.distribute_strategy, tf.distribute.MirroredStrategy)
        refused: dict[str, str] = {}
        if replicas > 1:
            refused |= dict.fromkeys(
                ("clipnorm", "global_clipnorm", "clipvalue"),
                "applies to each of several replicas by itself, so the result is not that of one "
                "device; leave it out, or train on one device.",
            )
        if replicas > 1 or mirrored:
            refused |= dict.fromkeys(
                ("gradient_accumulation_steps", "ema_overwrite_frequency"),
                f"cannot do under a {type(self.distribute_strategy).__name__}; leave it out, or "
                "train without a strategy.",
            )
        for name, why in refused.items():
            value = getattr(inner, name, None)
            if value:
                raise ValueError(f"The optimiser has {name}={value!r}, which Keras {why}")

    def _check_scope(self) -> None:
        extended = self.distribute_strategy.extended
        for variable in self.variables:
            if not extended.variable_created_in_scope(variable.value):
                raise ValueError(
                    f"The weight {variable.path!r} was made outside the strategy's scope; expected "
                    "the VAE and every network given to it to be made under strategy.scope()."
                )

    def get_compile_config(self) -> Any:
        """Returns what `compile_from_config` compiles with."""
        config = super().get_compile_config()
        if not self.compiled:
            return config
        if not self._one_by_one:
            config.pop("steps_per_execution", None)
        limit = self.guard.limit
        return config if limit is None else {**config, "gradient_limit": limit}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles with what `get_compile_config` gave, and makes the optimiser's variables."""
        if config.get("steps_per_execution") == 1:  # of Keras, where the user chose none
            config = {key: config[key] for key in config if key != "steps_per_execution"}
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The trackers of the loss and its terms, then those given to `compile`."""
        trackers = list(self._trackers.values())
        compiled = self._compile_metrics if self.compiled else None
        return trackers if compiled is None else [*trackers, compiled]

    def _make_trackers(self) -> None:
        """Makes the means of the logged values; called once the parts are there."""
        names = ["loss", *self.objective.terms, "regularization_loss"]
        names += ["elbo"] if "density" in self.latent.offers else []
        self._trackers = {name: keras.metrics.Mean(name=name) for name in names}

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Trains as `keras.Model.fit` does, on tf.data, arrays, generators.

        y is the condition of a model that has one, and else ignored. What else belongs to an
        example comes with it, as a mapping {"x": (n, E), "offset": (n,)}: `offset`, where the
        likelihood takes a size factor; `condition`, in place of y; and `mask` (n, E), 1 where an
        entry was observed, where the model takes missing entries and they are not NaN in x.

        The order of arrays is a function of a number from NumPy's global generator, which
        `keras.utils.set_random_seed` seeds; on several workers, of the model's seed.

        Logs `loss`, the objective's terms (`reconstruction_loss`, `kl_loss`, ...),
        `regularization_loss` and `elbo` (at beta = 1), each in nats per example, and the same with
        `val_` for validation data. `loss` is the objective plus the regularisation.

        Returns: the `keras.callbacks.History`.

        Raises:
            ValueError: for data of another shape or outside the likelihood's support.
        """
        options = self._received(receiving.bound(super().fit, x, y, *args, **kwargs))
        self.objective.begin(receiving.num_examples(options))
        validation = options.get("validation_data")
        if validation is not None:
            parts = validation if isinstance(validation, tuple) else (validation,)
            names = ("x", "y", "sample_weight")
            checked = self._received(dict(zip(names, parts)))
            whole = isinstance(validation, tuple)
            options["validation_data"] = (
                tuple(checked[name] for name in names if name in checked) if whole else checked["x"]
            )
        given = (options["x"], options.get("y"))
        options = self._resumable(options)
        validation = options.get("validation_data") if validation is None else validation
        options = receiving.validation_batched(options)
        if isinstance(options["x"], (tf.data.Dataset, Iterator)):
            options.setdefault("shuffle", False)  # Keras warns that its default has no effect
        passes = getattr(options["x"], "passes", None)
        before = int(self.guard.skipped.numpy()) if self.compiled else 0  # else Keras says it
        if self.compiled:
            self._begin_steps("train", options.get("callbacks"), options.get("steps_per_epoch"))
        with receiving.in_words(), self._fitting((given, validation), passes, options):
            history = super().fit(**options)
        self._tell_of_skipped(int(self.guard.skipped.numpy()) - before, options)
        return history

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Returns the logged values over a data set, as `keras.Model.evaluate` does.

        The noise is a function of the seed and each example, so the values do not depend on the
        batch size.

        Raises:
            ValueError: as `fit`.
        """
        options = self._received(receiving.bound(super().evaluate, x, y, *args, **kwargs))
        if self.compiled:
            self._begin_steps("test", options.get("callbacks"), options.get("steps"))
        if not options.get("_use_cached_eval_dataset"):  # by which `fit` asks for its own again
            options = receiving.batched(options)
        with receiving.in_words(), self._aside():
            return super().evaluate(**options)

    def _takes_several(self, kind: str) -> bool:
        """Returns whether steps of a kind may be taken several at a time.

        Not where the user chose a number, and not a step of a subclass, whose logs may be others
        than the metrics.
        """
        name = f"{kind}_step"
        own = getattr(type(self), name) is not getattr(Training, name) or name in self.__dict__
        chosen = self._one_by_one or self.steps_per_execution != 1  # an attribute that may be set
        return not (own or chosen or self.run_eagerly)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> np.ndarray:
        """Returns the reconstructions (n, E) of a data set, as `keras.Model.predict` does.

        Raises:
            ValueError: as `fit`.
        """
        options = self._received(receiving.bound(super().predict, x, *args, **kwargs))
        with receiving.in_words():
            return super().predict(**receiving.batched(options))

    def train_on_batch(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Takes one step on one batch, as `keras.Model.train_on_batch` does."""
        options = self._received(receiving.bound(super().train_on_batch, x, *args, **kwargs))
        with receiving.in_words(), self._aside():
            return super().train_on_batch(**options)

    def test_on_batch(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Scores one batch, as `keras.Model.test_on_batch` does."""
        options = self._received(receiving.bound(super().test_on_batch, x, *args, **kwargs))
        with receiving.in_words(), self._aside():
            return super().test_on_batch(**options)

    def predict_on_batch(self, x: Any) -> Any:
        """Returns the reconstructions of one batch, as `keras.Model.predict_on_batch` does."""
        with receiving.in_words():
            return super().predict_on_batch(self._received({"x": x})["x"])

    def train_step(self, data: Any) -> dict[str, Tensor]:
        """Takes one step of the optimiser; returns the running means of the logged values."""
        inputs = self._inputs(data)
        step = tf.convert_to_tensor(self.sampling.step)
        shape = [self.objective.samples, tf.shape(inputs.x)[0], self.latent.noise_size]
        seed = tf.random.experimental.stateless_fold_in(
            self.sampling.seed_at(step), _OBJECTIVE_STREAM
        )
        if not self.jit_compile:
            self._warn_of_grey(inputs.x, step)
        groups, moved = self._variable_groups(), self._moved()
        before = [tf.identity(variable) for variable in moved]
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
            penalty = self._penalty(inputs.x)
            targets = self._targets(output, inputs.weights, penalty, groups)
        gradients = [
            (gradient, variable)
            for target, variables in targets
            for gradient, variable in zip(tape.gradient(target, variables), variables)
        ]
        take, gradients = self.guard.judge(output.loss + penalty, gradients, self.optimizer)
        logged = self._logged(inputs, forward, output, penalty)
        report = (lambda: None) if self.jit_compile else (lambda: self.guard.report(inputs.x))
        guarding.step_if(take, self.optimizer, gradients, logged, report)
        guarding.put_back(take, moved, before)
        self.sampling.step.assign_add(tf.cast(take, self.sampling.step.dtype))
        return self._results()

    def test_step(self, data: Any) -> dict[str, Tensor]:
        """Scores one batch; returns the running means of the logged values."""
        inputs = self._inputs(data)
        seed = tf.constant(self.sampling.seed, tf.int32)
        noise = self.graph.noise(inputs.x, self.objective.samples, seed)
        step = 0 if self.optimizer is None else self.optimizer.iterations
        forward = self.graph.forward(inputs, noise, step=step, seed=seed, path=self.objective.path)
        output = self.objective.evaluate(forward.latent_pass)
        self._logged(inputs, forward, output, self._penalty(inputs.x))()
        return self._results()

    def gradient_norm(self, x: Any) -> float:
        """Returns the norm of the gradient of the mean loss over x (n, E); takes no step.

        Layers run in inference mode and with the noise of evaluation, so nothing is changed. What
        regularisers add is left out.
        """
        # Both are baked into the graph, and another may come with `compile` or `trainable`.
        parts = (self.optimizer, *self.trainable_variables)
        name = f"gradient_norm {hash(tuple(map(id, parts)))}"
        return float(self._at_once(name, self._gradient_norm, x))

    def _gradient_norm(self, x: Tensor, given: Given) -> Tensor:
        seed, step = tf.constant(self.sampling.seed, tf.int32), self.optimizer.iterations
        noise = self.graph.noise(x, self.objective.samples, seed)
        with tf.GradientTape(persistent=True) as tape:
            inputs = Inputs(x, None, given)
            forward = self.graph.forward(
                inputs, noise, step=step, seed=seed, path=self.objective.path
            )
            output = self.objective.evaluate(forward.latent_pass)
            losses = {
                group: tf.reduce_mean(output.group_losses.get(group, output.loss))
                for group, _ in self._variable_groups()
            }
        gradients = [
            gradient
            for group, variables in self._variable_groups()
            for gradient in tape.gradient(losses[group], list(map(distribute.primary, variables)))
        ]
        return tf.linalg.global_norm(gradients)

    def predict_step(self, data: Any) -> Tensor:
        """Returns the reconstructions (B, E) of one batch."""
        inputs = self._inputs(data)
        return self.graph.reconstruct(inputs.x, inputs.given)

    def call(self, inputs: Any, training: bool = False) -> Tensor:
        """Returns the mean of p(x|z) at the mean of q(z|x), (B, E).

        Args:
            inputs: x (B, E), or a mapping of "x" and what belongs to it; see `fit`.
            training: Whether layers run in training mode.
        """
        sides = self._side_inputs(inputs)
        x = tf.cast(_sides.event_of(inputs), tf.float32)
        x = self._marked(x, sides.get("mask")) if self.missing else x
        return self.graph.reconstruct(x, self._given(sides), training)

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
        penalty: Tensor,
        groups: list[tuple[str, list[Any]]],
    ) -> list[tuple[Tensor, list[Any]]]:
        """Returns scalars to differentiate, scaled for the optimiser, each with its variables.

        A replica's scalar is its share of the mean over the global batch plus its share of the
        regularisation, because the optimiser sums gradients over replicas.
        """

        def target(loss: Tensor) -> Tensor:
            return self.optimizer.scale_loss(distribute.global_mean(loss, weights) + penalty)

        if not output.group_losses:
            return [(target(output.loss), self.trainable_variables)]
        followed: dict[int, tuple[Tensor, list[Any]]] = {}  # by loss: each takes a pass backwards
        for group, variables in groups:
            loss = output.group_losses.get(group, output.loss)
            followed.setdefault(id(loss), (loss, []))[1].extend(variables)
        return [(target(loss), variables) for loss, variables in followed.values()]

    def _moved(self) -> list[Any]:
        """Returns the variables that a forward pass changes, such as moving averages."""
        layers = list(self._flatten_layers())
        others = [v for layer in layers for v in layer._trainable_variables]  # frozen, perhaps
        others += [v for metric in self.metrics for v in metric.variables] + [self.sampling.step]
        left = set(map(id, others))
        return [v for v in self.non_trainable_variables if id(v) not in left]

    def _penalty(self, x: Tensor) -> Tensor:
        """Returns this replica's share of what layers and regularisers add to the loss.

        What layers add by `add_loss` is taken as a mean over the batch they saw, so a replica's
        share of it is its share of the examples; regularisers of weights are the same everywhere.
        """
        whole, replicas = _total(self.losses), distribute.num_replicas()
        if replicas == 1 or not self.losses:
            return whole
        count = tf.cast(tf.shape(x)[0], tf.float32)
        share = tf.math.divide_no_nan(count, distribute.global_sum(count))
        of_weights = _total([v.regularizer(v) for v in self.trainable_variables if v.regularizer])
        return tf.math.multiply_no_nan(whole, share) + (1.0 / replicas - share) * of_weights

    def _logged(
        self, inputs: Inputs, forward: Forward, output: LossOutput, penalty: Tensor
    ) -> Callable[[], None]:
        """Returns what adds a batch to the means of the logged values."""
        penalty = distribute.global_sum(penalty) if self.losses else penalty
        penalty *= tf.ones_like(output.loss)
        values = {"loss": output.loss + penalty, "regularization_loss": penalty, **output.terms}
        if "elbo" in self._trackers:
            values["elbo"] = -sum(elbo_terms_of(forward.latent_pass))

        def update() -> None:
            for name, tracker in self._trackers.items():
                tracker.update_state(values[name], inputs.weights)
            if self._compile_metrics is not None:
                mean = self.likelihood.mean(forward.params[0], forward.given)
                self._compile_metrics.update_state(inputs.x, mean, inputs.weights)

        return update

    def _results(self) -> dict[str, Tensor]:
        """Returns the running means of the logged values, as a step does."""
        results = self.get_metrics_result()
        if distribute.is_multi_worker() and distribute.num_replicas() > 1:
            # Keras averages each value over the workers by two exchanges, along an axis that
            # scalars lack; one is enough for progress bars, and epochs end with the metrics.
            return {"loss": tf.reshape(results["loss"], [1])}
        return results

    def _get_metrics_result_or_logs(self, logs: Any) -> dict[str, Any]:
        """Returns what an epoch logs, whatever its last step returned.

        Keras's means of nothing are 0, which of a loss is the best there is; where every step was
        left out they are NaN.
        """
        results = self.get_metrics_result()
        if float(np.asarray(self._trackers["loss"].count)) == 0.0 and self.guard.lost():
            return {name: value * float("nan") for name, value in results.items()}
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


def _total(losses: list[Tensor]) -> Tensor:
    return tf.add_n([tf.cast(loss, tf.float32) for loss in losses] or [tf.constant(0.0)])
