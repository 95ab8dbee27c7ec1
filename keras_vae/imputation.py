"""Missing entries of x by self-normalised importance sampling, as a pure function of tensors."""

import math
from typing import Any, NamedTuple

import tensorflow as tf

from keras_vae import estimators
from keras_vae._noise import content_keys, keyed_noise, keyed_seeds, keyed_uniform
from keras_vae._types import Given, Inputs, Tensor
from keras_vae.graph import NOTHING, Graph

#: The stream of the draws that choose among samples, and that of the draws of x.
_CHOICE, _EVENT = 11, 12


class Imputation(NamedTuple):
    """What missing entries may have been. Entries that were observed stay as they are.

    Attributes:
        x: Events with every missing entry at its conditional mean, or for classes at the most
            frequent one, (n, E).
        stddev: The spread of the draws, (n, E); 0 where an entry was observed.
        draws: Draws of p(x_missing | x_observed), (R, n, E).
        effective_sample_size: Of the importance weights, (n,), between 1 and the number of samples;
            NaN where none is a number. Missing entries are NaN there in all of the above, too.
    """

    x: Any
    stddev: Any
    draws: Any
    effective_sample_size: Any


class _Found(NamedTuple):
    """What the samples so far say.

    Attributes:
        moments: Of their weights.
        means: The weighted mean of the means of p(x|z), (B, E).
        best: The highest perturbed log-weight for each draw, (R, B).
        chosen: The decoder inputs that had it, (R, B, F).
    """

    moments: estimators.WeightMoments
    means: Tensor
    best: Tensor
    chosen: Tensor


def impute(
    graph: Graph,
    x: Tensor,
    num_samples: Tensor | int,
    num_draws: int,
    seed: Tensor,
    given: Given = NOTHING,
) -> Imputation:
    """Returns what entries of x (B, E) that are NaN may have been; `draws` are (B, R, E).

    Samples z of q(z|x_observed) weigh p(x_observed|z) p(z) / q(z|x_observed). Means are their
    self-normalised averages; a draw takes one z by its weight (the greatest of the log-weights with
    Gumbel noise, so that samples may come in chunks), and x from p(x|z).

    References: Mattei and Frellsen, MIWAE: Deep Generative Modelling and Imputation of Incomplete
    Data Sets, 2019, eqs. 12 and 13; Gumbel, Statistical Theory of Extreme Values, 1954.
    """
    keys, given = content_keys(x, seed), graph.given(given)
    batch = tf.shape(x)[0]
    choice = tf.random.experimental.stateless_fold_in(seed, _CHOICE)

    def add_chunk(first: Tensor, chunk: Tensor, found: _Found) -> _Found:
        noise = keyed_noise(keys, chunk, graph.latent.noise_size, seed, first)
        one = graph.forward(Inputs(x, None, given), noise, step=0, seed=seed)
        draw = one.latent_pass.draw
        counted = (first + tf.range(chunk) < num_samples)[:, None]
        log_weights = one.latent_pass.log_px + draw.log_pz - draw.log_qz
        log_weights = tf.where(counted, log_weights, -float("inf"))
        means = graph.likelihood.mean(one.params, given)
        uniform = keyed_uniform(keys, chunk, num_draws, choice, first)
        return _added(found, log_weights, means, uniform, draw.decoder_input)

    start = _Found(
        estimators.no_weights(batch),
        tf.zeros_like(x),
        tf.fill([num_draws, batch], -float("inf")),
        tf.zeros([num_draws, batch, graph.latent.output_dim]),
    )
    found = graph.in_chunks(add_chunk, start, batch, num_samples)
    events = _events(graph, found.chosen, keys, seed, given)
    return _filled(graph, x, found, events)


def _added(
    found: _Found, log_weights: Tensor, means: Tensor, uniform: Tensor, inputs: Tensor
) -> _Found:
    """Returns what was found with more samples.

    Args:
        found: Before.
        log_weights: (S, B).
        means: Of p(x|z), (S, B, E).
        uniform: Numbers in (0, 1), (S, B, R).
        inputs: Of the decoder, (S, B, F).
    """
    moments = estimators.add_weights(found.moments, log_weights)
    shape = tf.concat([tf.shape(log_weights), tf.ones([tf.rank(means) - 2], tf.int32)], 0)
    total = tf.where(moments.log_sum > -math.inf, moments.log_sum, 0.0)  # no weight yet: means of 0
    share = tf.exp(tf.cast(log_weights, tf.float64) - total)
    rest = tf.exp(found.moments.log_sum - total)
    share, rest = tf.cast(share, tf.float32), tf.cast(rest, tf.float32)
    new = tf.reduce_sum(tf.math.multiply_no_nan(means, tf.reshape(share, shape)), 0)
    kept = tf.reshape(rest, shape[1:]) * found.means
    gumbel = -tf.math.log(-tf.math.log(uniform))
    perturbed = tf.transpose(log_weights[..., None] + gumbel, [2, 0, 1])  # (R, S, B)
    places = tf.argmax(perturbed, 1)
    best = tf.reduce_max(perturbed, 1)
    taken = tf.gather(tf.transpose(inputs, [1, 0, 2]), tf.transpose(places), batch_dims=1)
    better = best > found.best
    chosen = tf.where(better[..., None], tf.transpose(taken, [1, 0, 2]), found.chosen)
    return _Found(moments, kept + new, tf.maximum(best, found.best), chosen)


def _events(graph: Graph, chosen: Tensor, keys: Tensor, seed: Tensor, given: Given) -> Tensor:
    """Returns draws of p(x|z), (B, R, E), for decoder inputs (R, B, F), by seeds of examples."""
    params = tf.experimental.numpy.moveaxis(graph.parameters(chosen, given), 0, 1)
    stream = tf.random.experimental.stateless_fold_in(seed, _EVENT)
    seeds = keyed_seeds(keys, 1, stream, tf.constant(0))[0]

    def draw(one: Any) -> Tensor:
        own, number, offset = one
        sides = given if given.offset is None else given._replace(offset=offset)
        return graph.likelihood.sample(own, number, sides)

    offset = tf.zeros([tf.shape(keys)[0], 1]) if given.offset is None else given.offset[:, None]
    spec = tf.TensorSpec([chosen.shape[0], *graph.likelihood.event_shape], tf.float32)
    return tf.map_fn(draw, (params, seeds, offset), fn_output_signature=spec)


def _filled(graph: Graph, x: Tensor, found: _Found, events: Tensor) -> Imputation:
    """Returns the imputation, with the observed entries put back.

    Where no sample has a weight that is a number, nothing is known: missing entries stay NaN.
    """
    lost = tf.math.is_nan(x)
    known = tf.math.is_finite(found.moments.log_sum)
    known = tf.reshape(known, [-1, *[1] * len(x.shape[1:])])
    filled = graph.likelihood.typical(found.means, tf.experimental.numpy.moveaxis(events, 1, 0))
    filled = tf.where(known, filled, float("nan"))
    events = tf.where(known[:, None], events, float("nan"))
    draws = tf.where(lost[:, None], events, x[:, None])
    stddev = tf.where(lost, tf.math.reduce_std(draws, 1), 0.0)
    effective = tf.exp(2.0 * found.moments.log_sum - found.moments.log_sum_squares)
    return Imputation(tf.where(lost, filled, x), stddev, draws, tf.cast(effective, tf.float32))
