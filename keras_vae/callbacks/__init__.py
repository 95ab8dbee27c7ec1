"""What watches a training."""

from keras_vae.callbacks.collapse import CollapseWarning
from keras_vae.callbacks.progress import Progress
from keras_vae.callbacks.tensorboard import TensorBoard

__all__ = ["CollapseWarning", "Progress", "TensorBoard"]
