"""p(x|z): the distributions that a decoder's numbers are parameters of."""

from keras_vae.likelihoods.base import Likelihood
from keras_vae.likelihoods.continuous import Normal
from keras_vae.likelihoods.discrete import Bernoulli

__all__ = ["Bernoulli", "Likelihood", "Normal"]
