"""Figures of merit on held-out data, and figures to look at."""

from keras_vae.evaluation.anomaly import Detection, Threshold, detection, scores, threshold
from keras_vae.evaluation.base import (
    Annealing,
    Collapse,
    Estimate,
    active_dimensions,
    collapse,
    finite,
    kl_per_dimension,
    named,
    score_without_latents,
)
from keras_vae.evaluation.figures import conditional_samples, figures, traversals
from keras_vae.evaluation.gaps import (
    Gaps,
    aggregate_posterior,
    classifier_test,
    far_from_codes,
    far_p_value,
    gap_draws,
    gaps,
    gaps_between,
    mmd,
    prior_draws,
)
from keras_vae.evaluation.likelihood import Bounds, bidirectional, log_likelihood
from keras_vae.evaluation.report import evaluate
from keras_vae.evaluation.validity import (
    Match,
    ShapeScores,
    coverage,
    match_renders,
    novelty,
    shape_scores,
)

__all__ = [
    "Annealing",
    "Bounds",
    "Collapse",
    "Detection",
    "Estimate",
    "Gaps",
    "Match",
    "ShapeScores",
    "Threshold",
    "active_dimensions",
    "aggregate_posterior",
    "bidirectional",
    "classifier_test",
    "collapse",
    "coverage",
    "detection",
    "evaluate",
    "far_from_codes",
    "far_p_value",
    "conditional_samples",
    "figures",
    "finite",
    "gap_draws",
    "gaps",
    "gaps_between",
    "kl_per_dimension",
    "log_likelihood",
    "match_renders",
    "mmd",
    "named",
    "novelty",
    "prior_draws",
    "score_without_latents",
    "scores",
    "shape_scores",
    "threshold",
    "traversals",
]
