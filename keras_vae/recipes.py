"""Papers' names for compositions of parts: documented functions of a few lines."""

from collections.abc import Mapping
from typing import Any

from keras_vae.likelihoods import Normal, Table, ZeroInflatedNegativeBinomial
from keras_vae.model import VAE
from keras_vae.objectives import DIP, ELBO, MMD, Factor, TotalCorrelation
from keras_vae.posteriors import AutoregressiveFlow
from keras_vae.priors import Vamp
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


def sigma_vae(event_shape: tuple[int, ...], latent_dim: int, **kwargs: Any) -> VAE:
    """Returns a VAE for real values that finds the variance of its decoder by itself.

    In training the variance is the mean squared error of the batch, which is the one of greatest
    likelihood, so reconstruction and KL are balanced without a beta to tune.

    Args:
        event_shape: E.
        latent_dim: D.
        **kwargs: Other arguments of `VAE`.

    Reference: Rybkin, Daniilidis and Levine, Simple and Effective VAE Training with Calibrated
    Decoders, 2021, eq. 5.
    """
    return VAE(event_shape, latent_dim, likelihood=Normal("optimal"), **kwargs)


def zinb_vae(
    event_shape: tuple[int, ...],
    latent_dim: int,
    dispersion: str = "element",
    size_factor: bool = False,
    **kwargs: Any,
) -> VAE:
    """Returns a VAE for counts with many zeros, such as molecules of each gene in a cell.

    Args:
        event_shape: E.
        latent_dim: D.
        dispersion: As in `ZeroInflatedNegativeBinomial`.
        size_factor: Whether data comes as {"x": counts, "offset": size factors}.
        **kwargs: Other arguments of `VAE`.

    Reference: Lopez et al., Deep Generative Modeling for Single-Cell Transcriptomics, 2018.
    """
    likelihood = ZeroInflatedNegativeBinomial(dispersion, size_factor=size_factor)
    return VAE(event_shape, latent_dim, likelihood=likelihood, **kwargs)


def table_vae(
    frame: Any,
    latent_dim: int = 4,
    kinds: Mapping[Any, str] | None = None,
    missing: bool = False,
    **kwargs: Any,
) -> VAE:
    """Returns a VAE for the rows of a pandas data frame of real, count and categorical columns.

    `vae.likelihood.to_events(frame)` is what it trains on, and `vae.likelihood.to_frame(x)` turns
    what it draws into a frame with the columns and types of the original. Both are saved with it.

    Args:
        frame: The data frame, which columns and their scales are found from.
        latent_dim: D.
        kinds: Column -> "real", "count", "binary" or "categorical", where `Table.describe` would
            find another.
        missing: Whether values of the frame may be missing; `vae.impute` fills them.
        **kwargs: Other arguments of `VAE`.

    Raises:
        ValueError: for missing values, unless they may be, or a column that no likelihood fits.

    Example:
    >>> import keras_vae as kv, pandas
    >>> frame = pandas.DataFrame({"age": [31.5, 64.0, 18.5], "town": ["Ulm", "Bonn", "Jena"]})
    >>> vae = kv.recipes.table_vae(frame, latent_dim=2)
    >>> vae.likelihood.to_events(frame).shape
    (3, 2)
    >>> list(vae.likelihood.to_frame(vae.sample(5, seed=0).x).columns)
    ['age', 'town']

    Reference: Nazabal et al., Handling Incomplete Heterogeneous Data using VAEs, 2020.
    """
    likelihood = Table(Table.describe(frame, kinds, missing))
    shape = (len(likelihood.columns),)
    return VAE(shape, latent_dim, likelihood=likelihood, missing=missing, **kwargs)


def iaf_vae(event_shape: tuple[int, ...], latent_dim: int, steps: int = 4, **kwargs: Any) -> VAE:
    """Returns a VAE whose posterior is an inverse autoregressive flow.

    It can follow exact posteriors that are skewed or correlated, so the bound is tighter. Warm beta
    up, `objective="elbo:beta=linear(steps=...)"`: without that it may do worse than a diagonal
    normal (docs/families/priors.md).

    Args:
        event_shape: E.
        latent_dim: D.
        steps: Of the flow.
        **kwargs: Other arguments of `VAE`.

    Reference: Kingma et al., Improved Variational Inference with Inverse Autoregressive Flow, 2016.
    """
    return VAE(event_shape, latent_dim, posterior=AutoregressiveFlow(steps), **kwargs)


def vamp_vae(
    event_shape: tuple[int, ...], latent_dim: int, components: int = 500, **kwargs: Any
) -> VAE:
    """Returns a VAE whose prior is the mixture of the posteriors of learned pseudo-inputs.

    Call `adapt` before `fit`, so that pseudo-inputs start at examples.

    Args:
        event_shape: E.
        latent_dim: D.
        components: Pseudo-inputs.
        **kwargs: Other arguments of `VAE`.

    Reference: Tomczak and Welling, VAE with a VampPrior, 2018.
    """
    return VAE(event_shape, latent_dim, prior=Vamp(components), **kwargs)


def tc_vae(
    event_shape: tuple[int, ...],
    latent_dim: int,
    beta: float | str | Schedule = 6.0,
    **kwargs: Any,
) -> VAE:
    """Returns a beta-TCVAE: of the KL term the total correlation alone weighs `beta` times as much.

    Latent dimensions become independent, at less cost to the reconstruction than by `beta_vae`.

    Args:
        event_shape: E.
        latent_dim: D.
        beta: A number of at least 0, or a schedule.
        **kwargs: Other arguments of `VAE`.

    Reference: Chen et al., Isolating Sources of Disentanglement in VAEs, 2018, eq. 4.
    """
    return VAE(event_shape, latent_dim, objective=TotalCorrelation(beta), **kwargs)


def factor_vae(
    event_shape: tuple[int, ...],
    latent_dim: int,
    weight: float | str | Schedule = 10.0,
    **kwargs: Any,
) -> VAE:
    """Returns a FactorVAE: a discriminator estimates the total correlation that is pressed down.

    Args:
        event_shape: E.
        latent_dim: D.
        weight: Of the total correlation; a number of at least 0, or a schedule.
        **kwargs: Other arguments of `VAE`.

    Reference: Kim and Mnih, Disentangling by Factorising, 2018, eq. 2.
    """
    return VAE(event_shape, latent_dim, objective=Factor(weight), **kwargs)


def dip_vae(
    event_shape: tuple[int, ...],
    latent_dim: int,
    kind: int = 2,
    off_diagonal: float | str | Schedule = 10.0,
    **kwargs: Any,
) -> VAE:
    """Returns a DIP-VAE: the covariance of the codes is pulled towards the identity.

    Args:
        event_shape: E.
        latent_dim: D.
        kind: 1 or 2, DIP-VAE-I or DIP-VAE-II.
        off_diagonal: Weight of the covariances; that of the variances follows as in the paper.
        **kwargs: Other arguments of `VAE`.

    Reference: Kumar et al., Variational Inference of Disentangled Latent Concepts from Unlabeled
    Observations, 2018, eqs. 6 and 7.
    """
    return VAE(event_shape, latent_dim, objective=DIP(kind, off_diagonal), **kwargs)


def info_vae(
    event_shape: tuple[int, ...],
    latent_dim: int,
    alpha: float = 0.5,
    lambda_: float = 1000.0,
    **kwargs: Any,
) -> VAE:
    """Returns an InfoVAE: the codes as a whole are pressed towards p(z) by the discrepancy.

    Args:
        event_shape: E.
        latent_dim: D.
        alpha: How much of the mutual information of x and z is rewarded, at most 1: the KL term
            weighs 1 - alpha. At 1 it is a Wasserstein autoencoder.
        lambda_: The discrepancy weighs alpha + lambda - 1, at least 0.
        **kwargs: Other arguments of `VAE`.

    Reference: Zhao, Song and Ermon, InfoVAE, 2019, eq. 6.
    """
    return VAE(event_shape, latent_dim, objective=MMD(alpha + lambda_ - 1.0, 1.0 - alpha), **kwargs)
