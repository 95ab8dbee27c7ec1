"""A word in time when the latents die."""

import warnings
from typing import Any

import keras
import tensorflow as tf

from keras_vae import _checks, distribute, evaluation
from keras_vae.callbacks import base

#: How little a bound moves that sits still, as a share of it.
STILL = 0.01


class CollapseWarning(keras.callbacks.Callback):
    """Warns, once and in words, when training sits still with the latents out of use.

    That is so when no latent dimension is active (variance of the posterior mean over the data
    above 0.01), or the bound is that of the best model without latents, and has not moved by 1 %
    for some epochs and steps: many a training passes by there at its start. See
    `keras_vae.evaluation.collapse`.

    Args:
        patience: For how many epochs on end.
        min_steps: For how many steps of the optimiser at least, since an epoch may be few.
        examples: What to judge by: an array (n, E), or a `tf.data.Dataset` of batches. By default
            the validation data, else training data that is an array.
        num_examples: At most so many of them.

    Reference: Bowman et al., Generating Sentences from a Continuous Space, 2016, section 3.1.
    """

    #: What `Checkpoint` keeps of it.
    kept = ("_start", "_warned")

    def __init__(
        self,
        patience: int = 3,
        min_steps: int = 200,
        examples: Any = None,
        num_examples: int = 500,
    ) -> None:
        super().__init__()
        self.patience = _checks.integer("patience", patience)
        self.min_steps = _checks.integer("min_steps", min_steps, 0)
        self.examples = examples
        self.num_examples = _checks.integer("num_examples", num_examples)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Picks the examples."""
        self._start: tuple[int, int, float] | None = None  # epoch, step and bound
        self._warned = False
        self._quiet = not distribute.is_chief(self.model.distribute_strategy)
        self._watched = base.watched(self.model, self.examples, self.num_examples)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the latents."""
        if self._quiet or self._warned or self._watched is None:
            return
        found = evaluation.collapse(self.model, self._watched.events)
        step, bound = int(tf.convert_to_tensor(self.model.optimizer.iterations)), found.elbo or 0.0
        if not found.collapsed:
            self._start = None
            return
        if self._start is None or abs(bound - self._start[2]) > STILL * abs(bound):
            self._start = (epoch, step, bound)
        epochs, steps = epoch - self._start[0] + 1, step - self._start[1]
        if epochs >= self.patience and steps >= self.min_steps:
            self._warned = True
            since = f"It has been so for {epochs} epochs, up to epoch {epoch + 1}."
            warnings.warn(f"{found.sentence()} {since}", stacklevel=2)
