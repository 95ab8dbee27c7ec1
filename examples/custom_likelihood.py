"""A likelihood of your own: Gamma, for positive real numbers such as rainfall or waiting times.

The class is all there is to it: it trains with every posterior, prior and objective, saves, loads
and exports, and no file of the package changes.

    python examples/custom_likelihood.py            # about 15 seconds on 2 cores
    python examples/custom_likelihood.py --quick

It prints the model's log-likelihood on held-out data between that of one Gamma distribution per
column, which knows nothing of how the columns hang together, and that of the truth.
"""

import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
import typer

import keras_vae as kv


@kv.register("likelihood", "gamma")
class Gamma(kv.likelihoods.Likelihood):
    """p(x|z) = prod_e Gamma(x_e; exp(a_e), exp(b_e)): shape and rate, both positive."""

    support = "positive"
    fill = 1.0
    params_per_element = 2

    def _distribution(self, params, given):
        log_shape, log_rate = tf.split(params, 2, axis=-1)
        return tfp.distributions.Gamma(tf.exp(log_shape), tf.exp(log_rate))


def monthly(wetness: np.ndarray) -> Any:
    """Returns the distribution of a station's rain in a month of that wetness."""
    return scipy.stats.gamma(3.0, scale=0.3 * np.exp(0.8 * wetness))


def rainfall(count: int, seed: int) -> np.ndarray:
    """Returns monthly rain of four stations, (count, 4), which share the month's wetness."""
    rng = np.random.default_rng(seed)
    wetness = rng.normal(size=(count, 1))
    return monthly(wetness).rvs((count, 4), random_state=rng).astype("float32")


def log_truth(x: np.ndarray) -> np.ndarray:
    """Returns log p(x), (count,), of what `rainfall` draws from, by Gauss-Hermite quadrature."""
    wetness, weights = np.polynomial.hermite_e.hermegauss(80)
    log_px = monthly(wetness[:, None, None]).logpdf(x).sum(-1)
    return scipy.special.logsumexp(log_px, axis=0, b=weights[:, None] / weights.sum())


def main(quick: bool = False) -> None:
    keras.utils.set_random_seed(0)
    train, test = rainfall(4000, 1), rainfall(1000, 2)
    vae = kv.VAE((4,), latent_dim=2, likelihood="gamma", network="dense:widths=[64]")
    vae.compile(keras.optimizers.Adam(3e-3))
    vae.fit(train, epochs=2 if quick else 40, batch_size=100, verbose=0)

    columns = [scipy.stats.gamma(*scipy.stats.gamma.fit(column, floc=0)) for column in train.T]
    separate = sum(fit.logpdf(column).mean() for fit, column in zip(columns, test.T))
    print("log-likelihood of held-out months, nats")
    print(f"  one Gamma per column         {separate:.3f}")
    print(f"  VAE with a Gamma likelihood  {vae.log_likelihood(test, 500).mean():.3f}")
    print(f"  the truth                    {log_truth(test).mean():.3f}")

    with tempfile.TemporaryDirectory() as folder:
        vae.save(Path(folder) / "rain.keras")
        again = kv.load(Path(folder) / "rain.keras")
        exported = tf.saved_model.load(str(kv.export.saved_model(again, Path(folder) / "export")))
        drawn = exported.sample(tf.constant(3), tf.constant([0, 1]))
    print("three months drawn from the exported model:")
    print(np.round(drawn["x"].numpy(), 2))


if __name__ == "__main__":
    typer.run(main)
