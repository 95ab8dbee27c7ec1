"""Figures of merit on held-out data."""

from keras_vae.evaluation.report import evaluate

__all__ = ["evaluate"]
