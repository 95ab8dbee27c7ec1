"""Why a VAE and not an autoencoder: its codes leave few gaps for a random z to fall into.

    python examples/autoencoder_against_vae.py                  # shapes; four minutes on 2 cores
    python examples/autoencoder_against_vae.py --data mnist     # from TensorFlow Datasets
    python examples/autoencoder_against_vae.py --quick          # seconds, to see it run

Trains both with two latents and draws them, one above the other, into OUTPUT/DATA.png: where the
codes of test images lie, what lies between two clusters, what random z decode to, and the plane.
The autoencoder's codes fill a shape of their own, and what lies outside it or between its clusters
was never trained on. The VAE's KL term presses every q(z|x), drawn as an ellipse of two standard
deviations for a few images, towards p(z) = N(0, I), so that together they cover it.
"""

from pathlib import Path

import keras
import matplotlib.figure
import numpy as np
import typer

import keras_vae as kv

EPOCHS = {"shapes": 60, "mnist": 20, "digits": 60}
TITLES = {
    "autoencoder": "Autoencoder: the codes lie where they like, and z from N(0, I) beside them",
    "VAE": "VAE: the codes fill N(0, I), and what lies between them decodes as well",
}


def train(model: kv.VAE, data: kv.data.Data, epochs: int) -> kv.VAE:
    steps = epochs * len(data.train)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    model.compile(optimizer=keras.optimizers.Adam(rate))
    model.fit(data.train, epochs=epochs, verbose=0)
    return model


def draw(figure: matplotlib.figure.SubFigure, name: str, model: kv.VAE, x, labels, names) -> None:
    """Draws the codes, the ways between them, samples and the plane of one model in a row."""
    figure.suptitle(f"{TITLES[name]}\n", fontsize=13, fontweight="bold")
    codes, ways, samples, plane = figure.subplots(1, 4, width_ratios=[4, 4, 4, 4])
    encoding = model.encode(x)
    stddev = None if name == "autoencoder" else encoding.stddev
    title = "codes of test images"
    kv.plots.latent_scatter(encoding.mean, labels, stddev, names, title, axes=codes)
    texts = [text.get_text().replace("\n", " ") for text in codes.get_legend().get_texts()]
    handles, place = codes.get_legend().legend_handles, {"bbox_to_anchor": (0.5, -0.15)}
    style = {"ncols": 2 if len(texts) < 7 else 4, "columnspacing": 1.0, "frameon": False}
    codes.legend(handles, texts, loc="upper center", fontsize=8, **style, **place)

    members = [np.flatnonzero(labels == label)[:2] for label in np.unique(labels)]
    firsts, seconds = np.array(members).T
    starts = np.concatenate([firsts, seconds])[:6]
    ends = np.concatenate([np.roll(firsts, 1), np.roll(seconds, 1)])[:6]
    between = model.interpolate(x[starts], x[ends], steps=7)
    kv.plots.interpolations(between, "straight ways between two codes", axes=ways)

    z = np.random.default_rng(0).standard_normal((49, 2)).astype("float32")
    kv.plots.image_grid(model.decode(z), 7, "z drawn from N(0, I)", axes=samples)
    kv.plots.latent_plane(
        model.decode(kv.plots.plane_codes(13)), title="the plane of latents, decoded", axes=plane
    )


def main(
    data: str = "shapes", output: Path = Path("runs/autoencoder_against_vae"), quick: bool = False
) -> None:
    keras.utils.set_random_seed(0)
    loaded = kv.data.load(data, batch_size=128, labels=True)
    epochs = 2 if quick else EPOCHS[data]
    x, labels = next(loaded.test.unbatch().batch(1000).as_numpy_iterator())
    labels = labels[:, 0] if labels.ndim > 1 else labels  # of the shapes, which shape it is
    names = kv.data.shapes.KINDS if data == "shapes" else loaded.label_names

    figure = matplotlib.figure.Figure(figsize=(15, 8.8), layout="constrained", dpi=110)
    halves = figure.subfigures(2, 1, hspace=0.04)
    for half, name in zip(halves, ("autoencoder", "VAE")):
        make = kv.recipes.autoencoder if name == "autoencoder" else kv.VAE
        model = train(make(loaded.event_shape, 2, network="dense"), loaded, epochs)
        draw(half, name, model, x, labels, names)
        loss = -model.evaluate(loaded.test, return_dict=True, verbose=0)["reconstruction_loss"]
        print(f"{name}: log p(x|z) at the codes of test images {loss:.1f} nats")

    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / f"{data}.png")
    print(output / f"{data}.png")


if __name__ == "__main__":
    typer.run(main)
