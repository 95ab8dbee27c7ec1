"""One training that may be killed and started again, as a process of its own.

python resume_job.py FOLDER END: goes on with the checkpoints in FOLDER, writes weights and history
to END. It prints a line after each step. REPLICAS and TF_CONFIG say on what it trains, and DATA
whether on a set of keras_vae.data or on "arrays".
"""

import os
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_vae as kv

EPOCHS, STEPS = 3, 8


class Said(keras.callbacks.Callback):
    """Prints a line after each step."""

    def on_train_batch_end(self, batch, logs=None):
        if self.model.distribute_strategy.extended.should_save_summary:
            print("step", flush=True)


def main(folder: Path, end: Path) -> None:
    tf.config.experimental.enable_op_determinism()
    replicas = int(os.environ.get("REPLICAS", 1))
    if replicas > 1:
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * replicas,
        )
    name = "multi_worker" if "TF_CONFIG" in os.environ else "mirrored" if replicas > 1 else "one"
    strategy = kv.distribute.strategy(name)
    keras.utils.set_random_seed(1)
    x = np.random.default_rng(0).normal(size=(75, 6)).astype("float32")
    data = kv.data.load({"train": x, "validation": x[:20], "test": x[:20]}, 10, seed=2)
    arrays = {"x": x, "batch_size": 10, "validation_data": x[:20]}
    ours = {"x": data.train, "validation_data": data.validation}
    with strategy.scope():
        vae = kv.VAE(
            (6,),
            2,
            network="dense:widths=[8]",
            likelihood="normal",
            posterior=kv.posteriors.AutoregressiveFlow(steps=2, widths=8, context=4),
            prior=kv.priors.Vamp(4),
            objective="iwae:samples=2,gradient=dreg",
        )
        rate = keras.optimizers.schedules.CosineDecay(0.01, EPOCHS * STEPS)
        vae.compile(keras.optimizers.Adam(rate, use_ema=True, ema_momentum=0.9))
    callbacks = [
        kv.callbacks.Checkpoint(folder, steps=1),
        keras.callbacks.EarlyStopping("val_elbo", mode="max", patience=2),
        Said(),
    ]
    history = vae.fit(
        **(arrays if os.environ.get("DATA") == "arrays" else ours),
        epochs=EPOCHS,
        callbacks=callbacks,
        verbose=0,
    )
    if kv.distribute.is_chief(strategy):
        whole = [*vae.variables, *vae.optimizer.variables]
        state = {f"state {i}": kv.distribute.primary(v).numpy() for i, v in enumerate(whole)}
        logs = {f"log {name}": np.array(values) for name, values in history.history.items()}
        np.savez(end, epochs=np.array(history.epoch), **state, **logs)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
