"""The composed model as pure functions of tensors.

One place joins encoder, latent model, decoder and likelihood. Training, evaluation, the methods of
`VAE` and every exported signature are made of these functions, so they cannot disagree.
"""

import math
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_vae import distribute, estimators
from keras_vae._noise import content_keys, content_noise, keyed_noise, keyed_seeds
from keras_vae._types import Given, Inputs, LatentPass, Tensor
from keras_vae.latents import LatentModel
from keras_vae.likelihoods import Likelihood

NOTHING = Given()
#: Rows (samples times examples) that one chunk of samples holds, and at most how many numbers in
#: the decoder's widest layer or the prior's density: large products, in memory that does not grow.
CHUNK_ROWS, CHUNK_ELEMENTS = 2**12, 2**22
#: Draws from a prior by seeds come in blocks of this size, whatever the chunk.
BLOCK = 32
#: So many chains find the step sizes, whatever the number of those that are weighed.
PILOT_CHAINS = 16
#: The streams of noise of an annealed run; importance samples take the seed itself.
_START, _PILOT_START, _PILOT, _FORWARD, _BACKWARD = 1, 2, 3, 4, 5


class Encoding(NamedTuple):
    """q(z|x) in two moments.

    Attributes:
        mean: (B, D).
        stddev: (B, D).
    """

    mean: Any
    stddev: Any


class Sample(NamedTuple):
    """New events from the model.

    Attributes:
        x: Draws of p(x|z), (n, E).
        mean: Means of p(x|z), (n, E); what pictures usually show.
        z: Draws of p(z), (n, D).
    """

    x: Any
    mean: Any
    z: Any


class ELBOTerms(NamedTuple):
    """The terms that the negative evidence lower bound is the sum of.

    Attributes:
        reconstruction_loss: -E_q[log p(x|z)], (B,).
        kl_loss: KL(q(z|x) || p(z)), (B,).
    """

    reconstruction_loss: Any
    kl_loss: Any


class Annealed(NamedTuple):
    """An estimate of log p(x) by annealed importance sampling, per example.

    Attributes:
        log_likelihood, monte_carlo_error, effective_sample_size, pareto_k: As in `LogLikelihood`,
            of the weights of the chains.
        acceptance: The pilot's share of accepted Hamiltonian proposals, (B,); about 0.65.
    """

    log_likelihood: Any
    monte_carlo_error: Any
    effective_sample_size: Any
    pareto_k: Any
    acceptance: Any


class Forward(NamedTuple):
    """One forward pass: the objective's record, and what the decoder said.

    Attributes:
        latent_pass: What the objective sees.
        params: Parameters of p(x|z), (S, B, ...).
        given: The side inputs, with `observed` filled in training.
    """

    latent_pass: LatentPass
    params: Tensor
    given: Given


class Graph:
    """Pure functions of the parts' weights; all tensors float32, all densities in nats.

    Where `missing` is set, entries of x that are NaN were not observed: the encoder sees them as 0,
    with a mask beside them, and densities leave them out.
    """

    def __init__(
        self,
        encoder: keras.Model,
        latent: LatentModel,
        decoder: keras.Model,
        likelihood: Likelihood,
        missing: bool = False,
    ) -> None:
        self.encoder = encoder
        self.latent = latent
        self.decoder = decoder
        self.likelihood = likelihood
        self.missing = missing

    def given(self, given: Given = NOTHING) -> Given:
        """Returns the side inputs with `posterior_of` filled in."""
        return given._replace(
            posterior_of=lambda u: self.latent.bind(self.encoder(u, training=False))
        )

    def generating(self, given: Given = NOTHING) -> Given:
        """Returns the side inputs of what is drawn: a size factor is 1 where none is given."""
        if self.likelihood.takes_offset and given.offset is None:
            given = given._replace(offset=tf.ones([1]))
        return self.given(given)

    def posterior(self, x: Tensor, given: Given = NOTHING, training: bool = False) -> Any:
        """Returns the bound q(z|x) of x (B, E)."""
        return self.latent.bind(self._features(x, given, training))

    def _features(self, x: Tensor, given: Given, training: bool = False) -> Tensor:
        inputs = _beside(self.network_input(x), given.condition)
        return distribute.never_empty(self.encoder, inputs, training)

    def network_input(self, x: Tensor) -> Tensor:
        """Returns what the encoder sees of x (B, E), but for the condition."""
        mask = self._mask(x)
        if mask is None:
            return self.likelihood.to_network(x)
        seen = self.likelihood.to_network(tf.where(mask > 0.0, x, self.likelihood.fill))
        counted = self.likelihood.network_mask(mask) > 0.0
        return tf.concat([tf.where(counted, seen, 0.0), mask], -1)

    def _mask(self, x: Tensor) -> Tensor | None:
        """Returns 1 where an entry of x (..., E) was observed, or None where all have to be."""
        return tf.cast(tf.logical_not(tf.math.is_nan(x)), tf.float32) if self.missing else None

    def parameters(
        self, decoder_input: Tensor, given: Given = NOTHING, training: bool = False
    ) -> Tensor:
        """Returns the parameters of p(x|z), (..., *params_shape), for decoder inputs (..., F).

        Leading axes are folded into the batch, since Keras models take one batch axis only.
        """
        leading = tf.shape(decoder_input)[:-1]
        flat = tf.reshape(decoder_input, [-1, decoder_input.shape[-1]])
        condition = given.condition
        if condition is not None:
            size = condition.shape[-1]
            condition = tf.broadcast_to(condition, tf.concat([leading, [size]], 0))
            condition = tf.reshape(condition, [-1, size])
        inputs = _beside(flat, condition)
        params = tf.cast(distribute.never_empty(self.decoder, inputs, training), tf.float32)
        shaped = tf.reshape(params, tf.concat([leading, tf.shape(params)[1:]], 0))
        shaped.set_shape([*decoder_input.shape[:-1], *params.shape[1:]])
        return shaped

    def forward(
        self,
        inputs: Inputs,
        noise: Tensor,
        *,
        step: Tensor | int,
        seed: Tensor,
        training: bool = False,
        path: bool = False,
    ) -> Forward:
        """Returns one forward pass over a batch, with noise (S, B, N)."""
        x, weights, given = inputs
        given, mask = self.given(given), self._mask(x)
        draw = self.latent.infer(self._features(x, given, training), given, noise, path)
        params = self.parameters(draw.decoder_input, given, training)
        if training:
            given = given._replace(observed=self.likelihood.observe(params, x, mask, weights))
        log_px = self.likelihood.log_prob(params, x, given, mask)
        latent_pass = LatentPass(x, log_px, draw, tf.cast(step, tf.int64), seed, weights)
        return Forward(latent_pass, params, given)

    def noise(
        self, x: Tensor, num_samples: Tensor | int, seed: Tensor, first: Tensor | int = 0
    ) -> Tensor:
        """Returns the noise of evaluation, (S, B, N): a function of seed and example alone."""
        return content_noise(x, num_samples, self.latent.noise_size, seed, first)

    def encode(self, x: Tensor, given: Given = NOTHING) -> Encoding:
        """Returns mean and standard deviation of q(z|x), each (B, D)."""
        q = self.posterior(x, given)
        return Encoding(q.mean(), q.stddev())

    def decode(self, decoder_input: Tensor, given: Given = NOTHING) -> Tensor:
        """Returns the mean of p(x|z), (..., E)."""
        return self.likelihood.mean(self.parameters(decoder_input, given), self.generating(given))

    def reconstruct(self, x: Tensor, given: Given = NOTHING, training: bool = False) -> Tensor:
        """Returns the mean of p(x|z) at the mean of q(z|x), (B, E)."""
        params = self.parameters(self.posterior(x, given, training).mean(), given, training)
        return self.likelihood.mean(params, self.given(given))

    def sample(self, n: Tensor | int, seed: Tensor, given: Given = NOTHING) -> Sample:
        """Returns n new events: z ~ p(z), then x ~ p(x|z)."""
        seeds = tf.random.experimental.stateless_split(seed, 2)
        given = self.generating(given)
        z, decoder_input = self.latent.generate(n, given, seeds[0])
        params = self.parameters(decoder_input, given)
        mean = self.likelihood.mean(params, given)
        return Sample(self.likelihood.sample(params, seeds[1], given), mean, z)

    def kl_parts(self, x: Tensor, seed: Tensor, given: Given = NOTHING) -> Tensor:
        """Returns KL(q(z|x) || p(z)) by latent dimension or stochastic layer, (B, G)."""
        noise, given = self.noise(x, 1, seed), self.given(given)
        return self.latent.infer(self._features(x, given), given, noise, False).kl_parts

    def elbo(
        self, x: Tensor, num_samples: Tensor | int, seed: Tensor, given: Given = NOTHING
    ) -> Tensor:
        """Returns the evidence lower bound at beta = 1, (B,), by the mean over S draws."""
        terms = self.elbo_terms(x, num_samples, seed, given)
        return -(terms.reconstruction_loss + terms.kl_loss)

    def elbo_terms(
        self, x: Tensor, num_samples: Tensor | int, seed: Tensor, given: Given = NOTHING
    ) -> ELBOTerms:
        """Returns the two terms of the negative evidence lower bound, each (B,)."""
        inputs = Inputs(x, None, given)
        noise = self.noise(x, num_samples, seed)
        return elbo_terms_of(self.forward(inputs, noise, step=0, seed=seed).latent_pass)

    def reconstruction_loss(self, x: Tensor, given: Given = NOTHING) -> Tensor:
        """Returns -log p(x|z) at the mean of q(z|x), (B,)."""
        given = self.given(given)
        return -self._log_px(x, self.posterior(x, given).mean()[None], given)[0]

    def log_likelihood(
        self, x: Tensor, num_samples: Tensor | int, seed: Tensor, given: Given = NOTHING
    ) -> estimators.LogLikelihood:
        """Returns log p(x) by importance sampling from q(z|x), with its errors, each (B,)."""
        inputs = Inputs(x, None, given)
        keys = content_keys(x, seed)

        def log_weights(samples: Tensor, first: Tensor) -> Tensor:
            noise = keyed_noise(keys, samples, self.latent.noise_size, seed, first)
            one = self.forward(inputs, noise, step=0, seed=seed).latent_pass
            return one.log_px + one.draw.log_pz - one.draw.log_qz

        return self._streamed(log_weights, tf.shape(x)[0], num_samples)

    def prior_log_likelihood(
        self, x: Tensor, num_samples: Tensor | int, seed: Tensor, given: Given = NOTHING
    ) -> estimators.LogLikelihood:
        """Returns log p(x) by the mean of p(x|z) over draws of p(z), with its errors, each (B,).

        Every example has draws of its own, so the errors are independent over examples.
        """
        keys, given = content_keys(x, seed), self.given(given)

        def log_weights(samples: Tensor, first: Tensor) -> Tensor:
            z = self._prior_draws(keys, samples, seed, given, first)
            return self._log_px(x, z, given)

        return self._streamed(log_weights, tf.shape(x)[0], num_samples)

    def _streamed(
        self, log_weights: Any, batch: Tensor, num_samples: Tensor | int
    ) -> estimators.LogLikelihood:
        """Returns the estimate of log-weights (S, B), a function of how many and the first."""
        num_samples = tf.convert_to_tensor(num_samples, tf.int32)
        kept = estimators.tail_size(num_samples) + 1

        def add_chunk(first: Tensor, chunk: Tensor, found: Any) -> Any:
            moments, tail = found
            counted = (first + tf.range(chunk) < num_samples)[:, None]
            new = tf.where(counted, log_weights(chunk, first), -float("inf"))
            moments = estimators.add_weights(moments, new)
            return moments, estimators.add_tail(tail, new, kept)

        start = (estimators.no_weights(batch), estimators.no_tail(batch))
        free = (tf.nest.map_structure(_shape, start[0]), tf.TensorShape([None, None]))
        moments, tail = self.in_chunks(add_chunk, start, batch, num_samples, free)
        return estimators.log_likelihood(
            moments, num_samples, estimators.pareto_k(tail, num_samples)
        )

    def in_chunks(
        self, add: Any, start: Any, batch: Tensor, num_samples: Tensor | int, shapes: Any = None
    ) -> Any:
        """Returns what samples of a batch come to that are taken some at a time.

        All chunks have one size, so memory does not grow with the number of samples, and the last
        one may go beyond it.

        Args:
            add: From the first sample, how many, and what came before, to what there is then.
            start: What there is at first, a nest of tensors.
            batch: How many examples there are.
            num_samples: Of each example.
            shapes: Of the nest, where they change.
        """
        num_samples = tf.convert_to_tensor(num_samples, tf.int32)
        least = max(self.likelihood.event_size, self.latent.density_size)
        rows = min(CHUNK_ROWS, CHUNK_ELEMENTS // _widest(self.decoder, least))
        fitting = tf.minimum(num_samples, tf.maximum(1, rows // batch))
        chunks = (num_samples + fitting - 1) // fitting
        chunk = (num_samples + chunks - 1) // chunks
        shapes = tf.nest.map_structure(_shape, start) if shapes is None else shapes
        _, found = tf.while_loop(
            lambda first, _: first < num_samples,
            lambda first, found: (first + chunk, add(first, chunk, found)),
            (tf.constant(0), start),
            shape_invariants=(tf.TensorShape([]), shapes),
            parallel_iterations=1,
        )
        return found

    def _log_px(self, x: Tensor, z: Tensor, given: Given) -> Tensor:
        """Returns log p(x|z), (S, B), for z (S, B, D)."""
        params = self.parameters(self.latent.to_decoder(z, given), given)
        return self.likelihood.log_prob(params, x, given, self._mask(x))

    def _prior_draws(
        self,
        keys: Tensor,
        num_samples: Tensor | int,
        seed: Tensor,
        given: Given,
        first: Tensor | int = 0,
    ) -> Tensor:
        """Returns draws of p(z), (S, B, D): functions of the examples' keys (B,) and the seed."""
        size = self.latent.latent_dim
        noise = keyed_noise(keys, num_samples, size, seed, first)
        z = self.latent.prior_draws(noise, given)
        if z is not None:
            return z
        block = first // BLOCK
        blocks = (first + num_samples - 1) // BLOCK + 1 - block
        seeds = tf.reshape(keyed_seeds(keys, blocks, seed, block), [-1, 2])
        spec = tf.TensorSpec([BLOCK, size], tf.float32)
        drawn = tf.map_fn(
            lambda one: self.latent.generate(BLOCK, given, one)[0], seeds, fn_output_signature=spec
        )
        drawn = tf.transpose(tf.reshape(drawn, [blocks, -1, BLOCK, size]), [0, 2, 1, 3])
        drawn = tf.reshape(drawn, [blocks * BLOCK, -1, size])
        offset = first - block * BLOCK
        return drawn[offset : offset + num_samples]

    def annealed(
        self,
        x: Tensor,
        num_chains: Tensor | int,
        temperatures: Tensor | int,
        leapfrog_steps: Tensor | int,
        seed: Tensor,
        schedule: str = "sigmoid",
        start: str = "prior",
        origin: Tensor | None = None,
        given: Given = NOTHING,
    ) -> Annealed:
        """Returns log p(x) by annealed importance sampling, with its errors, each (B,).

        Args:
            x: (B, E).
            num_chains: Independent chains per example, C.
            temperatures: Steps from the start to the posterior, T.
            leapfrog_steps: Of each Hamiltonian transition.
            seed: int32[2].
            schedule: Of the inverse temperatures; see `estimators.schedule`.
            start: "prior", or "posterior" for q(z|x), where the chains begin.
            origin: The z (B, D) that x was simulated from. Then the chains run backwards, and the
                value is an upper bound on log p(x) in expectation instead of a lower one.
            given: The side inputs.
        """
        betas = estimators.schedule(schedule, temperatures)
        densities, draws = self._path(x, start, self.given(given))
        pilots = tf.minimum(num_chains, PILOT_CHAINS)
        # The pilot shares no draw with the run that is weighed, or the weights would be biased.
        pilot = estimators.pilot(
            densities,
            draws(pilots, _folded(seed, _PILOT_START), 0),
            betas,
            leapfrog_steps,
            self._turns(x, _folded(seed, _PILOT), pilots, pilots, 0),
        )
        own = _folded(seed, _FORWARD if origin is None else _BACKWARD)

        def log_weights(chains: Tensor, first: Tensor) -> Tensor:
            path = (betas, pilot.sizes, leapfrog_steps)
            noise = self._turns(x, own, chains, num_chains, first)
            if origin is None:
                z = draws(chains, _folded(seed, _START), first)
                return estimators.anneal(densities, z, *path, noise)
            z = tf.tile(origin[None], [chains, 1, 1])
            return -estimators.reverse(densities, z, *path, noise)

        found = self._streamed(log_weights, tf.shape(x)[0], num_chains)
        if origin is not None:
            found = found._replace(log_likelihood=-found.log_likelihood)
        return Annealed(*found, pilot.acceptance)

    def _turns(
        self, x: Tensor, seed: Tensor, chains: Tensor, stride: Tensor | int, first: Tensor | int
    ) -> estimators.Noise:
        """Returns the noise of the chains from `first` on, of `stride` chains, by transition."""
        keys, size = content_keys(x, seed), self.latent.latent_dim + 2
        return lambda turn: keyed_noise(keys, chains, size, seed, turn * stride + first)

    def _path(self, x: Tensor, start: str, given: Given) -> tuple[estimators.Densities, Any]:
        """Returns the densities of a path to the posterior, and what draws its start (C, B, D)."""
        if start == "prior":

            def from_prior(z: Tensor) -> tuple[Tensor, Tensor]:
                return self.latent.log_prior(z, given), self._log_px(x, z, given)

            def draws(n: Tensor, seed: Tensor, first: Tensor | int) -> Tensor:
                return self._prior_draws(content_keys(x, seed), n, seed, given, first)

            return from_prior, draws
        q = self.posterior(x, given)

        def from_posterior(z: Tensor) -> tuple[Tensor, Tensor]:
            log_qz = q.log_prob(z)
            return log_qz, self._log_px(x, z, given) + self.latent.log_prior(z, given) - log_qz

        return from_posterior, lambda n, seed, first: q.draw(self.noise(x, n, seed, first))[0]


def _beside(tensor: Tensor, condition: Tensor | None) -> Any:
    """Returns what a network takes: a tensor, or that and the condition."""
    return tensor if condition is None else [tensor, condition]


def _shape(tensor: Tensor) -> tf.TensorShape:
    return tensor.shape


def _folded(seed: Tensor, stream: int) -> Tensor:
    """Returns the seed of a stream of noise of its own."""
    return tf.random.experimental.stateless_fold_in(seed, stream)


def _widest(network: keras.Model, least: int) -> int:
    """Returns how many numbers the widest layer of a network gives for one example."""
    widths = [least]
    for layer in network._flatten_layers():
        outputs = tf.nest.flatten(getattr(layer, "output", None))  # None where it is called twice
        shapes = [tuple(tensor.shape)[1:] for tensor in outputs if tensor is not None]
        widths += [math.prod(shape) for shape in shapes if None not in shape]
    return max(widths)


def elbo_terms_of(latent_pass: LatentPass) -> ELBOTerms:
    """Returns the two terms of a pass at beta = 1, whatever the objective weighs."""
    return ELBOTerms(-tf.reduce_mean(latent_pass.log_px, 0), latent_pass.draw.kl)
