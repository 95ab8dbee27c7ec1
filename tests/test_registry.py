"""Strategies are found by name, options, class, config or instance, and refused in words."""

import json

import keras
import numpy as np
import pytest

import keras_vae as kv
from keras_vae import _registry
from keras_vae._parts import Part
from keras_vae._registry import Configurable, register

pytestmark = pytest.mark.quick

FAMILIES = ("likelihood", "posterior", "prior", "latent", "objective", "schedule", "network")


@pytest.fixture
def family():
    """The name of a family that is forgotten again, as is what Keras was told of it."""
    objects = keras.saving.get_custom_objects()
    before = dict(objects)
    yield "toy"
    _registry._FAMILIES.pop("toy", None)
    objects.clear()
    objects.update(before)


def serialized(instance):
    return keras.saving.serialize_keras_object(instance)


def restored(instance):
    return keras.saving.deserialize_keras_object(serialized(instance))


def class_called(name, qualname=None):
    class Made(Configurable):
        def __init__(self, size=1):
            self.size = size

    Made.__name__, Made.__qualname__ = name, qualname or name
    return Made


# parse


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("normal", "normal", {}),
        ("  normal  ", "normal", {}),
        ("normal()", "normal", {}),
        ("normal:", "normal", {}),
        ("normal:variance=shared", "normal", {"variance": "shared"}),
        ("normal(variance=shared)", "normal", {"variance": "shared"}),
        ("normal( stddev = 0.5 , )", "normal", {"stddev": 0.5}),
        ("dense:widths=[8, 4],activation=relu", "dense", {"widths": [8, 4], "activation": "relu"}),
        ("dense(widths=(8,),activation='relu')", "dense", {"widths": (8,), "activation": "relu"}),
        ("elbo:beta=linear(start=0,steps=9),samples=2", "elbo", None),
        ("elbo(beta=linear(start=0,steps=9),samples=2)", "elbo", None),
    ],
)
def test_a_text_splits_into_name_and_options(text, name, options):
    if options is None:
        options = {"beta": "linear(start=0,steps=9)", "samples": 2}
    assert _registry.parse(text) == (name, options)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-1", -1),
        ("1e-3", 0.001),
        ("True", True),
        ("false", False),
        ("None", None),
        ("none", None),
        ("[1,2]", [1, 2]),
        ("'a b'", "a b"),
        ("shared", "shared"),
        ("a=b", "a=b"),
    ],
)
def test_values_are_literals_or_words(text, value):
    _, options = _registry.parse(f"name:key={text}")
    assert options == {"key": value}
    assert type(options["key"]) is type(value)


@pytest.mark.parametrize("text", ["", "a b", "normal(variance=shared", "a-b", "(x=1)"])
def test_a_text_that_is_no_name_is_refused(text):
    with pytest.raises(ValueError, match="expected name or name:key=value") as caught:
        _registry.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["normal:shared", "normal(stddev=1,shared)", "normal:=shared"])
def test_an_option_without_a_value_is_refused(text):
    with pytest.raises(ValueError, match="shared'.*has no value; expected key=value"):
        _registry.parse(text)


# get


def test_names_and_members_agree():
    for family in FAMILIES:
        members = _registry.members(family)
        assert _registry.names(family) == sorted(members)
        assert all(cls.short_name == name for name, cls in members.items())
    assert {"bernoulli", "normal"} <= set(_registry.names("likelihood"))
    assert _registry.names("no such family") == []


def test_members_is_a_copy():
    _registry.members("likelihood").clear()
    assert "normal" in _registry.names("likelihood")


def test_a_name_gives_a_new_instance_with_defaults():
    one, other = _registry.get("likelihood", "normal"), _registry.get("likelihood", "normal")
    assert type(one) is kv.likelihoods.Normal
    assert one is not other
    assert one.get_config() == kv.likelihoods.Normal().get_config()


@pytest.mark.parametrize(
    "text", ["normal:variance=shared,stddev=0.5", "normal(stddev=0.5,variance=shared)"]
)
def test_a_name_with_options_sets_them(text):
    likelihood = _registry.get("likelihood", text)
    assert (likelihood.variance, likelihood.stddev) == ("shared", 0.5)


@pytest.mark.parametrize(
    "text",
    [
        "elbo:beta=linear(start=0.5,end=2,steps=9),samples=3",
        "elbo(samples=3,beta=linear(start=0.5,end=2,steps=9))",
    ],
)
def test_options_may_nest(text):
    objective = _registry.get("objective", text)
    assert objective.beta == kv.schedules.Linear(0.5, 2.0, 9)
    assert objective.samples == 3


def test_a_latent_model_takes_its_parts_by_name():
    latent = _registry.get("latent", "single:latent_dim=3,posterior=point")
    assert latent.latent_dim == 3
    assert type(latent.posterior) is kv.posteriors.Point
    assert type(latent.prior) is kv.priors.StandardNormal


def test_a_class_gives_an_instance():
    assert type(_registry.get("likelihood", kv.likelihoods.Normal)) is kv.likelihoods.Normal


def test_a_class_with_missing_arguments_says_which():
    with pytest.raises((ValueError, TypeError), match="latent_dim"):
        _registry.get("latent", kv.latents.Single)


def test_an_instance_is_passed_through():
    likelihood = kv.likelihoods.Normal("shared")
    assert _registry.get("likelihood", likelihood) is likelihood


def test_an_instance_of_a_registered_subclass_is_passed_through():
    @register("likelihood", "louder")
    class Louder(kv.likelihoods.Normal):
        pass

    louder = Louder()
    assert _registry.get("likelihood", louder) is louder


def test_a_config_gives_an_equal_instance():
    config = serialized(kv.likelihoods.Normal("shared", stddev=0.25))
    likelihood = _registry.get("likelihood", config)
    assert type(likelihood) is kv.likelihoods.Normal
    assert serialized(likelihood) == config


# refusals


@pytest.mark.parametrize(
    ("family", "text", "words"),
    [
        ("likelihood", "norml", "Did you mean 'normal'"),
        ("posterior", "diagonal", "Did you mean 'diagonal_normal'"),
        ("schedule", "linaer", "Did you mean 'linear'"),
        ("objective", "elbow:beta=2", "Did you mean 'elbo'"),
        ("network", "Conv", "Did you mean 'conv'"),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones_and_a_near_match(family, text, words):
    with pytest.raises(ValueError, match=words) as caught:
        _registry.get(family, text)
    message = str(caught.value)
    assert message.startswith(f"Unknown {family} {text.partition(':')[0]!r}; expected one of ")
    assert all(name in message for name in _registry.names(family))


def test_an_unknown_name_far_from_all_gets_no_guess():
    with pytest.raises(ValueError, match="Unknown likelihood 'zzz'") as caught:
        _registry.get("likelihood", "zzz")
    assert "Did you mean" not in str(caught.value)


def test_an_unknown_option_is_answered_with_the_known_ones_and_a_near_match():
    with pytest.raises(ValueError, match="has no option 'varianc'") as caught:
        _registry.get("likelihood", "normal:varianc=shared")
    message = str(caught.value)
    assert message.endswith("Did you mean 'variance'?")
    assert all(option in message for option in ("stddev", "minimum_stddev", "momentum"))


def test_an_option_for_a_strategy_without_any_is_refused():
    with pytest.raises(ValueError, match="'point' has no option 'spread'; expected none"):
        _registry.get("posterior", "point:spread=1")


def test_missing_options_are_named():
    with pytest.raises(ValueError, match="lacks latent_dim; expected single:latent_dim=") as caught:
        _registry.get("latent", "single:posterior=point")
    assert str(caught.value).startswith("latent 'single'")


@pytest.mark.parametrize("received", [None, 3, 1.5, ["normal"], {"name": "normal"}, object, len])
def test_an_object_of_another_kind_is_refused_with_the_known_names(received):
    with pytest.raises(TypeError, match="expected a name") as caught:
        _registry.get("likelihood", received)
    message = str(caught.value)
    assert message.startswith("likelihood is ")
    assert type(received).__name__ in message
    assert ", ".join(_registry.names("likelihood")) in message


def test_a_member_of_another_family_is_refused_as_instance_class_and_config():
    prior = kv.priors.StandardNormal()
    for received in (prior, kv.priors.StandardNormal, serialized(prior)):
        with pytest.raises(TypeError, match="likelihood is .*StandardNormal"):
            _registry.get("likelihood", received)


@pytest.mark.parametrize(
    "config",
    [
        {"class_name": "x"},
        {"class_name": "x", "config": {}},
        {"class_name": "ELBO", "config": [], "module": 3},
        {"class_name": "ELBO", "config": {}, "module": "no_such_module"},
        {**serialized(kv.objectives.ELBO()), "config": {"no_such_option": 3}},
        {**serialized(kv.objectives.ELBO()), "config": {"beta": -1}},
    ],
)
def test_a_config_that_keras_cannot_read_is_refused(config):
    with pytest.raises(ValueError, match="objective is .*; expected") as caught:
        _registry.get("objective", config)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("elbo", {}),
        ("elbo", {"beta": "linear(start=0,steps=9)", "samples": 3}),
        ("dense", {"widths": [8, 4], "activation": "relu"}),
        ("own", {"word": "3", "nothing": None, "yes": True, "rate": 0.5}),
    ],
)
def test_what_is_written_parses_to_the_same(name, options):
    assert _registry.parse(_registry.unparse(name, options)) == (name, options)


# register


def test_a_registered_class_is_found_under_its_name(family):
    @register(family, "own")
    class Own(Configurable):
        def __init__(self, size=2):
            self.size = size

    assert Own.short_name == "own"
    assert _registry.names(family) == ["own"]
    assert _registry.get(family, "own:size=5").size == 5
    assert serialized(Own())["registered_name"] == f"keras_vae>{family}.own"
    assert restored(Own(7)).size == 7


def test_a_strategy_without_a_constructor_has_an_empty_config(family):
    @register(family, "half")
    class Half(kv.schedules.Schedule):
        def _value(self, step):
            return 0.5

    assert Half().get_config() == {}
    assert restored(Half()) == Half()


def test_the_public_register_is_the_same_function():
    assert kv.register is register


def test_a_second_class_for_a_name_is_refused_and_changes_nothing(family):
    first = register(family, "taken")(class_called("First"))
    with pytest.raises(
        ValueError, match="'taken' is .*First already; expected a new name"
    ) as caught:
        register(family, "taken")(class_called("Second"))
    assert "Second" in str(caught.value)
    assert type(_registry.get(family, "taken")) is first


def test_a_class_may_be_defined_anew_as_in_a_notebook(family):
    register(family, "cell")(class_called("Cell"))
    again = register(family, "cell")(class_called("Cell"))
    assert type(_registry.get(family, "cell")) is again
    assert type(restored(again())) is again


def test_one_name_may_serve_in_two_families(family):
    own = register(family, "normal")(class_called("OwnNormal"))
    assert type(_registry.get(family, "normal")) is own
    assert type(_registry.get("likelihood", "normal")) is kv.likelihoods.Normal


def test_two_classes_called_the_same_never_load_as_one_another(family):
    first = register(family, "one")(class_called("Same", "module_a.Same"))
    try:
        register(family, "two")(class_called("Same", "module_b.Same"))
    except ValueError as refusal:
        assert "Same" in str(refusal)
    assert type(restored(first())) is first


# configs


@pytest.mark.parametrize(
    "make",
    [
        lambda: kv.likelihoods.Normal("learned", 0.5, 1e-2, 0.9),
        lambda: kv.likelihoods.Bernoulli(),
        lambda: kv.latents.Single(3, "point", "standard_normal"),
        lambda: kv.objectives.ELBO(beta="linear:steps=5", samples=2),
        lambda: kv.objectives.ELBO(beta=0.5),
        lambda: kv.schedules.Sigmoid(0.1, 0.7, 9, 4.0),
        lambda: kv.networks.Dense([8, 4], "relu"),
        lambda: kv.networks.Conv([3, 4], 8),
        lambda: kv.networks.Conv(),
    ],
)
def test_a_config_round_trips(make):
    instance = make()
    again = restored(instance)
    assert type(again) is type(instance)
    assert again is not instance
    assert serialized(again) == serialized(instance)


def test_a_config_round_trips_through_json():
    instance = kv.objectives.ELBO(beta=kv.schedules.Cosine(0.0, 2.0, 30), samples=2)
    config = json.loads(json.dumps(serialized(instance)))
    assert _registry.get("objective", config).beta == kv.schedules.Cosine(0.0, 2.0, 30)


@pytest.mark.parametrize("widths", [(8, 4), [8, 4], (8,)])
def test_tuples_stay_tuples(widths):
    assert restored(kv.networks.Dense(widths)).widths == tuple(widths)
    assert restored(kv.networks.Conv(widths)).filters == tuple(widths)


def test_schedules_stay_schedules():
    beta = kv.schedules.Cyclical(0.0, 2.0, steps=8, cycles=2, ramp=0.25)
    again = restored(kv.objectives.ELBO(beta=beta))
    assert again.beta == beta
    assert type(again.beta) is kv.schedules.Cyclical
    assert again.terms == ("reconstruction_loss", "kl_loss", "beta")


def test_a_frozen_part_stays_frozen():
    likelihood = kv.likelihoods.Normal("shared")
    assert "trainable" not in likelihood.get_config()
    likelihood.trainable = False
    assert likelihood.get_config()["trainable"] is False
    again = restored(likelihood)
    assert again.trainable is False
    again.setup((3,))
    assert again.trainable_variables == []
    assert len(again.non_trainable_variables) == 1


def test_a_frozen_part_inside_a_latent_model_stays_frozen():
    latent = kv.latents.Single(2)
    latent.posterior.trainable = False
    again = restored(latent)
    assert again.posterior.trainable is False
    assert again.prior.trainable is True
    assert again.trainable is True


def test_a_part_makes_its_weights_once(family):
    @register(family, "weighty")
    class Weighty(Part):
        shapes = ("size",)

        def __init__(self, scale=1.0):
            super().__init__()
            self.scale = scale

        def _setup(self, size):
            self.values = self.add_weight(name="values", shape=(size,), initializer="ones")

    part = _registry.get(family, "weighty:scale=2.5")
    assert not part.built
    part.setup(3)
    part.values.assign([1.0, 2.0, 3.0])
    part.setup(3)
    np.testing.assert_array_equal(part.values.numpy(), [1.0, 2.0, 3.0])
    assert len(part.weights) == 1
    assert part.size == 3
    assert part.name == "weighty"
    assert repr(part) == "Weighty(scale=2.5)"


def test_a_part_computes_in_float32_under_every_policy(policy):
    policy("mixed_bfloat16")
    likelihood = kv.likelihoods.Normal("shared")
    likelihood.setup((3,))
    assert likelihood.compute_dtype == "float32"
    assert likelihood.log_stddev.dtype == "float32"


def test_a_class_of_ones_own_that_is_not_registered_gets_a_hint():
    class Own(kv.likelihoods.Bernoulli):
        pass

    for identifier in (Own, Own()):
        with pytest.raises(
            TypeError, match=r'Own.*@keras_vae\.register\("likelihood", "its_name"\)'
        ):
            kv.VAE((3,), 2, likelihood=identifier)
    with pytest.raises(TypeError, match="Bernoulli, which is not registered as a prior"):
        kv.VAE((3,), 2, prior=kv.likelihoods.Bernoulli())
