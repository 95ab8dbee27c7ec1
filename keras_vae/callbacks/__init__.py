"""What watches a training."""

from keras_vae._checkpoints import last_checkpoint
from keras_vae.callbacks.checkpoint import Checkpoint
from keras_vae.callbacks.clock import Clock
from keras_vae.callbacks.collapse import CollapseWarning
from keras_vae.callbacks.divergence import Divergence
from keras_vae.callbacks.progress import Progress
from keras_vae.callbacks.tensorboard import TensorBoard

__all__ = [
    "Checkpoint",
    "Clock",
    "CollapseWarning",
    "Divergence",
    "Progress",
    "TensorBoard",
    "last_checkpoint",
]
