"""Figures of merit on held-out data, and figures to look at."""

from keras_vae.evaluation.base import active_dimensions, kl_per_dimension, named
from keras_vae.evaluation.collapse import Collapse, collapse, score_without_latents
from keras_vae.evaluation.figures import figures, traversals
from keras_vae.evaluation.report import evaluate

__all__ = [
    "Collapse",
    "active_dimensions",
    "collapse",
    "evaluate",
    "figures",
    "kl_per_dimension",
    "named",
    "score_without_latents",
    "traversals",
]
