"""Parts drawn at random from the one table: they compose and train, or are refused in words."""

import dataclasses
import itertools
from typing import NamedTuple

import keras
import numpy as np
import pytest
from strategies import EVENT_SHAPE, LATENT_DIM, TABLE, Member, events

import keras_vae as kv

SEED, QUICK, SLOW = 11, 8, 60
FAMILIES = ("likelihood", "posterior", "prior", "objective", "network")
#: Those that ask for a condition are tried in tests/test_conditions.py.
ALONE = [member for member in TABLE if "condition" not in member.others]
MEMBERS = {family: [m for m in ALONE if m.family == family] for family in FAMILIES}


class Combination(NamedTuple):
    """One member of each family."""

    likelihood: Member
    posterior: Member
    prior: Member
    objective: Member
    network: Member

    @property
    def id(self):
        return "/".join("-".join(filter(None, (m.name, m.label))) for m in self)

    @property
    def event_shape(self):
        """The likelihood's shape where it asks for one, else the network's."""
        own = self.likelihood.event_shape
        return self.network.event_shape if own == EVENT_SHAPE else own

    def compose(self):
        parts = {family: getattr(self, family).make() for family in FAMILIES}
        return kv.VAE(self.event_shape, LATENT_DIM, **parts)

    def refusal(self):
        """The sentence that the combination is refused with, or None."""
        objective, prior = self.objective.make(), self.prior.make()
        if (objective.needs | prior.needs) - self.posterior.make().offers:
            return f"needs a posterior that offers .*{self.posterior.name!r} does not"
        if not objective.trains_prior and self.prior.name != "standard_normal":
            return f"{objective.short_name!r} does not train the prior, and {prior.short_name!r}"
        return None


def cycle(members, rng):
    """Yields members without end: all of them once in random order, then anew."""
    while True:
        yield from (members[place] for place in rng.permutation(len(members)))


def fits(combination):
    """Whether likelihood and network can have one event shape."""
    likelihood, network = combination.likelihood, combination.network
    shapes = likelihood.event_shape, network.event_shape
    if likelihood.name in ("joint", "table"):  # their blocks are of six columns
        return network.event_shape == EVENT_SHAPE
    return EVENT_SHAPE in shapes or len(shapes[0]) == len(shapes[1])


def drawn(count):
    """Combinations that are not refused, drawn by seed; every member comes as often as others."""
    rng = np.random.default_rng(SEED)
    cycles = [cycle(MEMBERS[family], rng) for family in FAMILIES]
    found = []
    while len(found) < count:
        one = Combination(*(next(each) for each in cycles))
        if fits(one) and not one.refusal() and one not in found:
            found.append(one)
    return found


@pytest.mark.parametrize(
    "combination",
    [
        pytest.param(one, id=one.id, marks=[] if number < QUICK else [pytest.mark.slow])
        for number, one in enumerate(drawn(QUICK + SLOW))
    ],
)
def test_a_combination_trains_saves_and_loads(combination, tmp_path):
    vae = combination.compose()
    x = events(dataclasses.replace(combination.likelihood, event_shape=combination.event_shape), 8)
    vae.adapt(x)
    vae.compile(keras.optimizers.Adam(0.01))
    logs = vae.fit(x, batch_size=8, epochs=1, verbose=0).history
    assert all(np.isfinite(values).all() for values in logs.values())
    vae.save(tmp_path / "model.keras")
    loaded = kv.load(tmp_path / "model.keras")
    assert [v.path for v in loaded.weights] == [v.path for v in vae.weights]
    for one, other in zip(vae.weights, loaded.weights):
        np.testing.assert_array_equal(other.numpy(), one.numpy())
    np.testing.assert_array_equal(loaded.reconstruct(x), vae.reconstruct(x))
    np.testing.assert_array_equal(loaded.sample(3, seed=1).z, vae.sample(3, seed=1).z)


def test_every_posterior_and_prior_is_among_the_quick_and_slow_combinations():
    found = drawn(QUICK + SLOW)
    for family in FAMILIES:
        assert {getattr(one, family).id for one in found} == {m.id for m in MEMBERS[family]}


def test_every_combination_of_latents_and_objective_that_is_refused_says_why():
    network = next(m for m in MEMBERS["network"] if m.name == "dense")
    latents = itertools.product(*(MEMBERS[family] for family in FAMILIES[1:4]))
    every = [Combination(MEMBERS["likelihood"][0], *parts, network) for parts in latents]
    refused = [one for one in every if one.refusal()]
    assert 0 < len(refused) < len(every)
    for one in refused:
        with pytest.raises(ValueError, match=one.refusal()):
            one.compose()


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        (
            {"objective": "elbo", "posterior": "point"},
            "objective 'elbo' needs a posterior that offers density, which 'point' does not",
        ),
        (
            {"objective": "reconstruction", "posterior": "point", "prior": "vamp:components=2"},
            "prior 'vamp' needs a posterior that offers density, which 'point' does not",
        ),
        (
            {"objective": "reconstruction", "prior": "mixture"},
            "'reconstruction' does not train the prior, and 'mixture' has weights to train",
        ),
    ],
)
def test_pairs_that_cannot_work_are_refused_in_words(parts, sentence):
    with pytest.raises(ValueError, match=sentence):
        kv.VAE(EVENT_SHAPE, LATENT_DIM, **parts)
