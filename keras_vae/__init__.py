"""Variational autoencoders in Keras: learn the distribution of your data and generate from it."""

from keras_vae import _backend as _backend  # isort: skip  (before anything else loads)

from keras_vae import (
    anomalies,
    callbacks,
    conditions,
    data,
    distribute,
    distributions,
    estimators,
    evaluation,
    export,
    latents,
    layers,
    likelihoods,
    networks,
    objectives,
    plots,
    posteriors,
    priors,
    recipes,
    runs,
    schedules,
)
from keras_vae._registry import register
from keras_vae._version import __version__
from keras_vae.loading import load
from keras_vae.model import VAE

__all__ = [
    "VAE",
    "__version__",
    "anomalies",
    "callbacks",
    "conditions",
    "data",
    "distribute",
    "distributions",
    "estimators",
    "evaluation",
    "export",
    "latents",
    "layers",
    "likelihoods",
    "load",
    "networks",
    "objectives",
    "plots",
    "posteriors",
    "priors",
    "recipes",
    "register",
    "runs",
    "schedules",
]
