"""A model whose p(x) and q(z|x) are known: z ~ N(0, I), x|z ~ N(W z + b, stddev^2 I)."""

import keras
import numpy as np
import scipy.stats

import keras_vae as kv

EVENT_SIZE, LATENT_DIM, STDDEV = 5, 2, 0.7


class LinearGaussian:
    """The model, its exact marginal and posterior, and a VAE set to them.

    The columns of W are orthogonal, so the exact posterior is a diagonal normal.
    """

    def __init__(self, seed=0, widen=1.0, likelihood=None):
        rng = np.random.default_rng(seed)
        basis, _ = np.linalg.qr(rng.normal(size=(EVENT_SIZE, LATENT_DIM)))
        self.weights = basis * np.array([1.5, 0.6])
        self.bias = rng.normal(size=EVENT_SIZE)
        self.precision = 1.0 + np.diag(self.weights.T @ self.weights) / STDDEV**2
        self.vae = self._vae(widen, likelihood or kv.likelihoods.Normal("fixed", STDDEV))

    def _vae(self, widen, likelihood):
        encoder = keras.Sequential([keras.Input((EVENT_SIZE,)), keras.layers.Identity(name="same")])
        dense = keras.layers.Dense(EVENT_SIZE, name="parameters")
        decoder = keras.Sequential([keras.Input((LATENT_DIM,)), dense])
        vae = kv.VAE(
            (EVENT_SIZE,), LATENT_DIM, encoder=encoder, decoder=decoder, likelihood=likelihood
        )
        dense.set_weights([self.weights.T, self.bias])
        to_mean = self.weights / STDDEV**2 / self.precision
        log_stddev = np.log(widen) - 0.5 * np.log(self.precision)
        kernel = np.concatenate([to_mean, np.zeros_like(to_mean)], 1)
        bias = np.concatenate([-self.bias @ to_mean, log_stddev])
        vae.latent.posterior.projection.set_weights([kernel, bias])
        return vae

    def sample(self, count, seed=1):
        rng = np.random.default_rng(seed)
        z = rng.normal(size=(count, LATENT_DIM))
        noise = rng.normal(size=(count, EVENT_SIZE))
        return (z @ self.weights.T + self.bias + STDDEV * noise).astype("float32")

    def log_prob(self, x):
        covariance = self.weights @ self.weights.T + STDDEV**2 * np.eye(EVENT_SIZE)
        return scipy.stats.multivariate_normal(self.bias, covariance).logpdf(x)
