"""What a density for grey levels is worth: the continuous Bernoulli against the Bernoulli.

    python benchmarks/continuous_bernoulli.py [--epochs 100] [--seed 0] [--least 1e-4]

Trains both on MNIST's grey levels, dequantised, 784-500-500 with 20 latents, and scores the test
set by one density, the continuous Bernoulli's, in nats: the model trained by it, the one trained by
the Bernoulli's cross-entropy with its logits taken as they are, and the same with the logits whose
continuous Bernoulli has the mean that the Bernoulli had.

Published, of 100 epochs: 1470, 1139 and 1416 (Loaiza-Ganem and Cunningham, The Continuous
Bernoulli, 2019, table 1). The authors' code keeps every sigmoid of a logit from 1e-4 to 1 - 1e-4,
and so does this script (--least). The figures hang on that bound: four pixels of five are black,
spread over 1/256 by the dequantisation, and the logit that suits them is -512. Without the bound
(--least 0) the same model scores more than twice as much. MNIST must be prepared in TFDS_DATA_DIR.
"""

import math
import time
import warnings

import keras
import tensorflow as tf
import typer

import keras_vae as kv
from keras_vae.likelihoods.interval import logits_of_mean

EVENT_SHAPE, LATENT_DIM, BATCH = (28, 28, 1), 20, 100


class MatchMean(keras.layers.Layer):
    """Turns logits of Bernoullis into those of continuous Bernoullis with the same means."""

    def call(self, logits: tf.Tensor) -> tf.Tensor:
        """Returns the continuous Bernoullis' logits, of the shape of `logits`."""
        return logits_of_mean(tf.sigmoid(logits))


def followed(decoder: keras.Model, least: float, match: bool = False) -> keras.Model:
    """Returns a decoder whose logits are matched, if asked for, and then kept within the bound."""
    logits = decoder.outputs[0]
    if match:
        logits = MatchMean(dtype="float32")(logits)
    if least > 0.0:
        bound = math.log1p(-least) - math.log(least)
        logits = keras.ops.clip(logits, -bound, bound)
    return keras.Model(decoder.inputs, logits)


def trained(likelihood: str, data: kv.data.Data, epochs: int, seed: int, least: float) -> kv.VAE:
    keras.utils.set_random_seed(seed)
    body = kv.networks.Dense((500, 500), "relu")
    decoder = followed(body.decoder(LATENT_DIM, EVENT_SHAPE), least)
    parts = {"encoder": body.encoder(EVENT_SHAPE), "decoder": decoder, "likelihood": likelihood}
    vae = kv.VAE(EVENT_SHAPE, LATENT_DIM, seed=seed, **parts)
    rate = keras.optimizers.schedules.CosineDecay(1e-3, epochs * len(data.train))
    vae.compile(keras.optimizers.Adam(rate))
    start = time.monotonic()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "x holds grey values")
        vae.fit(data.train, epochs=epochs, verbose=2)
    print(f"{likelihood}: trained in {time.monotonic() - start:.0f} s", flush=True)
    return vae


def scored(vae: kv.VAE, test: tf.data.Dataset, least: float, match: bool = False) -> float:
    """Returns the test ELBO of a model's parts under the continuous Bernoulli, in nats."""
    decoder = followed(vae.decoder, least, match)
    parts = {"encoder": vae.encoder, "latent": vae.latent, "decoder": decoder}
    model = kv.VAE(EVENT_SHAPE, likelihood="continuous_bernoulli", **parts)
    model.compile()
    return model.evaluate(test, return_dict=True, verbose=0)["elbo"]


def main(epochs: int = 100, seed: int = 0, least: float = 1e-4) -> None:
    data = kv.data.load("mnist", BATCH, dequantize=True)
    binary = trained("bernoulli", data, epochs, seed, least)
    plain, matched = (scored(binary, data.test, least, match) for match in (False, True))
    free = scored(binary, data.test, 0.0, match=True)
    print(f"trained as Bernoulli: {plain:.1f}, matched {matched:.1f}", flush=True)
    own = scored(trained("continuous_bernoulli", data, epochs, seed, least), data.test, least)
    print(f"{epochs} epochs, seed {seed}, sigmoids within {least:g} of 0 and 1")
    print("test ELBO under the continuous Bernoulli, nats")
    print(f"trained as continuous Bernoulli        {own:.1f}")
    print(f"trained as Bernoulli, means matched    {matched:.1f}  ({own - matched:.1f} less)")
    print(f"  the same without the bound           {free:.1f}")
    print(f"trained as Bernoulli, logits as such   {plain:.1f}  ({own - plain:.1f} less)")


if __name__ == "__main__":
    typer.run(main)
