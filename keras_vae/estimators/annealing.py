"""Annealed importance sampling with Hamiltonian transitions, forwards and backwards.

Chains go from a distribution that can be sampled, f_0, to the posterior, f_1(z) = p(x, z), along
the geometric path f_b = f_0^(1 - b) f_1^b. Pure functions of tensors: chains C, examples B, latent
dimensions D. Densities are in nats and need not be normalised over z, but for f_0.

References: Neal, Annealed Importance Sampling, 2001; Neal, MCMC Using Hamiltonian Dynamics, 2011;
Wu, Burda, Salakhutdinov and Grosse, On the Quantitative Analysis of Decoder-Based Generative
Models, 2017.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import tensorflow as tf

from keras_vae import _checks
from keras_vae._types import Tensor

#: Maps z (C, B, D) to log f_0(z) and log f_1(z) - log f_0(z), each (C, B).
Densities: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
#: Maps the number of a transition to standard normal noise (C, B, D + 2).
Noise: TypeAlias = Callable[[Tensor], Tensor]
SCHEDULES = ("sigmoid", "linear")
#: How far into its flat ends the sigmoid schedule reaches (Wu et al., 2017, appendix).
REACH = 4.0
#: The share of proposals to accept (Neal, 2011, section 5.4.4.3).
ACCEPTANCE = 0.65
#: The pilot's first step size, how fast it adapts, and its transitions before the path begins.
FIRST_STEP, RATE, SETTLING = 0.5, 0.2, 20
#: The pilot's log step sizes are multiples of this. Rounding of another batch size would grow from
#: transition to transition if the sizes followed it.
GRID = 1.0 / 16.0


class Chain(NamedTuple):
    """Where chains are, with what is known of the densities there.

    Attributes:
        z: (C, B, D).
        log_start: log f_0(z), (C, B).
        log_ratio: log f_1(z) - log f_0(z), (C, B).
        start_slope: Gradient of `log_start`, (C, B, D).
        ratio_slope: Gradient of `log_ratio`, (C, B, D).
    """

    z: Tensor
    log_start: Tensor
    log_ratio: Tensor
    start_slope: Tensor
    ratio_slope: Tensor

    def log_density(self, beta: Tensor) -> Tensor:
        """Returns log f_beta(z), (C, B)."""
        return self.log_start + beta * self.log_ratio

    def slope(self, beta: Tensor) -> Tensor:
        """Returns the gradient of log f_beta at z, (C, B, D)."""
        return self.start_slope + beta * self.ratio_slope


def schedule(kind: str, temperatures: Tensor | int) -> Tensor:
    """Returns the inverse temperatures from 0 to 1, (T + 1,) float32.

    Args:
        kind: "sigmoid", dense at both ends, where the densities change fastest; or "linear".
        temperatures: How many steps, T.

    Raises:
        ValueError: for another kind.

    Reference: Wu et al., 2017, appendix (sigmoid).
    """
    _checks.one_of("schedule", kind, SCHEDULES)
    place = tf.linspace(0.0, 1.0, tf.cast(temperatures, tf.int32) + 1)
    if kind == "linear":
        return place
    low, high = tf.sigmoid(-REACH), tf.sigmoid(REACH)
    return (tf.sigmoid(REACH * (2.0 * place - 1.0)) - low) / (high - low)


def at(densities: Densities, z: Tensor) -> Chain:
    """Returns the chains at z (C, B, D)."""
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(z)
        log_start, log_ratio = densities(z)
    zero = tf.UnconnectedGradients.ZERO
    slopes = [
        tape.gradient(value, z, unconnected_gradients=zero) for value in (log_start, log_ratio)
    ]
    return Chain(z, log_start, log_ratio, *slopes)


def leapfrog(
    densities: Densities,
    chain: Chain,
    momentum: Tensor,
    beta: Tensor | float,
    step_size: Tensor,
    steps: Tensor | int,
) -> tuple[Chain, Tensor]:
    """Returns the chains and momenta (C, B, D) after some leapfrog steps under unit masses.

    Args:
        densities: Of the path.
        chain: Where it starts.
        momentum: (C, B, D).
        beta: Inverse temperature.
        step_size: (B,).
        steps: How many, L; each takes one gradient.

    Reference: Neal, 2011, equations 5.18 to 5.20.
    """
    step = step_size[None, :, None]

    def move(count: Tensor, chain: Chain, momentum: Tensor) -> tuple[Tensor, Chain, Tensor]:
        momentum += 0.5 * step * chain.slope(beta)
        chain = at(densities, chain.z + step * momentum)
        return count + 1, chain, momentum + 0.5 * step * chain.slope(beta)

    start = (tf.constant(0), chain, momentum)
    _, chain, momentum = tf.while_loop(
        lambda count, *_: count < steps, move, start, parallel_iterations=1
    )
    return chain, momentum


def transition(
    densities: Densities, chain: Chain, beta: Tensor, step_size: Tensor, steps: Any, noise: Tensor
) -> tuple[Chain, Tensor]:
    """Returns the chains after one Hamiltonian transition, and the chances of acceptance (C, B).

    It leaves f_beta invariant, and is its own reversal.

    Args:
        densities: Of the path.
        chain: Where the chains are.
        beta: Inverse temperature.
        step_size: (B,).
        steps: Leapfrog steps.
        noise: Standard normal, (C, B, D + 2): D for the momenta, two to accept by.

    Reference: Neal, 2011, section 5.3.2.
    """
    momentum, rest = noise[..., :-2], noise[..., -2:]
    # Half the sum of two squared normals is exponential, as the negative log of a uniform is.
    threshold = -0.5 * tf.reduce_sum(tf.square(rest), -1)
    proposal, moved = leapfrog(densities, chain, momentum, beta, step_size, steps)

    def energy(chain: Chain, momentum: Tensor) -> Tensor:
        return 0.5 * tf.reduce_sum(tf.square(momentum), -1) - chain.log_density(beta)

    gain = energy(chain, momentum) - energy(proposal, moved)
    gain = tf.where(tf.math.is_nan(gain), -float("inf"), gain)  # diverged: stay

    def chosen(new: Tensor, old: Tensor) -> Tensor:
        accepted = gain > threshold
        return tf.where(accepted if new.shape.rank == 2 else accepted[..., None], new, old)

    chain = Chain(*(chosen(new, old) for new, old in zip(proposal, chain, strict=True)))
    return chain, tf.exp(tf.minimum(gain, 0.0))


class StepSizes(NamedTuple):
    """How far the leapfrog steps go, as a pilot run found them.

    Attributes:
        sizes: (T, B), for the transitions at the inverse temperatures 1..T of the schedule.
        acceptance: The pilot's mean chance of acceptance on the path, (B,).
    """

    sizes: Tensor
    acceptance: Tensor


def pilot(
    densities: Densities, z: Tensor, betas: Tensor, steps: Tensor | int, noise: Noise
) -> StepSizes:
    """Returns step sizes at which about 0.65 of the proposals are accepted.

    A run of its own, with noise of its own: the run that makes the estimate finds the sizes fixed,
    so its transitions keep detailed balance and its weights are unbiased. After each transition the
    log step size moves by 0.2 (acceptance - 0.65), rounded to a sixteenth, by example.

    Args:
        densities: Of the path.
        z: Draws of f_0, (C, B, D).
        betas: The schedule, (T + 1,).
        steps: Leapfrog steps of a transition.
        noise: Of the pilot alone.
    """
    targets = tf.concat([tf.fill([SETTLING], betas[1]), betas[1:]], 0)
    total = tf.shape(targets)[0]

    def step(count: Tensor, chain: Chain, log_size: Tensor, sizes: Any, accepted: Tensor) -> Any:
        size = tf.exp(log_size)
        chain, chances = transition(densities, chain, targets[count], size, steps, noise(count))
        chance = tf.reduce_mean(chances, 0)
        moved = log_size + GRID * tf.round(RATE / GRID * (chance - ACCEPTANCE))
        accepted += tf.where(count < SETTLING, 0.0, chance)
        return count + 1, chain, moved, sizes.write(count, size), accepted

    batch = tf.shape(z)[1:2]
    start = (
        tf.constant(0),
        at(densities, z),
        tf.fill(batch, tf.math.log(FIRST_STEP)),
        tf.TensorArray(tf.float32, total),
        tf.zeros(batch),
    )
    *_, sizes, accepted = tf.while_loop(
        lambda count, *_: count < total, step, start, parallel_iterations=1
    )
    sizes = sizes.stack()[SETTLING:]
    return StepSizes(sizes, accepted / tf.cast(tf.shape(sizes)[0], tf.float32))


def anneal(
    densities: Densities,
    z: Tensor,
    betas: Tensor,
    sizes: Tensor,
    steps: Tensor | int,
    noise: Noise,
) -> Tensor:
    """Returns log-weights whose exponentials have the mean p(x), (C, B).

    Args:
        densities: Of the path.
        z: Draws of f_0, (C, B, D).
        betas: The schedule, (T + 1,).
        sizes: Step sizes, (T, B), which may not depend on `z` or `noise`.
        steps: Leapfrog steps of a transition.
        noise: Of this run.

    Reference: Neal, 2001, equation 3 and section 3.
    """
    return _run(densities, z, betas[1:] - betas[:-1], betas[1:], sizes, steps, noise)


def reverse(
    densities: Densities,
    z: Tensor,
    betas: Tensor,
    sizes: Tensor,
    steps: Tensor | int,
    noise: Noise,
) -> Tensor:
    """Returns log-weights w of which the mean of exp(-w) is 1 / p(x), (C, B).

    The same path backwards, from an exact draw of the posterior, as data that the model simulated
    has one. Then -log of the mean of exp(-w) is an upper bound on log p(x) in expectation.

    Args:
        densities: Of the path.
        z: The draw each example was simulated from, (C, B, D).
        betas: The schedule, (T + 1,), from 0 to 1 as `anneal` takes it.
        sizes: Step sizes, (T, B), as `anneal` takes them.
        steps: Leapfrog steps of a transition.
        noise: Of this run.

    Reference: Grosse, Ghahramani and Adams, Sandwiching the Marginal Likelihood Using Bidirectional
    Monte Carlo, 2015, section 3.
    """
    increments = tf.reverse(betas[1:] - betas[:-1], [0])
    # The transition after the last increment changes nothing; it takes whatever size there is.
    sizes = tf.concat([tf.reverse(sizes[:-1], [0]), sizes[:1]], 0)
    return _run(densities, z, increments, tf.reverse(betas[:-1], [0]), sizes, steps, noise)


def _run(
    densities: Densities,
    z: Tensor,
    increments: Tensor,
    targets: Tensor,
    sizes: Tensor,
    steps: Tensor | int,
    noise: Noise,
) -> Tensor:
    """Returns the summed log-weights, (C, B): weigh, then move, T times over."""
    total = tf.shape(increments)[0]

    def step(count: Tensor, chain: Chain, log_weights: Tensor) -> Any:
        log_weights += increments[count] * chain.log_ratio
        turn = noise(count)
        chain, _ = transition(densities, chain, targets[count], sizes[count], steps, turn)
        return count + 1, chain, log_weights

    chain = at(densities, z)
    *_, log_weights = tf.while_loop(
        lambda count, *_: count < total,
        step,
        (tf.constant(0), chain, tf.zeros_like(chain.log_ratio)),
        parallel_iterations=1,
    )
    return log_weights
