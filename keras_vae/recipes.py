"""Papers' names for compositions of parts: documented functions of a few lines."""

from typing import Any

from keras_vae.model import VAE
from keras_vae.objectives import ELBO
from keras_vae.schedules import Schedule


def autoencoder(event_shape: tuple[int, ...], latent_dim: int, **kwargs: Any) -> VAE:
    """Returns a plain autoencoder: a point posterior and no pressure towards p(z).

    It reconstructs well and samples badly: latents drawn from p(z) fall into gaps between codes
    that the decoder never saw.

    Args:
        event_shape: E.
        latent_dim: D.
        **kwargs: Other arguments of `VAE`.

    Reference: Hinton and Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks,
    2006.
    """
    return VAE(event_shape, latent_dim, posterior="point", objective="reconstruction", **kwargs)


def beta_vae(
    event_shape: tuple[int, ...],
    latent_dim: int,
    beta: float | str | Schedule = 4.0,
    **kwargs: Any,
) -> VAE:
    """Returns a VAE whose KL term weighs `beta` times as much.

    Above 1, samples agree better with the data and reconstructions blur; below, the reverse.

    Args:
        event_shape: E.
        latent_dim: D.
        beta: A number of at least 0, or a schedule.
        **kwargs: Other arguments of `VAE`.

    Reference: Higgins et al., beta-VAE: Learning Basic Visual Concepts with a Constrained
    Variational Framework, 2017, eq. 4.
    """
    return VAE(event_shape, latent_dim, objective=ELBO(beta=beta), **kwargs)
