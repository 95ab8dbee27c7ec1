"""Generating what was not in the training set: circles of middle size, which it holds none of.

    python examples/held_out.py                   # a minute on 2 cores
    python examples/held_out.py --shape square    # hold out squares, or triangles
    python examples/held_out.py --quick           # seconds, to see it run

Trains on circles, squares and triangles of all sizes but for circles of middle size, and looks for
these among 4,000 samples: those of which at least 0.95 is in common with a render of the held-out
kind and size and less with every other. It prints the count, and draws OUTPUT/SHAPE.png: some of
them, the training image most like each, and how often each size came.

Compare the counts with care. The training images themselves are counted, to see that the matching
makes none up. An autoencoder reaches the held-out circles too: they lie between others, and here,
about one centre, whatever lies between two shapes is another. What it has not got is a distribution
to draw from: at N(0, I) it makes what happens to lie at 0, at a normal distribution fitted to its
codes whatever that covers. The VAE has a distribution, and also says how probable the unseen are.
"""

from collections.abc import Callable
from pathlib import Path

import keras
import matplotlib.figure
import numpy as np
import typer

import keras_vae as kv
from keras_vae import evaluation
from keras_vae.data import shapes
from keras_vae.evaluation.validity import iou

FACTORS = ("shape", "size")
LOW, HIGH = 0.36, 0.445  # held out; sizes go from 0.25 to 0.60
MARGIN = 0.01  # by which the size of a match may be off
ALIKE = 0.95  # share in common with a render; a square and a circle have at most 0.94
SHOWN = 10


def middling(values: np.ndarray, kind: int, margin: float = 0.0) -> np.ndarray:
    """Returns which rows of factors are of that kind and of middle size, (n,)."""
    shape, size = values.T
    return (shape == kind) & (size > LOW + margin) & (size < HIGH - margin)


def draw_set(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns renders between 0 and 1, and their factors."""
    values = shapes.draw_factors(FACTORS, count, np.random.default_rng(seed))
    return shapes.render(values, FACTORS) / np.float32(255.0), values


def train(make: Callable[..., kv.VAE], x: np.ndarray, epochs: int) -> kv.VAE:
    keras.utils.set_random_seed(0)
    data = kv.data.load(x, batch_size=128, binarize="dynamic")
    model = make(data.event_shape, 2, network="dense:widths=[256, 256]")
    model.adapt(data.train)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, epochs * len(data.train))
    model.compile(keras.optimizers.Adam(rate))
    model.fit(data.train, epochs=epochs, verbose=0)
    return model


def find(name: str, images: np.ndarray, kind: int) -> np.ndarray:
    """Returns the factors of the render most like each image, NaN where it is no shape."""
    match = evaluation.match_renders(images, FACTORS)
    alike = match.iou >= ALIKE
    found = np.where(alike[:, None], match.values, np.nan)
    count = middling(found, kind, MARGIN).sum()
    print(f"{name}: {alike.sum()} of {len(images)} are shapes, {count} of the unseen")
    return found


def draw(
    samples: np.ndarray, found: np.ndarray, x: np.ndarray, values: np.ndarray, kind: int
) -> matplotlib.figure.Figure:
    """Draws the unseen among the samples, what is most like them, and how often sizes come."""
    figure = matplotlib.figure.Figure(figsize=(11, 3.1), layout="constrained", dpi=110)
    images, axes = figure.subplots(1, 2, width_ratios=[7, 4])
    shown = np.flatnonzero(middling(found, kind, MARGIN))[:SHOWN]
    if len(shown):
        renders = shapes.render(found[shown], FACTORS) / np.float32(255.0)
        nearest = np.stack([x[np.argmax(iou(sample, x))] for sample in samples[shown]])
        title = "samples; the render most like each; the training image most like each"
        rows = np.concatenate([samples[shown], renders, nearest])
        kv.plots.image_grid(rows, len(shown), title, axes=images)

    axes.axvspan(LOW, HIGH, color="#E5E5E5", label="held out")
    for name, rows, colour in (
        (f"{shapes.KINDS[kind]}s in the training set", values, kv.plots.ORANGE),
        (f"{shapes.KINDS[kind]}s among the samples", found, kv.plots.BLUE),
    ):
        sizes = rows[rows[:, 0] == kind, 1]
        counts, edges = np.histogram(sizes, np.linspace(0.25, 0.60, 15))
        style = {"color": colour, "linewidth": 2, "label": name}
        axes.stairs(counts / max(len(sizes), 1), edges, **style)
    axes.set(xlabel="size", ylabel="share")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def main(shape: str = "circle", output: Path = Path("runs/held_out"), quick: bool = False) -> None:
    kind = shapes.KINDS.index(shape)
    epochs, count = (2, 100) if quick else (40, 4000)
    (x, values), (new, new_values) = draw_set(6000, seed=0), draw_set(3000, seed=1)
    seen, new_unseen = ~middling(values, kind), middling(new_values, kind)
    x, values = x[seen], values[seen]
    vae = train(kv.VAE, x, epochs)
    for name, part in {"unseen": new_unseen, "other new": ~new_unseen}.items():
        print(f"{name} images: ELBO {vae.elbo(np.round(new[part])).mean():.1f} nats")
    samples = vae.sample(count, seed=0).mean
    found = find("samples of the VAE", samples, kind)

    plain = train(kv.recipes.autoencoder, x, epochs)
    find("autoencoder, z from N(0, I)", plain.sample(count, seed=0).mean, kind)
    codes = plain.encode(x).mean
    z = np.random.default_rng(0).multivariate_normal(codes.mean(0), np.cov(codes.T), count)
    find("autoencoder, z from a Gaussian fitted to its codes", plain.decode(z), kind)
    find("training images", x[:count], kind)
    nearest = [iou(each, x).max() for each in samples[middling(found, kind, MARGIN)]]
    if nearest:
        print(f"in common with the nearest training image: {np.mean(nearest):.2f} on average")

    figure = draw(samples, found, x, values, kind)
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / f"{shape}.png")
    print(output / f"{shape}.png")


if __name__ == "__main__":
    typer.run(main)
