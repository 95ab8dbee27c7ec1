"""Mixture priors whose components are weights of their own."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_vae import _checks, distributions
from keras_vae._registry import register
from keras_vae._types import Given, Tensor
from keras_vae.priors.base import Prior

COVARIANCES = ("full", "diagonal")
#: Standard deviation of the components' first means: apart, and together near N(0, I).
_APART = 0.5


@register("prior", "mixture")
class Mixture(Prior):
    """p(z) = sum_k w_k Normal(z; mean_k, S_k), with all of it learned.

    Args:
        components: K.
        covariance: "full" or "diagonal", of each component.

    References: Dilokthanakul et al., Deep Unsupervised Clustering with Gaussian Mixture Variational
    Autoencoders, 2016; Ghosh et al., From Variational to Deterministic Autoencoders, 2020, section
    4 (fitted to the codes afterwards).
    """

    def __init__(self, components: int = 10, covariance: str = "full") -> None:
        super().__init__()
        self.components = _checks.integer("components", components, maximum=_checks.WIDEST)
        self.covariance = _checks.one_of("covariance", covariance, COVARIANCES)

    def _setup(self, latent_dim: int) -> None:
        shape = (self.components, latent_dim)
        apart = keras.initializers.RandomNormal(stddev=_APART)
        self.logits = self.add_weight(name="logits", shape=shape[:1], initializer="zeros")
        self.means = self.add_weight(name="means", shape=shape, initializer=apart)
        self.log_scales = self.add_weight(name="log_scales", shape=shape, initializer="zeros")
        if self.covariance == "full" and latent_dim > 1:
            below = latent_dim * (latent_dim - 1) // 2
            self.below = self.add_weight(
                name="below", shape=(self.components, below), initializer="zeros"
            )

    def _roots(self) -> Tensor:
        """Returns lower triangular roots of the covariances, (K, D, D)."""
        scales = tf.linalg.diag(tf.exp(tf.convert_to_tensor(self.log_scales)))
        if not hasattr(self, "below"):
            return scales
        rows, columns = np.tril_indices(self.latent_dim, -1)
        places = np.full([self.latent_dim] * 2, len(rows))
        places[rows, columns] = np.arange(len(rows))
        numbers = tf.concat([self.below, tf.zeros([self.components, 1])], 1)
        return scales + tf.gather(numbers, places, axis=1)

    def _distribution(self, given: Given) -> Any:
        means, logits = tf.convert_to_tensor(self.means), tf.convert_to_tensor(self.logits)
        if self.covariance == "full":
            return distributions.mixture(logits, distributions.full_normal(means, self._roots()))
        scales = tf.exp(tf.convert_to_tensor(self.log_scales))
        normals = distributions.independent(distributions.normal(means, scales), 1)
        return distributions.mixture(logits, normals)

    def fit_codes(self, codes: np.ndarray, held_out: np.ndarray, given: Given, seed: int) -> None:
        """Fits the mixture to codes by expectation-maximisation, of scikit-learn.

        The held-out codes are fitted, too, since nothing is stopped early.

        Raises:
            ValueError: for fewer codes than components.
        """
        from sklearn.mixture import GaussianMixture

        every = np.concatenate([codes, held_out]).astype(np.float64)
        if len(every) < max(2, self.components):
            raise ValueError(
                f"There are {len(every)} codes and {self.components} components; expected as many "
                "codes at least, and far more. Give more data, or fewer components."
            )
        kind = "full" if self.covariance == "full" else "diag"
        least = 1e-6 * float(every.var(0).mean()) + 1e-12
        found = GaussianMixture(
            self.components, covariance_type=kind, reg_covar=least, max_iter=500, random_state=seed
        ).fit(every)
        self.logits.assign(np.log(np.maximum(found.weights_, 1e-12)))
        self.means.assign(found.means_)
        if kind == "diag":
            self.log_scales.assign(0.5 * np.log(found.covariances_))
            return
        roots = np.linalg.cholesky(found.covariances_)
        self.log_scales.assign(np.log(np.diagonal(roots, axis1=1, axis2=2)))
        if hasattr(self, "below"):
            self.below.assign(roots[(slice(None), *np.tril_indices(self.latent_dim, -1))])
