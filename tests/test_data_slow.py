"""Sets that are larger than one would hold train at flat memory."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow
COUNT, SIDE = 20_000, 64
#: Trains on a folder and writes the resident memory, in MB, after every tenth step.
SCRIPT = """
import json, os, sys
import keras
import keras_vae as kv

memory = []

class Watch(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch % 10 == 0:
            pages = int(open("/proc/self/statm").read().split()[1])
            memory.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)

data = kv.data.load(sys.argv[1], batch_size=100)
vae = kv.VAE(data.event_shape, 2, network="dense:widths=[8]", likelihood="normal:variance=shared")
vae.compile("adam")
watch = [Watch()]
logs = vae.fit(
    data.train, epochs=2, validation_data=data.validation, callbacks=watch, verbose=0
).history
json.dump({"counts": data.counts, "memory": memory, "loss": logs["loss"]}, sys.stdout)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    ramp = np.linspace(0.0, 1.0, SIDE)
    for number in range(COUNT):
        slopes = rng.random((3, 2))
        plane = slopes[:, 0, None, None] * ramp[:, None] + slopes[:, 1, None, None] * ramp
        image = np.uint8(127.0 * plane).transpose(1, 2, 0)
        Image.fromarray(image).save(folder / f"{number:05}.png", compress_level=1)
    return folder


def test_twenty_thousand_images_train_at_flat_memory(folder):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    out = json.loads(done.stdout.splitlines()[-1])
    assert out["counts"] == {"train": 16_200, "validation": 1_800, "test": 2_000}
    assert out["loss"][1] < out["loss"][0]
    settled = max(out["memory"][:5])
    held = COUNT * SIDE * SIDE * 3 / 1e6  # what the decoded images would take as uint8
    assert max(out["memory"]) - settled < held / 3.0
