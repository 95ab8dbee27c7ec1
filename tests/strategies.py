"""The table of every registered strategy. It drives the conformance tests.

A new strategy is one line here. `tests/test_conformance.py` fails when a registered class is
missing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

import keras_vae as kv

EVENT_SHAPE = (6,)
LATENT_DIM = 2


#: The members that stand for their families in the quicker runs of the tests.
REPRESENTATIVES = {
    *(f"likelihood-{name}" for name in ("bernoulli", "normal-optimal", "discretized_logistic")),
    "likelihood-joint",
    *(f"posterior-{name}" for name in ("diagonal_normal", "point", "autoregressive_flow")),
    *(f"prior-{name}" for name in ("standard_normal", "vamp")),
    "condition-vector",
    "latent-single",
    *(f"objective-{name}" for name in ("elbo", "reconstruction", "iwae-dreg", "piwae")),
    *(f"objective-{name}" for name in ("total_correlation", "factor")),
    "schedule-linear",
    *(f"network-{name}" for name in ("dense", "conv")),
}


@dataclass(frozen=True)
class Member:
    """One strategy as the tests compose it.

    Attributes:
        family: Its family.
        name: Its registered name.
        make: Makes the instance.
        others: Other arguments of the `VAE` it is composed into.
        event_shape: The event it is tried on.
        label: Tells members of one class apart.
    """

    family: str
    name: str
    make: Callable[[], Any]
    others: dict[str, Any] = field(default_factory=dict)
    event_shape: tuple[int, ...] = EVENT_SHAPE
    label: str = ""

    @property
    def id(self) -> str:
        return "-".join(filter(None, (self.family, self.name, self.label)))

    @property
    def slow(self) -> bool:
        """Whether another member stands for it in the quicker runs of the tests."""
        return self.id not in REPRESENTATIVES


AUTOENCODER = {"objective": "reconstruction"}
NORMALS = [
    Member("likelihood", "normal", lambda v=v: kv.likelihoods.Normal(v, stddev=0.8), label=v)
    for v in ("fixed", "learned", "shared", "optimal")
]
LIKELIHOODS = kv.likelihoods
COLUMNS = [
    {"name": "size", "kind": "real", "dtype": "float64", "mean": 3.0, "stddev": 2.0},
    *({"name": name, "kind": "count", "dtype": "int64"} for name in "abc"),
    {"name": "sex", "kind": "binary", "dtype": "str", "categories": ["f", "m"], "ordered": False},
    {
        "name": "grade",
        "kind": "categorical",
        "dtype": "category",
        "categories": ["low", "middle", "high"],
        "ordered": True,
    },
]
JOINT = (["normal:variance=optimal", "categorical:num_classes=3", "poisson"], (2, 3, 1))
TABLE = [
    Member("likelihood", "bernoulli", LIKELIHOODS.Bernoulli),
    *NORMALS,
    Member("likelihood", "laplace", LIKELIHOODS.Laplace),
    Member("likelihood", "student_t", lambda: LIKELIHOODS.StudentT(None, "shared")),
    Member("likelihood", "continuous_bernoulli", LIKELIHOODS.ContinuousBernoulli),
    Member("likelihood", "beta", LIKELIHOODS.Beta),
    Member("likelihood", "categorical", lambda: LIKELIHOODS.Categorical(3)),
    Member("likelihood", "categorical", lambda: LIKELIHOODS.Categorical(6, True), label="one_hot"),
    Member("likelihood", "discretized_logistic", lambda: LIKELIHOODS.DiscretizedLogistic(16)),
    Member(
        "likelihood",
        "logistic_mixture",
        lambda: LIKELIHOODS.LogisticMixture(2, 16),
        event_shape=(2, 2, 3),
    ),
    Member("likelihood", "poisson", LIKELIHOODS.Poisson),
    Member("likelihood", "negative_binomial", LIKELIHOODS.NegativeBinomial),
    Member(
        "likelihood",
        "zero_inflated_negative_binomial",
        lambda: LIKELIHOODS.ZeroInflatedNegativeBinomial("learned"),
    ),
    Member("likelihood", "joint", lambda: LIKELIHOODS.Joint(*JOINT)),
    Member("likelihood", "table", lambda: LIKELIHOODS.Table(COLUMNS)),
    Member("posterior", "diagonal_normal", kv.posteriors.DiagonalNormal),
    Member("posterior", "point", kv.posteriors.Point, AUTOENCODER),
    Member("posterior", "full_normal", kv.posteriors.FullNormal),
    Member("posterior", "low_rank_normal", lambda: kv.posteriors.LowRankNormal(rank=1)),
    Member(
        "posterior",
        "autoregressive_flow",
        lambda: kv.posteriors.AutoregressiveFlow(steps=2, widths=8, context=4),
    ),
    Member("prior", "standard_normal", kv.priors.StandardNormal),
    Member("prior", "conditional_normal", kv.priors.ConditionalNormal, {"condition": 3}),
    Member("prior", "vamp", lambda: kv.priors.Vamp(4), {"condition": 3}, label="conditional"),
    Member("prior", "mixture", lambda: kv.priors.Mixture(3)),
    Member("prior", "mixture", lambda: kv.priors.Mixture(3, "diagonal"), label="diagonal"),
    Member("prior", "vamp", lambda: kv.priors.Vamp(4, learned_weights=True)),
    Member("prior", "flow", lambda: kv.priors.Flow(steps=2, widths=8)),
    Member("condition", "classes", lambda: kv.conditions.Classes(3)),
    Member(
        "condition",
        "vector",
        lambda: kv.conditions.Vector(3),
        {"prior": "conditional_normal"},
    ),
    Member("latent", "single", lambda: kv.latents.Single(3, "diagonal_normal")),
    Member("objective", "elbo", lambda: kv.objectives.ELBO(beta=0.5, samples=2)),
    Member("objective", "reconstruction", kv.objectives.Reconstruction),
    *(
        Member("objective", "elbo", lambda o=options: kv.objectives.ELBO(**o), label=label)
        for label, options in {
            "capacity": {"capacity": "linear(steps=50)", "beta": 4.0},
            "free-bits": {"free_bits": 0.1, "per_example": True},
            "sticking": {"gradient": "sticking_the_landing", "samples": 2},
        }.items()
    ),
    Member("objective", "iwae", lambda: kv.objectives.IWAE(3)),
    Member("objective", "iwae", lambda: kv.objectives.IWAE(3, "dreg"), label="dreg"),
    Member("objective", "miwae", lambda: kv.objectives.MIWAE(2, 3)),
    Member("objective", "piwae", lambda: kv.objectives.PIWAE(2, 3)),
    Member("objective", "ciwae", lambda: kv.objectives.CIWAE(0.3, 3)),
    Member("objective", "total_correlation", kv.objectives.TotalCorrelation),
    Member(
        "objective",
        "total_correlation",
        lambda: kv.objectives.TotalCorrelation(2.0, sampling="weighted", data_size=100),
        label="weighted",
    ),
    Member("objective", "dip", kv.objectives.DIP),
    Member("objective", "dip", lambda: kv.objectives.DIP(1, 2.0, "linear(steps=7)"), label="I"),
    Member("objective", "mmd", lambda: kv.objectives.MMD(10.0, 0.5, "rbf")),
    Member("objective", "mmd", kv.objectives.MMD, {"posterior": "point"}, label="wae"),
    Member("objective", "factor", lambda: kv.objectives.Factor(3.0, 8)),
    Member("schedule", "constant", lambda: kv.schedules.Constant(0.5)),
    Member("schedule", "linear", lambda: kv.schedules.Linear(0.0, 1.0, steps=7)),
    Member("schedule", "cosine", lambda: kv.schedules.Cosine(0.0, 1.0, steps=7)),
    Member("schedule", "sigmoid", lambda: kv.schedules.Sigmoid(0.0, 1.0, steps=7)),
    Member("schedule", "cyclical", lambda: kv.schedules.Cyclical(0.0, 1.0, steps=4, cycles=2)),
    Member("network", "dense", lambda: kv.networks.Dense((8,), "tanh")),
    Member("network", "conv", lambda: kv.networks.Conv((3, 4), 8), event_shape=(5, 6, 2)),
    Member(
        "network",
        "resnet",
        lambda: kv.networks.ResNet(8, 1, 8, normalization="group"),
        event_shape=(5, 6, 2),
    ),
    *(
        Member("network", name, make, event_shape=shape, label=label)
        for name, make, shape, label in [
            ("dense", lambda: kv.networks.Dense(8, normalization="group"), (6,), "group"),
            ("conv", lambda: kv.networks.Conv(3, 8, normalization="batch"), (1, 17, 1), "batch"),
            ("conv", lambda: kv.networks.Conv(3, 8, normalization="layer"), (7, 2), "sequence"),
            ("resnet", lambda: kv.networks.ResNet(4, 2, 8, "tanh", "batch"), (7, 2), "sequence"),
            ("resnet", lambda: kv.networks.ResNet(8, 1, 4, normalization=None), (6,), "vector"),
        ]
    ),
]


def compose(member: Member, **more: Any) -> kv.VAE:
    """Returns a tiny VAE with the member in its place and defaults around it."""
    arguments: dict[str, Any] = {
        "latent_dim": LATENT_DIM,
        "network": "dense:widths=[8]",
        **member.others,
    }
    instance = member.make()
    if member.family == "schedule":
        arguments["objective"] = kv.objectives.ELBO(beta=instance)
    else:
        arguments[member.family] = instance
    if member.family == "latent":
        del arguments["latent_dim"]
    return kv.VAE(member.event_shape, **{**arguments, **more})


def events(member: Member, count: int = 20) -> Any:
    """Returns events within the support of the member's likelihood, (count, E), float32.

    Of a model with a condition they come with one, as a mapping.
    """
    x = bare_events(member, count)
    width = getattr(member.make(), "width", None) if member.family == "condition" else None
    if member.family != "condition" and "condition" not in member.others:
        return x
    classes = np.arange(count) % 3
    return {"x": x, "condition": np.eye(3, dtype="float32")[classes] if width else classes}


def sided(vae: kv.VAE, x: Any) -> kv._types.Inputs:
    """Returns events, as `events` gives them, as the graph takes them."""
    rows = {name: tf.constant(array) for name, array in vae._sided(x).items()}
    return kv._types.Inputs(rows.pop("x"), None, vae._encoded(rows))


def bare_events(member: Member, count: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    bits = (rng.random((count, *member.event_shape)) < 0.5).astype("float32")
    likelihood = member.id.removeprefix("likelihood-")
    return EVENTS.get(likelihood, lambda bits, rng: bits)(bits, rng).astype("float32")


def _between(bits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 0.05 + 0.8 * bits + 0.1 * rng.random(bits.shape)


def _classes(bits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return bits + (rng.random(bits.shape) < 0.5)


def _counts(bits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return bits * rng.integers(0, 50, bits.shape)


#: Likelihood -> what makes bits (n, E) events of its own support, where bits would leave most of
#: it untried or lie outside.
EVENTS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "beta": _between,
    "continuous_bernoulli": _between,
    "categorical": _classes,
    "categorical-one_hot": lambda bits, rng: np.eye(6)[rng.integers(0, 6, len(bits))],
    "discretized_logistic": lambda bits, rng: 15.0 * bits,
    "logistic_mixture": lambda bits, rng: 7.0 * bits + rng.integers(0, 9, bits.shape),
    "poisson": _counts,
    "negative_binomial": _counts,
    "zero_inflated_negative_binomial": _counts,
}
