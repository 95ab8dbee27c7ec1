"""Bounds on log p(x) and their errors, as pure tensor functions. Everything is in nats."""

from keras_vae.estimators.annealing import (
    SCHEDULES,
    Chain,
    Densities,
    Noise,
    StepSizes,
    anneal,
    at,
    leapfrog,
    pilot,
    reverse,
    schedule,
    transition,
)
from keras_vae.estimators.base import LogLikelihood, log_mean_exp
from keras_vae.estimators.decomposition import (
    Decomposition,
    decompose,
    stratified_log_weights,
    weighted_log_weights,
)
from keras_vae.estimators.discrepancy import KERNELS, mmd2
from keras_vae.estimators.pareto import add_tail, generalised_pareto, no_tail, pareto_k, tail_size
from keras_vae.estimators.weights import (
    WeightMoments,
    add_weights,
    importance_weighted_bound,
    log_likelihood,
    no_weights,
)

__all__ = [
    "KERNELS",
    "SCHEDULES",
    "Chain",
    "Decomposition",
    "Densities",
    "LogLikelihood",
    "Noise",
    "StepSizes",
    "WeightMoments",
    "add_tail",
    "add_weights",
    "anneal",
    "at",
    "decompose",
    "generalised_pareto",
    "importance_weighted_bound",
    "leapfrog",
    "log_likelihood",
    "log_mean_exp",
    "mmd2",
    "no_tail",
    "no_weights",
    "pareto_k",
    "pilot",
    "reverse",
    "schedule",
    "stratified_log_weights",
    "tail_size",
    "transition",
    "weighted_log_weights",
]
