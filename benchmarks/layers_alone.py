"""What each layer of a model takes by itself, and all of them together: the floor of a step.

    python benchmarks/layers_alone.py [--workload conv] [--batch 100] [--repeats 9]

Each dense or convolutional layer runs in a loop that does nothing else, without bias or activation:
forwards, and its two gradients at once as in a step. Prints milliseconds and GFLOP/s, their sum,
what a step of `fit` takes in the same process, and what products of matrices would take for the
same arithmetic.
"""

import math
import os
import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any

import contenders
import keras
import tensorflow as tf
import typer
from turns import Clock

#: Runs of a layer in one call.
LOOP = 20
KINDS = keras.layers.Dense, keras.layers.Conv2D, keras.layers.Conv2DTranspose


def milliseconds(operation: Callable[[], list[Any]], repeats: int) -> float:
    """Returns the median time of one run of an operation, without the calls."""

    @tf.function(autograph=False)
    def run() -> Any:
        def once(step: Any, before: Any) -> tuple[Any, Any]:
            with tf.control_dependencies([before]):  # one after the other
                results = operation()
            return step + 1, tf.add_n([tf.reshape(each, [-1])[0] for each in results])

        return tf.while_loop(lambda step, _: step < LOOP, once, (0, 0.0))[1]

    run()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return 1e3 * statistics.median(taken) / LOOP


def multiplications(layer: Any, batch: int) -> int:
    """Returns those of the layer's forward pass."""
    wide = layer.input if isinstance(layer, keras.layers.Conv2DTranspose) else layer.output
    places = 1 if isinstance(layer, keras.layers.Dense) else math.prod(wide.shape[1:3])
    return batch * places * math.prod(layer.kernel.shape)


def measured(layer: Any, batch: int, first: bool, repeats: int) -> tuple[float, float, float]:
    """Returns milliseconds forwards and backwards, and the floating-point operations of both."""
    config = {**layer.get_config(), "activation": None, "use_bias": False}
    alone = type(layer).from_config(config)
    shape = (batch, *layer.input.shape[1:])
    alone.build(shape)
    x = tf.Variable(tf.random.normal(shape))
    upstream = tf.Variable(tf.random.normal((batch, *layer.output.shape[1:])))

    def gradients() -> list[Any]:
        inputs = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y = alone(inputs)
        sources = [alone.kernel.value] if first else [alone.kernel.value, inputs]
        return tape.gradient(y, sources, tf.convert_to_tensor(upstream))

    forwards = milliseconds(lambda: [alone(tf.convert_to_tensor(x))], repeats)
    backwards = milliseconds(gradients, repeats)
    return forwards, backwards, (2 if first else 3) * 2.0 * multiplications(layer, batch)


def step_of_fit(vae: Any, workload: str, batch: int, repeats: int) -> float:
    """Returns the median milliseconds of a step, from epochs of one `fit`."""
    clock = Clock()
    x = contenders.images(workload)
    vae.fit(x, batch_size=batch, epochs=repeats + 2, verbose=0, callbacks=[clock])
    return 1e3 * statistics.median(clock.took[2:]) * batch / len(x)


def products(repeats: int) -> float:
    """Returns the operations per second of products of matrices of 1,024 x 1,024."""
    one, other = (tf.Variable(tf.random.normal((1024, 1024))) for _ in range(2))
    taken = milliseconds(lambda: [tf.matmul(one, other)], repeats)
    return 2 * 1024**3 / taken * 1e3


def main(
    workload: Annotated[str, typer.Option(help="dense, conv, residual")] = "conv",
    batch: int = 100,
    repeats: int = 9,
) -> None:
    keras.utils.set_random_seed(0)
    vae = contenders.vae_model(workload)
    limit = products(repeats)
    print(f"{os.cpu_count()} cores, {workload}, batch {batch}, products {limit / 1e9:.0f} GFLOP/s")
    total, operations = 0.0, 0.0
    layers = [each for body in (vae.encoder, vae.decoder) for each in body.layers]
    for number, layer in enumerate(each for each in layers if isinstance(each, KINDS)):
        forwards, backwards, count = measured(layer, batch, number == 0, repeats)
        total, operations = total + forwards + backwards, operations + count
        speed = count / (forwards + backwards) / 1e6
        print(
            f"  {layer.name:32s} forwards {forwards:6.2f} ms, backwards {backwards:6.2f} ms, "
            f"{count / 1e6:6.0f} MFLOP, {speed:4.0f} GFLOP/s"
        )
    print(f"all layers {total:.2f} ms, {operations / total / 1e6:.0f} GFLOP/s")
    print(f"a step of fit {step_of_fit(vae, workload, batch, repeats):.2f} ms")
    print(f"the same arithmetic in products {1e3 * operations / limit:.2f} ms")


if __name__ == "__main__":
    typer.run(main)
