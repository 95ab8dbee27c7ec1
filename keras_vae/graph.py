"""The composed model as pure functions of tensors.

One place joins encoder, latent model, decoder and likelihood. Training, evaluation, the methods of
`VAE` and every exported signature are made of these functions, so they cannot disagree.
"""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_vae import estimators
from keras_vae._noise import content_noise
from keras_vae._types import Given, Inputs, LatentPass, Tensor
from keras_vae.latents import LatentModel
from keras_vae.likelihoods import Likelihood

NOTHING = Given()
#: Elements of x that one chunk of importance samples may hold, per example of the batch, and how
#: many samples at the most: hidden layers are wider than small events.
CHUNK_ELEMENTS, CHUNK_SAMPLES = 2**14, 32


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
        """Returns log p(x) by importance sampling from q(z|x), with its errors, each (B,).

        Draws are streamed in chunks of one size, so memory does not grow with their number; the
        draws beyond it in the last chunk count nothing. Chunk and batch do not change the noise.
        """
        num_samples = tf.convert_to_tensor(num_samples, tf.int32)
        chunk = max(1, min(CHUNK_SAMPLES, CHUNK_ELEMENTS // self.likelihood.event_size))
        inputs = Inputs(x, None, None, Given())

        def add_chunk(first: Tensor, moments: estimators.WeightMoments) -> Any:
            noise = self.noise(x, chunk, seed, first)
            one = self.forward(inputs, noise, step=0, seed=seed).latent_pass
            log_weights = one.log_px + one.draw.log_pz - one.draw.log_qz
            counted = (first + tf.range(chunk) < num_samples)[:, None]
            log_weights = tf.where(counted, log_weights, -float("inf"))
            return first + chunk, estimators.add_weights(moments, log_weights)

        start = (tf.constant(0), estimators.no_weights(tf.shape(x)[0]))
        _, moments = tf.while_loop(
            lambda first, _: first < num_samples, add_chunk, start, parallel_iterations=1
        )
        return estimators.log_likelihood(moments, num_samples)


def elbo_terms_of(latent_pass: LatentPass) -> ELBOTerms:
    """Returns the two terms of a pass at beta = 1, whatever the objective weighs."""
    return ELBOTerms(-tf.reduce_mean(latent_pass.log_px, 0), latent_pass.draw.kl)
