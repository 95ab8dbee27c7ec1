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
from keras_vae.estimators.pareto import add_tail, generalised_pareto, no_tail, pareto_k, tail_size
from keras_vae.estimators.weights import (
    WeightMoments,
    add_weights,
    importance_weighted_bound,
    log_likelihood,
    no_weights,
)

__all__ = [
    "SCHEDULES",
    "Chain",
    "Densities",
    "LogLikelihood",
    "Noise",
    "StepSizes",
    "WeightMoments",
    "add_tail",
    "add_weights",
    "anneal",
    "at",
    "generalised_pareto",
    "importance_weighted_bound",
    "leapfrog",
    "log_likelihood",
    "log_mean_exp",
    "no_tail",
    "no_weights",
    "pareto_k",
    "pilot",
    "reverse",
    "schedule",
    "tail_size",
    "transition",
]
