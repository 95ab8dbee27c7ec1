"""What figures of merit and figures to look at have in common."""

from collections.abc import Sequence

import numpy as np

from keras_vae.model import VAE

#: A latent dimension is active when the variance of its posterior mean over the data is above this
#: (Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, 2016, section 5).
ACTIVE_VARIANCE = 0.01


def active_dimensions(means: np.ndarray) -> np.ndarray:
    """Returns which latent dimensions carry something of the data, (D,) of truth values.

    Args:
        means: Means of q(z|x) over the data, (n, D).
    """
    return np.asarray(means, np.float64).var(axis=0) > ACTIVE_VARIANCE


def kl_per_dimension(vae: VAE, x: np.ndarray) -> np.ndarray | None:
    """Returns the mean KL of each latent dimension in nats, (D,), or None where it does not split.

    Args:
        vae: The model.
        x: Examples (n, E) that the mean is over.
    """
    if "density" not in vae.latent.offers:
        return None
    kl = vae.kl_parts(x).mean(axis=0)
    return kl if len(kl) == vae.latent.output_dim else None


def named(labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Returns labels (n,) by their names, where they are whole numbers that each have one.

    Args:
        labels: (n,).
        names: What 0, 1, ... are called.
    """
    fits = labels.dtype.kind in "iu" and labels.min() >= 0 and labels.max() < len(names)
    return np.asarray(names)[labels] if fits else labels
