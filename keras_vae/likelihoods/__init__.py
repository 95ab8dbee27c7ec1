"""p(x|z): the distributions that a decoder's numbers are parameters of."""

from keras_vae.likelihoods.base import Likelihood
from keras_vae.likelihoods.classes import Categorical
from keras_vae.likelihoods.continuous import Laplace, Normal, StudentT
from keras_vae.likelihoods.counts import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from keras_vae.likelihoods.discrete import Bernoulli
from keras_vae.likelihoods.interval import Beta, ContinuousBernoulli
from keras_vae.likelihoods.joint import Joint, Table
from keras_vae.likelihoods.levels import DiscretizedLogistic, LogisticMixture

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "Joint",
    "Laplace",
    "Likelihood",
    "LogisticMixture",
    "NegativeBinomial",
    "Normal",
    "Poisson",
    "StudentT",
    "Table",
    "ZeroInflatedNegativeBinomial",
]
