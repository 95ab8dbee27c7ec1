"""Annealed importance sampling against importance sampling on a trained model of MNIST."""

import os
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_vae as kv
from keras_vae.evaluation import Annealing

pytestmark = pytest.mark.slow
FOLDER = Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser() / "mnist"


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"MNIST is not prepared in {FOLDER.parent}")
def test_annealing_agrees_with_importance_sampling_on_mnist():
    keras.utils.set_random_seed(0)
    data = kv.data.load("mnist", 128, binarize="dynamic")
    vae = kv.VAE(data.event_shape, 50, network="dense:widths=[200,200]")
    vae.adapt(data.train)
    vae.compile("adam")
    vae.fit(data.train, epochs=3, verbose=0)
    x = np.asarray(next(iter(data.test.unbatch().batch(100))))
    weighed = kv.evaluation.log_likelihood(vae, x, num_samples=5000)
    annealed = kv.evaluation.log_likelihood(vae, x, "annealed", 4, annealing=Annealing(250, 8))
    found = f"importance {weighed.mean:.2f}, annealed {annealed.mean:.2f} nats"
    print(
        f"{found}; elbo {vae.elbo(x).mean():.2f}; Monte Carlo errors "
        f"{weighed.monte_carlo_error_of_mean:.3f}, {annealed.monte_carlo_error_of_mean:.3f}; "
        f"median k {weighed.median_pareto_k:.2f}, high {weighed.high_pareto_k_share:.2f}"
    )
    assert abs(annealed.mean - weighed.mean) < 0.5, found
