"""The composed model as pure functions of tensors.

One place joins encoder, latent model, decoder and likelihood. Training, evaluation, the methods of
`VAE` and every exported signature are made of these functions, so they cannot disagree.
"""

import math
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_vae import estimators
from keras_vae._noise import content_keys, content_noise, keyed_noise, keyed_seeds
from keras_vae._types import Given, Inputs, LatentPass, Tensor
from keras_vae.latents import LatentModel
from keras_vae.likelihoods import Likelihood

NOTHING = Given()
#: Rows (samples times examples) that one chunk of samples holds, and at most how many numbers in
#: the decoder's widest layer: large matrix products, in memory that does not grow.
CHUNK_ROWS, CHUNK_ELEMENTS = 2**13, 2**23
#: Draws from a prior by seeds come in blocks of this size, whatever the chunk.
BLOCK = 32
#: Which streams of noise an annealed run takes; the first is that of importance samples.
_START, _PILOT, _FORWARD, _BACKWARD = 1, 2, 3, 4


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
        acceptance: The share of accepted Hamiltonian proposals, (B,).
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
    """Pure functions of the parts' weights; all tensors float32, all densities in nats."""

    def __init__(
        self,
        encoder: keras.Model,
        latent: LatentModel,
        decoder: keras.Model,
        likelihood: Likelihood,
    ) -> None:
        self.encoder = encoder
        self.latent = latent
        self.decoder = decoder
        self.likelihood = likelihood

    def given(self, given: Given = NOTHING) -> Given:
        """Returns the side inputs with `posterior_of` filled in."""
        return given._replace(
            posterior_of=lambda u: self.latent.bind(self.encoder(u, training=False))
        )

    def posterior(self, x: Tensor, training: bool = False) -> Any:
        """Returns the bound q(z|x) of x (B, E)."""
        return self.latent.bind(self._features(x, training))

    def _features(self, x: Tensor, training: bool) -> Tensor:
        return self.encoder(self.likelihood.to_network(x), training=training)

    def parameters(self, decoder_input: Tensor, training: bool = False) -> Tensor:
        """Returns the parameters of p(x|z), (..., *params_shape), for decoder inputs (..., F).

        Leading axes are folded into the batch, since Keras models take one batch axis only.
        """
        leading = tf.shape(decoder_input)[:-1]
        flat = tf.reshape(decoder_input, [-1, decoder_input.shape[-1]])
        params = tf.cast(self.decoder(flat, training=training), tf.float32)
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
        x, mask, weights, given = inputs
        given = self.given(given)
        draw = self.latent.infer(self._features(x, training), given, noise, path)
        params = self.parameters(draw.decoder_input, training)
        if training:
            given = given._replace(observed=self.likelihood.observe(params, x, mask, weights))
        log_px = self.likelihood.log_prob(params, x, given, mask)
        latent_pass = LatentPass(x, log_px, draw, tf.cast(step, tf.int64), seed)
        return Forward(latent_pass, params, given)

    def noise(
        self, x: Tensor, num_samples: Tensor | int, seed: Tensor, first: Tensor | int = 0
    ) -> Tensor:
        """Returns the noise of evaluation, (S, B, N): a function of seed and example alone."""
        return content_noise(x, num_samples, self.latent.noise_size, seed, first)

    def encode(self, x: Tensor) -> Encoding:
        """Returns mean and standard deviation of q(z|x), each (B, D)."""
        q = self.posterior(x)
        return Encoding(q.mean(), q.stddev())

    def decode(self, decoder_input: Tensor) -> Tensor:
        """Returns the mean of p(x|z), (..., E)."""
        return self.likelihood.mean(self.parameters(decoder_input), self.given())

    def reconstruct(self, x: Tensor) -> Tensor:
        """Returns the mean of p(x|z) at the mean of q(z|x), (B, E)."""
        return self.decode(self.posterior(x).mean())

    def sample(self, n: Tensor | int, seed: Tensor) -> Sample:
        """Returns n new events: z ~ p(z), then x ~ p(x|z)."""
        seeds = tf.random.experimental.stateless_split(seed, 2)
        given = self.given()
        z, decoder_input = self.latent.generate(n, given, seeds[0])
        params = self.parameters(decoder_input)
        mean = self.likelihood.mean(params, given)
        return Sample(self.likelihood.sample(params, seeds[1], given), mean, z)

    def kl_parts(self, x: Tensor, seed: Tensor) -> Tensor:
        """Returns KL(q(z|x) || p(z)) by latent dimension or stochastic layer, (B, G)."""
        noise = self.noise(x, 1, seed)
        return self.latent.infer(self._features(x, False), self.given(), noise, False).kl_parts

    def elbo(self, x: Tensor, num_samples: Tensor | int, seed: Tensor) -> Tensor:
        """Returns the evidence lower bound at beta = 1, (B,), by the mean over S draws."""
        terms = self.elbo_terms(x, num_samples, seed)
        return -(terms.reconstruction_loss + terms.kl_loss)

    def elbo_terms(self, x: Tensor, num_samples: Tensor | int, seed: Tensor) -> "ELBOTerms":
        """Returns the two terms of the negative evidence lower bound, each (B,)."""
        inputs = Inputs(x, None, None, Given())
        noise = self.noise(x, num_samples, seed)
        return elbo_terms_of(self.forward(inputs, noise, step=0, seed=seed).latent_pass)

    def log_likelihood(
        self, x: Tensor, num_samples: Tensor | int, seed: Tensor
    ) -> estimators.LogLikelihood:
        """Returns log p(x) by importance sampling from q(z|x), with its errors, each (B,)."""
        inputs = Inputs(x, None, None, Given())
        keys = content_keys(x, seed)

        def log_weights(samples: Tensor, first: Tensor) -> Tensor:
            noise = keyed_noise(keys, samples, self.latent.noise_size, seed, first)
            one = self.forward(inputs, noise, step=0, seed=seed).latent_pass
            return one.log_px + one.draw.log_pz - one.draw.log_qz

        return self._streamed(log_weights, tf.shape(x)[0], num_samples)

    def prior_log_likelihood(
        self, x: Tensor, num_samples: Tensor | int, seed: Tensor
    ) -> estimators.LogLikelihood:
        """Returns log p(x) by the mean of p(x|z) over draws of p(z), with its errors, each (B,).

        Every example has draws of its own, so the errors are independent over examples.
        """
        keys, given = content_keys(x, seed), self.given()

        def log_weights(samples: Tensor, first: Tensor) -> Tensor:
            z = self._prior_draws(keys, samples, seed, first)
            return self._log_px(x, z, given)

        return self._streamed(log_weights, tf.shape(x)[0], num_samples)

    def _streamed(
        self, log_weights: Any, batch: Tensor, num_samples: Tensor | int
    ) -> estimators.LogLikelihood:
        """Returns the estimate of log-weights (S, B), a function of how many and the first.

        They are streamed in chunks of one size, so memory does not grow with their number; those
        beyond it in the last chunk count nothing.
        """
        num_samples = tf.convert_to_tensor(num_samples, tf.int32)
        rows = min(CHUNK_ROWS, CHUNK_ELEMENTS // _widest(self.decoder, self.likelihood.event_size))
        chunk = tf.minimum(num_samples, tf.maximum(1, rows // batch))
        kept = estimators.tail_size(num_samples) + 1

        def add_chunk(first: Tensor, moments: estimators.WeightMoments, tail: Tensor) -> Any:
            counted = (first + tf.range(chunk) < num_samples)[:, None]
            new = tf.where(counted, log_weights(chunk, first), -float("inf"))
            moments = estimators.add_weights(moments, new)
            return first + chunk, moments, estimators.add_tail(tail, new, kept)

        start = (tf.constant(0), estimators.no_weights(batch), estimators.no_tail(batch))
        shapes = tf.nest.map_structure(lambda tensor: tensor.shape, start)
        _, moments, tail = tf.while_loop(
            lambda first, *_: first < num_samples,
            add_chunk,
            start,
            shape_invariants=(*shapes[:2], tf.TensorShape([None, None])),
            parallel_iterations=1,
        )
        return estimators.log_likelihood(
            moments, num_samples, estimators.pareto_k(tail, num_samples)
        )

    def _log_px(self, x: Tensor, z: Tensor, given: Given) -> Tensor:
        """Returns log p(x|z), (S, B), for z (S, B, D)."""
        params = self.parameters(self.latent.to_decoder(z, given))
        return self.likelihood.log_prob(params, x, given)

    def _prior_draws(
        self, keys: Tensor, num_samples: Tensor | int, seed: Tensor, first: Tensor | int = 0
    ) -> Tensor:
        """Returns draws of p(z), (S, B, D): functions of the examples' keys (B,) and the seed."""
        given, size = self.given(), self.latent.latent_dim
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
        """
        betas = estimators.schedule(schedule, temperatures)
        densities, draws = self._path(x, start)

        def noise_of(stream: int) -> Any:
            own = tf.random.experimental.stateless_fold_in(seed, stream)
            keys, size = content_keys(x, own), self.latent.latent_dim + 2
            return lambda turn: keyed_noise(keys, num_chains, size, own, turn * num_chains)

        z = draws(num_chains, tf.random.experimental.stateless_fold_in(seed, _START))
        sizes = estimators.pilot(densities, z, betas, leapfrog_steps, noise_of(_PILOT)).sizes
        if origin is None:
            log_weights, acceptance = estimators.anneal(
                densities, z, betas, sizes, leapfrog_steps, noise_of(_FORWARD)
            )
        else:
            log_weights, acceptance = estimators.reverse(
                densities,
                tf.broadcast_to(origin, tf.shape(z)),
                betas,
                sizes,
                leapfrog_steps,
                noise_of(_BACKWARD),
            )
        return _annealed(log_weights, acceptance, num_chains, origin is not None)

    def _path(self, x: Tensor, start: str) -> tuple[estimators.Densities, Any]:
        """Returns the densities of a path to the posterior, and what draws its start (C, B, D)."""
        given = self.given()
        if start == "prior":

            def from_prior(z: Tensor) -> tuple[Tensor, Tensor]:
                return self.latent.log_prior(z, given), self._log_px(x, z, given)

            return from_prior, lambda n, seed: self._prior_draws(content_keys(x, seed), n, seed)
        q = self.posterior(x)

        def from_posterior(z: Tensor) -> tuple[Tensor, Tensor]:
            log_qz = q.log_prob(z)
            return log_qz, self._log_px(x, z, given) + self.latent.log_prior(z, given) - log_qz

        return from_posterior, lambda n, seed: q.draw(self.noise(x, n, seed))[0]


def _annealed(
    log_weights: Tensor, acceptance: Tensor, num_chains: Tensor | int, backwards: bool
) -> Annealed:
    """Returns the estimate of chains' log-weights (C, B); backwards, of their inverses."""
    log_weights = -log_weights if backwards else log_weights
    batch = tf.shape(log_weights)[1]
    moments = estimators.add_weights(estimators.no_weights(batch), log_weights)
    kept = estimators.tail_size(num_chains) + 1
    tail = estimators.add_tail(estimators.no_tail(batch), log_weights, kept)
    k = estimators.pareto_k(tail, num_chains)
    found = estimators.log_likelihood(moments, num_chains, k)
    if backwards:
        found = found._replace(log_likelihood=-found.log_likelihood)
    return Annealed(*found, acceptance)


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
