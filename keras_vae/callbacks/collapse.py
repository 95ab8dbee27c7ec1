"""A word in time when the latents die."""

import warnings
from typing import Any

import keras

from keras_vae import _checks, evaluation
from keras_vae.callbacks import base


class CollapseWarning(keras.callbacks.Callback):
    """Warns, once and in words, when training has left the latents out of use.

    That is so when for some epochs on end no latent dimension was active (variance of the posterior
    mean over the data above 0.01), or the bound was that of the best model without latents; see
    `keras_vae.evaluation.collapse`.

    Args:
        patience: How many epochs on end. A training may well start there.
        examples: What to judge by: an array (n, E), or a `tf.data.Dataset` of batches. By default
            the validation data, else training data that is an array.
        num_examples: At most so many of them.

    Reference: Bowman et al., Generating Sentences from a Continuous Space, 2016, section 3.1.
    """

    def __init__(self, patience: int = 3, examples: Any = None, num_examples: int = 500) -> None:
        super().__init__()
        self.patience = _checks.integer("patience", patience)
        self.examples = examples
        self.num_examples = _checks.integer("num_examples", num_examples)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Picks the examples."""
        self._epochs, self._warned = 0, not base.is_chief(self.model)
        self._watched = base.watched(self.model, self.examples, self.num_examples)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the latents."""
        if self._warned or self._watched is None:
            return
        found = evaluation.collapse(self.model, self._watched.x)
        self._epochs = self._epochs + 1 if found.collapsed else 0
        if self._epochs >= self.patience:
            self._warned = True
            times = f"for {self.patience} epochs, up to epoch {epoch + 1}"
            warnings.warn(f"{found.sentence()} It has been so {times}.", stacklevel=2)
