"""Two logical CPU devices, few threads, one seed, and data that every module shares."""

import os
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
import tensorflow as tf

# Shells have what they start in the background ignore Ctrl-C, and so would what tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
tf.config.threading.set_inter_op_parallelism_threads(2)
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture
def policy():
    """Sets a global dtype policy for one test."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


@pytest.fixture
def deterministic():
    """Has operations give the same bits each time, for one test: XLA and others cannot be so."""
    from tensorflow.python.framework import config  # there is no public way back

    tf.config.experimental.enable_op_determinism()
    yield
    config.disable_op_determinism()


@pytest.fixture(scope="session")
def two_replicas():
    """The one MirroredStrategy of this process, over both logical CPU devices."""
    import keras_vae as kv

    return kv.distribute.strategy("mirrored")


@pytest.fixture(scope="session")
def one_replica():
    """A MirroredStrategy over one device, which is what users with one GPU often have."""
    return tf.distribute.MirroredStrategy(["CPU:0"])


@pytest.fixture
def rng():
    """Random numbers of seed 0, for one test."""
    return np.random.default_rng(0)


@pytest.fixture
def binary():
    """Ninety binary events of six numbers with two clusters, float32."""
    rng = np.random.default_rng(3)
    centre = np.where(rng.random((90, 1)) < 0.5, 0.9, 0.1)
    return (rng.random((90, 6)) < centre).astype("float32")


@pytest.fixture
def real(binary):
    """Ninety real events of six numbers with two clusters, float32."""
    noise = np.random.default_rng(4).normal(size=binary.shape)
    return (2.0 * binary - 1.0 + 0.3 * noise).astype("float32")
