"""One contender of `throughput.py` in a process of its own: one model in each library.

    python benchmarks/contenders.py CONTENDER WORKLOAD BATCH

Trains epochs on command: a line on the standard input begins one; its seconds, those since the
start and the peak of memory come back as JSON. So several can take turns on one machine.
"""

import functools
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

Epochs = Iterator[None]


class Workload(NamedTuple):
    """A model and its data.

    Attributes:
        network: The bodies, as `keras_vae.VAE` takes them.
        latent_dim: D.
        examples: How many images of 28 x 28 are in an epoch.
    """

    network: str
    latent_dim: int
    examples: int


WORKLOADS = {
    "dense": Workload("dense:widths=[200,200],activation=relu", 50, 20000),
    "conv": Workload("conv:filters=[32,64],width=16,activation=relu", 2, 4000),
    "residual": Workload("resnet:filters=[32,64],width=128,activation=relu", 16, 2000),
}


def images(workload: str) -> np.ndarray:
    """Returns binary images (n, 28, 28, 1), float32."""
    shape = (WORKLOADS[workload].examples, 28, 28, 1)
    return (np.random.default_rng(0).random(shape) < 0.2).astype("float32")


# keras_vae, and Keras without it


def _keras_epochs(model: Any, x: np.ndarray, batch: int, **options: Any) -> Epochs:
    """Yields after each epoch of one `fit`; the next begins when asked for."""
    import keras

    class Turns(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            answer(self.done) if epoch else None
            question()
            self.begun = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.done = time.perf_counter() - self.begun

    model.fit(x, batch_size=batch, epochs=10**6, verbose=0, callbacks=[Turns()], **options)
    yield


def keras_vae(workload: str, batch: int, threads: int = 0, **compiled: Any) -> Epochs:
    """The package as it is used: `compile`, `fit`; threads within an operation, 0 for all."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    return _keras_epochs(vae_model(workload, **compiled), images(workload), batch)


def vae_model(workload: str, **compiled: Any) -> Any:
    """Returns a compiled `keras_vae.VAE`."""
    import keras_vae as kv

    chosen = WORKLOADS[workload]
    vae = kv.VAE((28, 28, 1), chosen.latent_dim, network=chosen.network)
    vae.compile("adam", **compiled)
    return vae


def plain_keras(workload: str, batch: int, **compiled: Any) -> Epochs:
    """The least that Keras's documentation shows: a `train_step` of a subclass, no guards."""
    return _keras_epochs(plain_model(workload, **compiled), images(workload), batch)


def plain_model(workload: str, **compiled: Any) -> Any:
    """Returns a compiled model of the same networks, without `keras_vae.VAE`."""
    import keras
    import tensorflow as tf

    from keras_vae import networks

    chosen = WORKLOADS[workload]
    maker = networks.get(chosen.network, (28, 28, 1))
    body = of_keras(maker.encoder((28, 28, 1)))
    mean = keras.layers.Dense(chosen.latent_dim)(body.output)
    log_variance = keras.layers.Dense(chosen.latent_dim)(body.output)

    class Plain(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = keras.Model(body.inputs, [mean, log_variance])
            self.decoder = of_keras(maker.decoder(chosen.latent_dim, (28, 28, 1)))
            names = ("loss", "reconstruction_loss", "kl_loss")
            self.trackers = [keras.metrics.Mean(name=name) for name in names]

        @property
        def metrics(self) -> list[Any]:
            return self.trackers

        def train_step(self, x: Any) -> Any:
            x = x[0] if isinstance(x, tuple) else x
            with tf.GradientTape() as tape:
                center, spread = self.encoder(x, training=True)
                noise = tf.random.normal(tf.shape(center))
                logits = self.decoder(center + tf.exp(0.5 * spread) * noise, training=True)
                cross = tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=logits)
                reconstruction = tf.reduce_mean(tf.reduce_sum(cross, axis=[1, 2, 3]))
                each = -0.5 * (1.0 + spread - tf.square(center) - tf.exp(spread))
                kl = tf.reduce_mean(tf.reduce_sum(each, axis=1))
                loss = reconstruction + kl
            weights = self.trainable_weights
            self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
            for tracker, value in zip(self.trackers, (loss, reconstruction, kl)):
                tracker.update_state(value)
            return {tracker.name: tracker.result() for tracker in self.trackers}

    model = Plain()
    model.compile("adam", **compiled)
    return model


def of_keras(body: Any) -> Any:
    """Returns the same model with Keras's own layers for those of `keras_vae.layers`."""
    import keras

    def peer(layer: Any) -> Any:
        kind = next(k for k in type(layer).__mro__ if not k.__module__.startswith("keras_vae"))
        return kind.from_config(layer.get_config())

    return keras.models.clone_model(body, clone_function=peer)


# PyTorch


def torch_networks(workload: str) -> tuple[Any, int, Any]:
    """Returns encoder, the number of its outputs and decoder, from and to (B, 1, 28, 28)."""
    from torch import nn

    latent = WORKLOADS[workload].latent_dim

    class Same(nn.Module):
        """Crops or pads a transposed convolution as Keras's "same" does."""

        def forward(self, x: Any) -> Any:
            return x[:, :, :-1, :-1]

    class Block(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.inner = nn.Sequential(
                nn.GroupNorm(8, channels, eps=1e-3),
                nn.ReLU(),
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.GroupNorm(8, channels, eps=1e-3),
                nn.ReLU(),
                nn.Conv2d(channels, channels, 3, padding=1),
            )

        def forward(self, x: Any) -> Any:
            return x + self.inner(x)

    def down(received: int, channels: int) -> Any:
        return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(received, channels, 3, 2))

    def up(received: int, channels: int) -> Any:
        return nn.Sequential(nn.ConvTranspose2d(received, channels, 3, 2), Same())

    def norm(channels: int) -> list[Any]:
        return [nn.GroupNorm(8, channels, eps=1e-3), nn.ReLU()]

    if workload == "dense":
        encoder = [nn.Flatten(), nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU()]
        hidden = 200
        decoder = [nn.Linear(latent, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU()]
        decoder += [nn.Linear(200, 784), nn.Unflatten(1, (1, 28, 28))]
    elif workload == "conv":
        encoder = [down(1, 32), nn.ReLU(), down(32, 64), nn.ReLU(), nn.Flatten()]
        encoder += [nn.Linear(7 * 7 * 64, 16), nn.ReLU()]
        hidden = 16
        decoder = [nn.Linear(latent, 16), nn.ReLU(), nn.Linear(16, 7 * 7 * 64), nn.ReLU()]
        decoder += [nn.Unflatten(1, (64, 7, 7)), up(64, 32), nn.ReLU(), up(32, 32), nn.ReLU()]
        decoder += [nn.Conv2d(32, 1, 3, padding=1)]
    else:
        encoder = [down(1, 32), Block(32), *norm(32), down(32, 64), Block(64), *norm(64)]
        encoder += [nn.Flatten(), nn.Linear(7 * 7 * 64, 128), nn.GroupNorm(8, 128, eps=1e-3)]
        encoder += [nn.ReLU()]
        hidden = 128
        decoder = [nn.Linear(latent, 128), nn.ReLU(), nn.Linear(128, 7 * 7 * 64)]
        decoder += [nn.Unflatten(1, (64, 7, 7)), Block(64), *norm(64), up(64, 32), Block(32)]
        decoder += [*norm(32), up(32, 32), *norm(32), nn.Conv2d(32, 1, 3, padding=1)]

    return nn.Sequential(*encoder), hidden, nn.Sequential(*decoder)


def torch(workload: str, batch: int, compiled: bool = False) -> Epochs:
    """A loop over shuffled indices, as PyTorch's documentation has it for data in memory."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(os.cpu_count() or 1)
    latent = WORKLOADS[workload].latent_dim
    encoder, hidden, decoder = torch_networks(workload)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder
            self.mean, self.log_variance = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
            self.decoder = decoder

        def forward(self, x: Any) -> Any:
            features = self.encoder(x)
            center, spread = self.mean(features), self.log_variance(features)
            logits = self.decoder(center + torch.exp(0.5 * spread) * torch.randn_like(center))
            cross = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
            kl = -0.5 * torch.sum(1.0 + spread - center.square() - spread.exp())
            return (cross + kl) / len(x)

    torch.manual_seed(0)
    model = Model()
    optimizer = torch.optim.Adam(model.parameters())
    loss_of = torch.compile(model, dynamic=False) if compiled else model
    x = torch.from_numpy(images(workload).transpose(0, 3, 1, 2).copy())

    def epoch() -> None:
        order, total = torch.randperm(len(x)), 0.0
        for first in range(0, len(x), batch):
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(x[order[first : first + batch]])
            loss.backward()
            optimizer.step()
            total += loss.detach()
        float(total)

    return in_turns(epoch)


def pythae(workload: str, batch: int) -> Epochs:
    """Its own trainer, with its model around the same networks."""
    import torch
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback
    from torch import nn

    torch.set_num_threads(os.cpu_count() or 1)
    latent = WORKLOADS[workload].latent_dim
    body, hidden, logits = torch_networks(workload)

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.body = body
            self.mean, self.log_variance = nn.Linear(hidden, latent), nn.Linear(hidden, latent)

        def forward(self, x: Any) -> Any:
            found = self.body(x)
            return ModelOutput(embedding=self.mean(found), log_covariance=self.log_variance(found))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.logits = logits

        def forward(self, z: Any) -> Any:
            return ModelOutput(reconstruction=torch.sigmoid(self.logits(z)))

    class Turns(TrainingCallback):
        def on_epoch_begin(self, *given: Any, **more: Any) -> None:
            question()
            self.begun = time.perf_counter()

        def on_epoch_end(self, *given: Any, **more: Any) -> None:
            answer(time.perf_counter() - self.begun)

    config = VAEConfig((1, 28, 28), latent, reconstruction_loss="bce")
    options = BaseTrainerConfig(
        output_dir=tempfile.mkdtemp(),
        num_epochs=10**6,
        per_device_train_batch_size=batch,
        learning_rate=1e-3,
        no_cuda=True,
    )
    x = torch.from_numpy(images(workload).transpose(0, 3, 1, 2).copy())
    model = VAE(config, encoder=Encoder(), decoder=Decoder())
    data = BaseDataset(x, torch.ones(len(x)))
    BaseTrainer(model, data, training_config=options, callbacks=[Turns()]).train()
    yield


# JAX


def jax(workload: str, batch: int) -> Epochs:
    """A whole epoch as one compiled scan."""
    import jax
    import jax.numpy as jnp
    import optax
    from jax import lax

    latent = WORKLOADS[workload].latent_dim
    keys = iter(jax.random.split(jax.random.key(0), 64))
    glorot = jax.nn.initializers.glorot_uniform()
    layout = ("NHWC", "HWIO", "NHWC")

    def linear(received: int, units: int) -> Any:
        return {"w": glorot(next(keys), (received, units)), "b": jnp.zeros(units)}

    def kernel(received: int, channels: int) -> Any:
        return {"w": glorot(next(keys), (3, 3, received, channels)), "b": jnp.zeros(channels)}

    def scale(channels: int) -> Any:
        return {"w": jnp.ones(channels), "b": jnp.zeros(channels)}

    def dense(p: Any, x: Any) -> Any:
        return x @ p["w"] + p["b"]

    def conv(p: Any, x: Any, stride: int = 1) -> Any:
        strides = (stride, stride)
        return lax.conv_general_dilated(x, p["w"], strides, "SAME", None, None, layout) + p["b"]

    def up(p: Any, x: Any) -> Any:
        return lax.conv_transpose(x, p["w"], (2, 2), "SAME", dimension_numbers=layout) + p["b"]

    def norm(p: Any, x: Any) -> Any:
        grouped = x.reshape(len(x), -1, 8, x.shape[-1] // 8)
        center = grouped.mean((1, 3), keepdims=True)
        spread = grouped.var((1, 3), keepdims=True)
        grouped = (grouped - center) * lax.rsqrt(spread + 1e-3)
        return jax.nn.relu(grouped.reshape(x.shape) * p["w"] + p["b"])

    def block(channels: int) -> Any:
        made = {"first": kernel(channels, channels), "last": kernel(channels, channels)}
        return {**made, "n0": scale(channels), "n1": scale(channels)}

    def blocked(p: Any, x: Any) -> Any:
        return x + conv(p["last"], norm(p["n1"], conv(p["first"], norm(p["n0"], x))))

    relu = jax.nn.relu
    if workload == "dense":
        sizes = [784, 200, 200, 2 * latent, latent, 200, 200, 784]
        places = (0, 1, 2, 4, 5, 6)
        params: Any = [linear(sizes[place], sizes[place + 1]) for place in places]

        def encode(p: Any, x: Any) -> Any:
            hidden = relu(dense(p[1], relu(dense(p[0], x.reshape(len(x), -1)))))
            return dense(p[2], hidden)

        def decode(p: Any, z: Any) -> Any:
            hidden = relu(dense(p[4], relu(dense(p[3], z))))
            return dense(p[5], hidden).reshape(len(z), 28, 28, 1)

    elif workload == "conv":
        params = [kernel(1, 32), kernel(32, 64), linear(3136, 16), linear(16, 2 * latent)]
        params += [linear(latent, 16), linear(16, 3136), kernel(64, 32), kernel(32, 32)]
        params += [kernel(32, 1)]

        def encode(p: Any, x: Any) -> Any:
            hidden = relu(conv(p[1], relu(conv(p[0], x, 2)), 2)).reshape(len(x), -1)
            return dense(p[3], relu(dense(p[2], hidden)))

        def decode(p: Any, z: Any) -> Any:
            hidden = relu(dense(p[5], relu(dense(p[4], z)))).reshape(len(z), 7, 7, 64)
            return conv(p[8], relu(up(p[7], relu(up(p[6], hidden)))))

    else:
        params = [kernel(1, 32), block(32), scale(32), kernel(32, 64), block(64), scale(64)]
        params += [linear(3136, 128), scale(128), linear(128, 2 * latent)]
        params += [linear(latent, 128), linear(128, 3136), block(64), scale(64), kernel(64, 32)]
        params += [block(32), scale(32), kernel(32, 32), scale(32), kernel(32, 1)]

        def encode(p: Any, x: Any) -> Any:
            hidden = norm(p[2], blocked(p[1], conv(p[0], x, 2)))
            hidden = norm(p[5], blocked(p[4], conv(p[3], hidden, 2)))
            return dense(p[8], norm(p[7], dense(p[6], hidden.reshape(len(x), -1))))

        def decode(p: Any, z: Any) -> Any:
            hidden = dense(p[10], relu(dense(p[9], z))).reshape(len(z), 7, 7, 64)
            hidden = up(p[13], norm(p[12], blocked(p[11], hidden)))
            hidden = up(p[16], norm(p[15], blocked(p[14], hidden)))
            return conv(p[18], norm(p[17], hidden))

    def loss_of(p: Any, x: Any, key: Any) -> Any:
        center, spread = jnp.split(encode(p, x), 2, axis=-1)
        z = center + jnp.exp(0.5 * spread) * jax.random.normal(key, center.shape)
        cross = optax.sigmoid_binary_cross_entropy(decode(p, z), x)
        return (cross.sum() - 0.5 * (1 + spread - center**2 - jnp.exp(spread)).sum()) / len(x)

    optimizer = optax.adam(1e-3)
    x = jnp.asarray(images(workload))
    steps = len(x) // batch

    @functools.partial(jax.jit, donate_argnums=0)
    def train(state: Any, key: Any) -> Any:
        key, other = jax.random.split(key)
        order = jax.random.permutation(other, len(x))[: steps * batch].reshape(steps, batch)

        def step(state: Any, given: Any) -> Any:
            p, held = state
            rows, key = given
            loss, gradients = jax.value_and_grad(loss_of)(p, x[rows], key)
            updates, held = optimizer.update(gradients, held)
            return (optax.apply_updates(p, updates), held), loss

        return lax.scan(step, state, (order, jax.random.split(key, steps)))

    state, number = (params, optimizer.init(params)), 0

    def epoch() -> None:
        nonlocal state, number
        number += 1
        state, losses = train(state, jax.random.key(number))
        float(losses.mean())

    # What is left of an epoch is not trained on, so that all batches have one shape.
    return in_turns(epoch, steps * batch / len(x))


# The limit


def matmul(workload: str, batch: int) -> Epochs:
    """Products of two matrices of 1,024 x 1,024: what the machine can do at best."""
    import tensorflow as tf

    a, b = tf.random.normal((1024, 1024)), tf.random.normal((1024, 1024))

    @tf.function
    def run() -> Any:
        def again(step: Any, c: Any) -> Any:
            return step + 1, tf.matmul(c, b) * 0.03

        return tf.while_loop(lambda step, _: step < 60, again, (0, a))[1]

    return in_turns(lambda: run().numpy())


#: Multiplications and additions of one turn of `matmul`.
PRODUCTS = 60 * 2 * 1024**3

CONTENDERS: dict[str, Callable[[str, int], Epochs]] = {
    "keras_vae": keras_vae,
    "keras_vae, one step per execution": functools.partial(keras_vae, steps_per_execution=1),
    "keras_vae, one thread per operation": functools.partial(keras_vae, threads=1),
    "keras_vae, XLA": functools.partial(keras_vae, jit_compile=True),
    "plain Keras": functools.partial(plain_keras, jit_compile=False),
    "plain Keras, 20 steps per execution": functools.partial(
        plain_keras, steps_per_execution=20, jit_compile=False
    ),
    "PyTorch, eager": torch,
    "PyTorch, compiled": functools.partial(torch, compiled=True),
    "pythae's trainer": pythae,
    "JAX, scanned epoch": jax,
    "matrix products": matmul,
}


# Turns


def in_turns(epoch: Callable[[], None], share: float = 1.0) -> Epochs:
    """Runs an epoch on each command; it trains a share of the examples."""
    while question():
        begun = time.perf_counter()
        epoch()
        answer((time.perf_counter() - begun) / share)
        yield


def question() -> bool:
    """Waits for a command; ends the process where none will come."""
    if not sys.stdin.readline():
        os._exit(0)
    return True


def answer(seconds: float) -> None:
    """Tells what an epoch took, by the pipe that tensor libraries do not write to."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    line = {"seconds": seconds, "since_start": time.perf_counter() - STARTED, "gib": peak}
    os.write(OUT, (json.dumps(line) + "\n").encode())


if __name__ == "__main__":
    STARTED = time.perf_counter()
    OUT = os.dup(1)
    os.dup2(2, 1)
    name, workload, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
    for _ in CONTENDERS[name](workload, batch):
        pass
