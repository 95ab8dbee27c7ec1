"""The cloud of codes over a training: pulled together by the KL term, held apart by the images.

    python examples/cloud.py                  # handwritten digits, 8 x 8; three minutes on 2 cores
    python examples/cloud.py --data mnist     # from TensorFlow Datasets
    python examples/cloud.py --quick          # seconds, to see it run

Trains a VAE with two latents and writes the animation OUTPUT/DATA.gif: the codes of fixed test
images by label and a few q(z|x) as ellipses of two standard deviations. At the start all codes lie
at the middle with wide ellipses. The reconstruction pushes images apart that must not be confused,
which makes the ellipses small; the KL term keeps the whole within p(z), the grey circles.
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import PIL.Image
import typer

import keras_vae as kv

FRAMES = 60


class Camera(keras.callbacks.Callback):
    """Keeps q(z|x) of some images as training goes on, more often at the start."""

    def __init__(self, x: np.ndarray, steps: int, frames: int) -> None:
        super().__init__()
        self.x, self.frames = x, []
        self.moments = set(np.unique(np.round(np.geomspace(1, steps, frames))).astype(int))
        self.step = 0

    def on_train_begin(self, logs: Any = None) -> None:
        self.frames.append((0, self.model.encode(self.x)))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.step += 1
        if self.step in self.moments:
            self.frames.append((self.step, self.model.encode(self.x)))


def picture(step: int, encoding: Any, labels: np.ndarray) -> PIL.Image.Image:
    figure = kv.plots.latent_scatter(encoding.mean, labels, encoding.stddev, title=f"step {step}")
    figure.axes[0].set(xlim=(-4, 4), ylim=(-4, 4))
    figure.set_dpi(85)
    return PIL.Image.fromarray(np.uint8(255 * kv.plots.pixels(figure)))


def main(data: str = "digits", output: Path = Path("runs/cloud"), quick: bool = False) -> None:
    keras.utils.set_random_seed(0)
    loaded = kv.data.load(data, batch_size=128, labels=True)
    x, labels = next(loaded.test.unbatch().batch(250).as_numpy_iterator())
    epochs = 2 if quick else {"digits": 150, "mnist": 10}.get(data, 20)

    vae = kv.VAE(loaded.event_shape, latent_dim=2, network="dense")
    vae.compile(optimizer=keras.optimizers.Adam(1e-3))
    camera = Camera(x, epochs * len(loaded.train), 4 if quick else FRAMES)
    vae.fit(loaded.train, epochs=epochs, callbacks=[camera], verbose=0)
    elbo = vae.evaluate(loaded.test, return_dict=True, verbose=0)["elbo"]
    print(f"ELBO of the test images {elbo:.1f} nats, {len(camera.frames)} frames")

    output.mkdir(parents=True, exist_ok=True)
    pictures = [picture(step, encoding, labels) for step, encoding in camera.frames]
    palette = pictures[-1].quantize(128, PIL.Image.Quantize.MAXCOVERAGE)
    first, *others = [each.quantize(palette=palette, dither=0) for each in pictures]
    durations = [150] * len(others) + [2000]
    file = output / f"{data}.gif"
    first.save(file, save_all=True, append_images=others, duration=durations, loop=0)
    print(file)


if __name__ == "__main__":
    typer.run(main)
