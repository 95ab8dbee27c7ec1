"""What p(x) takes: the mean of p(x|z) over draws of p(z) against draws of q(z|x).

    python examples/monte_carlo.py            # half a minute on 2 cores
    python examples/monte_carlo.py --quick    # seconds, to see it run

Both estimate p(x) = E_p(z)[p(x|z)] without bias, and what is off in the end shrinks as 1 over the
square root of the samples; where they differ is how soon. All is known here: z ~ N(0, I) and
x|z ~ N(W z, 0.5^2 I), so x ~ N(0, W W' + 0.5^2 I). OUTPUT/errors.png shows the mean error of
log p(x) over 200 examples. With two latents some of the draws of p(z) explain x, and both ways
work. With twenty no draw does: after 10,000 plain Monte Carlo is still 25 nats too low. Importance
sampling draws z where the encoder says that x came from, and divides by q(z|x) to undo the favour.
Its q(z|x) is 1.3 times as wide as the true posterior here, since a trained encoder is never exact.
"""

from pathlib import Path

import keras
import matplotlib.figure
import numpy as np
import scipy.stats
import typer

import keras_vae as kv

LATENTS, EVENT_SIZE = (2, 20), 30
SCALE, STDDEV, WIDEN = 1.5, 0.5, 1.3
SAMPLES = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)


def linear_gaussian(latent_dim: int) -> tuple[kv.VAE, np.ndarray]:
    """Returns a VAE whose weights are set by hand, and W (EVENT_SIZE, latent_dim).

    The columns of W are at right angles and SCALE long. Then the true posterior is
    N(W' x / (STDDEV^2 precision), I / precision), where precision = 1 + (SCALE / STDDEV)^2.
    """
    rng = np.random.default_rng(latent_dim)
    weights = SCALE * np.linalg.qr(rng.normal(size=(EVENT_SIZE, latent_dim)))[0]
    precision = 1.0 + (SCALE / STDDEV) ** 2

    encoder = keras.Sequential([keras.Input((EVENT_SIZE,)), keras.layers.Identity()])
    decoder = keras.Sequential([keras.Input((latent_dim,)), keras.layers.Dense(EVENT_SIZE)])
    likelihood = kv.likelihoods.Normal("fixed", STDDEV)
    vae = kv.VAE((EVENT_SIZE,), latent_dim, encoder=encoder, decoder=decoder, likelihood=likelihood)
    decoder.layers[-1].set_weights([weights.T, np.zeros(EVENT_SIZE)])
    # The last layer of q(z|x) gives the means and, after them, the logs of the standard deviations.
    to_mean = weights / STDDEV**2 / precision
    log_stddev = np.full(latent_dim, np.log(WIDEN) - 0.5 * np.log(precision))
    kernel = np.concatenate([to_mean, np.zeros_like(to_mean)], axis=1)
    bias = np.concatenate([np.zeros(latent_dim), log_stddev])
    vae.latent.posterior.projection.set_weights([kernel, bias])
    return vae, weights


def main(output: Path = Path("runs/monte_carlo"), quick: bool = False) -> None:
    samples = SAMPLES[:5] if quick else SAMPLES
    figure = matplotlib.figure.Figure(figsize=(8.6, 3.9), layout="constrained", dpi=110)
    panels = figure.subplots(1, len(LATENTS), sharey=True)
    for axes, latent_dim in zip(panels, LATENTS):
        vae, weights = linear_gaussian(latent_dim)
        truth = scipy.stats.multivariate_normal(
            np.zeros(EVENT_SIZE), weights @ weights.T + STDDEV**2 * np.eye(EVENT_SIZE)
        )
        x = truth.rvs(20 if quick else 200, random_state=0).astype("float32")
        ways = {
            "plain: z from p(z)": (vae.prior_sample, kv.plots.ORANGE),
            "importance: z from q(z|x)": (vae.importance_sample, kv.plots.BLUE),
        }
        for name, (estimate, colour) in ways.items():
            found = [estimate(x, count, seed=0).log_likelihood for count in samples]
            errors = [np.abs(each - truth.logpdf(x)).mean() for each in found]
            axes.loglog(samples, errors, color=colour, marker="o", markersize=4, label=name)
            print(f"{latent_dim} latents, {name}: error {errors[-1]:.3g} nats at {samples[-1]:,}")
        guide = errors[-1] * np.sqrt(samples[-1] / np.array(samples))
        axes.loglog(samples, guide, color="#555555", ls=":", label="1 / sqrt(samples)")
        axes.set_title(f"{latent_dim} latent dimensions")
        axes.set_xlabel("samples")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("mean error of log p(x) (nats)")
    panels[0].legend(frameon=False)

    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / "errors.png")
    print(output / "errors.png")


if __name__ == "__main__":
    typer.run(main)
