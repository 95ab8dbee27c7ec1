"""Runs in TensorBoard, with pictures of what the model generates."""

import importlib.util
import os
from typing import Any

import keras
import tensorflow as tf

from keras_vae import _checks, plots


class TensorBoard(keras.callbacks.TensorBoard):
    """Keras's TensorBoard callback, and the means of prior samples as images.

    Args:
        log_dir: Folder of the event files.
        num_images: How many samples are drawn; 0 for none. Events that are no images get none.
        image_freq: Every how many epochs.
        seed: Of the samples; the same latents are decoded each time.
        **kwargs: Those of `keras.callbacks.TensorBoard`.

    Raises:
        ImportError: if tensorboard is not installed, at once and not after an epoch.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        num_images: int = 16,
        image_freq: int = 1,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise ImportError(
                "The TensorBoard callback needs the package tensorboard, which is not installed: "
                "run `pip install tensorboard`."
            )
        super().__init__(log_dir=os.fspath(log_dir), **kwargs)
        self.num_images = _checks.integer("num_images", num_images, 0)
        self.image_freq = _checks.integer("image_freq", image_freq)
        self.seed = tuple(_checks.seed_pair(seed).tolist())

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the epoch's values, then the images."""
        super().on_epoch_end(epoch, logs)
        drawn = self.num_images and plots.is_image(self.model.event_shape)
        if not drawn or epoch % self.image_freq:
            return
        means = self.model.sample(self.num_images, seed=self.seed).mean
        with self._train_writer.as_default():
            tf.summary.image("prior_samples", means, step=epoch, max_outputs=self.num_images)
