"""The objective of a plain autoencoder."""

from keras_vae._registry import register
from keras_vae._types import LatentPass, LossOutput
from keras_vae.objectives.base import Objective, reconstruction_loss


@register("objective", "reconstruction")
class Reconstruction(Objective):
    """-log p(x|z) alone: nothing presses the codes towards p(z).

    With the posterior "point" this trains a plain autoencoder, whose samples from p(z) are bad.
    """

    needs = frozenset()
    trains_prior = False

    @property
    def terms(self) -> tuple[str, ...]:
        """`reconstruction_loss`."""
        return ("reconstruction_loss",)

    def _evaluate(self, latent_pass: LatentPass) -> LossOutput:
        return self._output(latent_pass, reconstruction_loss(latent_pass))
