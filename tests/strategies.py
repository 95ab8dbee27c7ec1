"""The table of every registered strategy. It drives the conformance tests.

A new strategy is one line here. `tests/test_conformance.py` fails when a registered class is
missing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import keras_vae as kv

EVENT_SHAPE = (6,)
LATENT_DIM = 2


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
        slow: Whether another member stands for it in the quicker runs of the tests.
    """

    family: str
    name: str
    make: Callable[[], Any]
    others: dict[str, Any] = field(default_factory=dict)
    event_shape: tuple[int, ...] = EVENT_SHAPE
    label: str = ""
    slow: bool = False

    @property
    def id(self) -> str:
        return "-".join(filter(None, (self.family, self.name, self.label)))


AUTOENCODER = {"objective": "reconstruction"}
NORMALS = [
    Member("likelihood", "normal", lambda v=v: kv.likelihoods.Normal(v, stddev=0.8), label=v)
    for v in ("fixed", "learned", "shared", "optimal")
]
TABLE = [
    Member("likelihood", "bernoulli", kv.likelihoods.Bernoulli),
    *NORMALS,
    Member("posterior", "diagonal_normal", kv.posteriors.DiagonalNormal),
    Member("posterior", "point", kv.posteriors.Point, AUTOENCODER),
    Member("prior", "standard_normal", kv.priors.StandardNormal),
    Member("latent", "single", lambda: kv.latents.Single(3, "diagonal_normal")),
    Member("objective", "elbo", lambda: kv.objectives.ELBO(beta=0.5, samples=2)),
    Member("objective", "reconstruction", kv.objectives.Reconstruction),
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
        Member("network", name, make, event_shape=shape, label=label, slow=True)
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


def events(member: Member, count: int = 20) -> np.ndarray:
    """Returns events that every likelihood's support holds, (count, E), float32."""
    rng = np.random.default_rng(5)
    return (rng.random((count, *member.event_shape)) < 0.5).astype("float32")
