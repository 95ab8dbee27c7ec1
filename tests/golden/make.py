"""Makes golden files of the present format, with what they answer: python tests/golden/make.py.

They go into a folder named after the format, and stay for good: `tests/test_golden.py` opens those
of every format there was. Run it once when `keras_vae._version.FORMAT` is raised.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

import keras_vae as kv
from keras_vae._version import FORMAT

SEED = (3, 9)
MODELS = {
    "plain": {"network": "dense:widths=[6]"},
    "rich": {
        "network": "dense:widths=[6]",
        "posterior": "autoregressive_flow:steps=2,widths=[4],context=3",
        "prior": "vamp:components=3",
        "condition": 3,
        "missing": True,
    },
    "autoencoder": {
        "network": "dense:widths=[6]",
        "likelihood": "normal",
        "posterior": "point",
        "objective": "reconstruction",
    },
    "image": {"network": "resnet:filters=[4],width=6"},
}
#: Shapes of events, where they are not those of six numbers.
EVENTS = {"image": (5, 4, 1)}
#: Those whose SavedModel is kept, too, zipped.
EXPORTED = ("plain",)


def examples(name):
    """Returns x (8, E) and the classes (8,), or None."""
    rng = np.random.default_rng(0)
    x = (rng.random((8, *EVENTS.get(name, (6,)))) < 0.5).astype(np.float32)
    if name != "rich":
        return x, None
    x[::2, 1] = np.nan
    return x, np.arange(8) % 3


def answers(vae, x, condition):
    """Returns what a model says of examples, by name."""
    sides = {} if condition is None else {"condition": condition}
    code = vae.encode(x, **sides)
    out = {"mean": code.mean, "reconstructed": vae.reconstruct(x, **sides)}
    out["decoded"] = vae.decode(code.mean, **sides)
    drawn = vae.sample(8, seed=SEED, **sides)
    out |= {f"sample_{name}": value for name, value in drawn._asdict().items()}
    if "density" in vae.latent.offers:
        out["stddev"] = code.stddev
        out["elbo"] = vae.elbo(x, seed=SEED, **sides)
        out["log_likelihood"] = vae.log_likelihood(x, 20, seed=SEED, **sides)
    return {name: np.asarray(value) for name, value in out.items()}


def make(folder):
    """Writes every model and its answers into a new folder."""
    folder.mkdir(parents=True)
    for name, parts in MODELS.items():
        keras.utils.set_random_seed(1)
        vae = kv.VAE(EVENTS.get(name, (6,)), 2, **parts)
        vae.compile(keras.optimizers.Adam(0.01))
        x, condition = examples(name)
        vae.fit(x, condition, epochs=3, verbose=0, shuffle=False)
        vae.save(folder / f"{name}.keras")
        if name in EXPORTED:
            with tempfile.TemporaryDirectory() as exported:
                kv.export.saved_model(vae, Path(exported) / name)
                shutil.make_archive(str(folder / name), "zip", exported)
        found = answers(vae, x, condition)
        found["next_loss"] = vae.fit(x, condition, verbose=0, shuffle=False).history["loss"][0]
        np.savez_compressed(folder / f"{name}.npz", **found)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / str(FORMAT))
