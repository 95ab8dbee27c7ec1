"""What beta weighs: sharp reconstructions and bad samples, or blur that agrees with the data.

    python examples/beta.py                  # handwritten digits, 8 x 8; four minutes on 2 cores
    python examples/beta.py --data mnist     # from TensorFlow Datasets
    python examples/beta.py --quick          # seconds, to see it run

Trains one model for each beta and draws OUTPUT/DATA.png: the rate-distortion curve, each point a
model, and reconstructions and samples of three of them. The rate is the KL term, what an image's
code tells beyond p(z); the distortion is -log p(x|z), what the decoder still gets wrong. beta = 0
is an autoencoder with noise: nothing holds the codes near p(z), so samples from it fail. A large
beta lets codes tell nothing: every reconstruction and every sample is the mean image. At beta = 1
the sum of both is the bound on -log p(x), and the line of slope -1 touches the curve.

Reference: Alemi et al., Fixing a Broken ELBO, 2018.
"""

from pathlib import Path

import keras
import matplotlib.figure
import numpy as np
import typer

import keras_vae as kv

BETAS = (0.0, 0.1, 0.3, 1.0, 2.0, 4.0, 20.0)
SHOWN = (0.0, 1.0, 20.0)


def train(data: kv.data.Data, beta: float, epochs: int) -> kv.VAE:
    keras.utils.set_random_seed(0)
    vae = kv.recipes.beta_vae(data.event_shape, 8, beta=beta, network="dense")
    vae.adapt(data.train)
    vae.compile(optimizer=keras.optimizers.Adam(1e-3))
    vae.fit(data.train, epochs=epochs, verbose=0)
    return vae


def curve(axes, betas: tuple[float, ...], rates: list[float], distortions: list[float]) -> None:
    axes.plot(rates, distortions, color=kv.plots.BLUE, marker="o")
    reach = 1.25 * rates[1]  # beta = 0 lies far out, since nothing holds its codes
    named = set()
    for beta, rate, distortion in zip(betas, rates, distortions):
        place = round(rate), round(distortion)
        if rate < reach and place not in named:
            text = f"beta {beta:g}" + (" and above" if rate < 0.1 else "")
            axes.annotate(text, (rate, distortion), (6, 4), textcoords="offset points")
            named.add(place)
    grey = {"color": "#555555", "transform": axes.transAxes}
    axes.text(0.15, 0.88, "codes say nothing:\nall is the mean image", va="top", **grey)
    text = f"to beta 0, at rate {rates[0]:.0f}:\nautoencoding,\nsamples fail"
    axes.text(0.99, 0.04, text, ha="right", **grey)
    one = betas.index(1.0)
    total = rates[one] + distortions[one]
    ends = np.array([0.0, min(reach, total)])
    axes.plot(ends, total - ends, color=kv.plots.ORANGE, label="rate + distortion as at beta 1")
    axes.set(xlabel="rate: KL term (nats)", ylabel="distortion: -log p(x|z) (nats)")
    axes.set(xlim=(-0.03 * reach, reach), ylim=(0.8 * min(distortions), 1.05 * max(distortions)))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper right")


def main(data: str = "digits", output: Path = Path("runs/beta"), quick: bool = False) -> None:
    betas = SHOWN if quick else BETAS
    loaded = kv.data.load(data, batch_size=128)
    x = next(loaded.test.unbatch().batch(10).as_numpy_iterator())
    epochs = 2 if quick else {"digits": 100}.get(data, 10)

    figure = matplotlib.figure.Figure(figsize=(11, 7), layout="constrained", dpi=110)
    left, right = figure.subfigures(1, 2, width_ratios=[5, 6])
    panels = iter(right.subplots(len(SHOWN), 2, width_ratios=[3, 2]).flat)
    rates, distortions = [], []
    for beta in betas:
        vae = train(loaded, beta, epochs)
        scores = vae.evaluate(loaded.test, return_dict=True, verbose=0)
        rates.append(scores["kl_loss"])
        distortions.append(scores["reconstruction_loss"])
        print(f"beta {beta:g}: rate {rates[-1]:.1f}, distortion {distortions[-1]:.1f} nats")
        if beta in SHOWN:
            pairs = np.concatenate([x[:5], vae.reconstruct(x[:5]), x[5:], vae.reconstruct(x[5:])])
            kv.plots.image_grid(
                pairs, 5, f"beta {beta:g}: images, reconstructions", axes=next(panels)
            )
            kv.plots.image_grid(vae.sample(16, seed=0).mean, 4, "samples", axes=next(panels))
    curve(left.subplots(), betas, rates, distortions)

    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / f"{data}.png")
    print(output / f"{data}.png")


if __name__ == "__main__":
    typer.run(main)
