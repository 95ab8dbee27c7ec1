"""Does a condition do what it is asked? Digits by class on dynamically binarised MNIST.

    python benchmarks/conditioning.py [--epochs 10] [--images 2000] [--network dense]

Trains three models for equal epochs (Adam at 1e-3, batch 100, 16 latents): without condition, with
the class, and with the class and a prior that depends on it. Prints log p(x) or log p(x|y) of test
images by 500 importance samples, and how often a classifier (scikit-learn's MLPClassifier of 256
units, on grey training images) finds the class that was asked for among 1,000 samples. Needs MNIST
in TFDS_DATA_DIR.
"""

import os
import time

import keras
import numpy as np
import typer
from sklearn.neural_network import MLPClassifier

import keras_vae as kv

MODELS = {
    "no condition": {},
    "class": {"condition": 10},
    "class, conditional prior": {"condition": 10, "prior": "conditional_normal"},
}
NUM_SAMPLES, SAMPLES = 500, 1000


def first(split, count):
    """Returns the first examples of a split and their labels."""
    return next(split.unbatch().batch(count).as_numpy_iterator())


def main(epochs: int = 10, images: int = 2000, network: str = "dense", seed: int = 0) -> None:
    print(f"{os.cpu_count()} cores, {epochs} epochs, {network}, {images} test images, seed {seed}")
    grey = kv.data.load("mnist", 100, labels=True, binarize=None)
    x, y = first(grey.train, 60000)
    classifier = MLPClassifier((256,), early_stopping=True, max_iter=20, random_state=seed)
    classifier.fit(x.reshape(len(x), -1), y)
    x, y = first(grey.test, images)
    print(f"the classifier finds {classifier.score(x.reshape(len(x), -1), y):.1%} of test images")
    asked = np.repeat(np.arange(10), SAMPLES // 10)
    for name, options in MODELS.items():
        keras.utils.set_random_seed(seed)
        data = kv.data.load("mnist", 100, labels=True, seed=seed)
        vae = kv.VAE(data.event_shape, 16, network=network, seed=seed, **options)
        vae.adapt(data.train)
        vae.compile(keras.optimizers.Adam(1e-3))
        started = time.perf_counter()
        vae.fit(data.train, epochs=epochs, verbose=0)
        seconds = time.perf_counter() - started
        x, y = first(data.test, images)
        condition = {} if vae.condition is None else {"condition": y}
        found = vae.log_likelihood(x, NUM_SAMPLES, **condition)
        error = found.std(ddof=1) / np.sqrt(len(found))
        print(f"{name}: {found.mean():.2f} +- {error:.2f} nats, trained in {seconds:.0f} s")
        if vae.condition is not None:
            drawn = vae.sample(SAMPLES, seed=seed, condition=asked)
            for kind in ("mean", "x"):
                told = classifier.predict(getattr(drawn, kind).reshape(SAMPLES, -1))
                print(
                    f"  {np.mean(told == asked):.1%} of samples ({kind}) have the class asked for"
                )


if __name__ == "__main__":
    typer.run(main)
