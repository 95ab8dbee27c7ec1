"""A decoder returns a distribution, not an image: its mean, a draw from it, and what it costs.

    python examples/decoder_distribution.py                        # 8 x 8 digits; 4 minutes
    python examples/decoder_distribution.py --data fashion_mnist   # from TensorFlow Datasets
    python examples/decoder_distribution.py --quick                # seconds, to see it run

Trains one network on the same grey images under five likelihoods p(x|z) and draws OUTPUT/DATA.png:
for the codes of some test images the mean of p(x|z) above, and a draw below. With the standard
deviation fixed at 1 the noise drowns the image and little is worth encoding. Shared and optimal, it
falls to what the network cannot explain: the optimal one is no weight but the mean squared error
itself. Learned for each pixel, it is small where nothing ever varies, and the likelihood is the
highest. A Bernoulli can only draw black and white: of grey values its loss is no log-likelihood,
which `fit` warns of, and its number compares with nothing.
"""

from pathlib import Path

import keras
import matplotlib.figure
import numpy as np
import typer

import keras_vae as kv

LIKELIHOODS = (
    "normal:variance=fixed",
    "normal:variance=shared",
    "normal:variance=optimal",
    "normal:variance=learned,minimum_stddev=0.01",
    "bernoulli",
)
COLUMNS = 10


def main(
    data: str = "digits",
    output: Path = Path("runs/decoder_distribution"),
    quick: bool = False,
) -> None:
    loaded = kv.data.load(data, batch_size=64 if data == "digits" else 128, binarize=None)
    epochs = 2 if quick else {"digits": 150}.get(data, 10)
    x = next(loaded.test.unbatch().batch(COLUMNS).as_numpy_iterator())

    figure = matplotlib.figure.Figure(figsize=(7, 10), layout="constrained", dpi=130)
    panels = figure.subplots(1 + len(LIKELIHOODS), 1, height_ratios=[1] + [2] * len(LIKELIHOODS))
    kv.plots.image_grid(x, COLUMNS, "test images", axes=panels[0])
    for panel, likelihood in zip(panels[1:], LIKELIHOODS):
        keras.utils.set_random_seed(0)
        vae = kv.VAE(loaded.event_shape, latent_dim=8, network="dense", likelihood=likelihood)
        vae.adapt(loaded.train)
        rate = keras.optimizers.schedules.CosineDecay(3e-3, epochs * len(loaded.train))
        vae.compile(optimizer=keras.optimizers.Adam(rate))
        vae.fit(loaded.train, epochs=epochs, verbose=0)
        elbo = vae.evaluate(loaded.test, return_dict=True, verbose=0)["elbo"]

        p = vae.observation(vae.encode(x).mean)
        mean, draw, spread = p.mean().numpy(), p.sample(seed=0).numpy(), p.stddev().numpy()
        bound = "no log-likelihood" if likelihood == "bernoulli" else f"ELBO {elbo:.1f} nats"
        print(f"{likelihood}: {bound}, standard deviation {spread.mean():.3f}")
        title = f"{likelihood}: {bound}; means above, draws below"
        kv.plots.image_grid(np.concatenate([mean, draw]), COLUMNS, title, axes=panel)

    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / f"{data}.png")
    print(output / f"{data}.png")


if __name__ == "__main__":
    typer.run(main)
