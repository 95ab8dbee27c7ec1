"""Schedules equal their formulas, meet their ends exactly, never change and survive saving."""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vae import schedules
from keras_vae.schedules import Constant, Cosine, Cyclical, Linear, Sigmoid

pytestmark = pytest.mark.quick

START, END, STEPS = 0.1, 0.7, 90
#: The ends, what is between them, and what is beyond on both sides.
TEN_STEPS = (-20, 0, 1, 13, 30, 45, 60, 89, 90, 1000)


def ramp(curve):
    def value(step):
        part = curve(min(max(step / STEPS, 0.0), 1.0))
        return START + part * (END - START)

    return value


def logistic(x):
    return 1.0 / (1.0 + np.exp(-x))


def sigmoid_curve(steepness):
    low, high = logistic(-steepness / 2.0), logistic(steepness / 2.0)
    return lambda part: (logistic(steepness * (part - 0.5)) - low) / (high - low)


def cycles(steps, count, share):
    def value(step):
        part = 1.0 if step >= steps * count else min((step % steps) / (share * steps), 1.0)
        return START + part * (END - START)

    return value


RAMPS = {
    "linear": (Linear(START, END, STEPS), ramp(lambda part: part)),
    "cosine": (Cosine(START, END, STEPS), ramp(lambda part: (1.0 - np.cos(np.pi * part)) / 2.0)),
    "sigmoid": (Sigmoid(START, END, STEPS), ramp(sigmoid_curve(12.0))),
    "steep sigmoid": (Sigmoid(START, END, STEPS, 40.0), ramp(sigmoid_curve(40.0))),
    "flat sigmoid": (Sigmoid(START, END, STEPS, 0.5), ramp(sigmoid_curve(0.5))),
}
ALL = {
    "constant": (Constant(END), lambda step: END),
    "cyclical": (Cyclical(START, END, 30, 3, 0.5), cycles(30, 3, 0.5)),
    "cyclical without pause": (Cyclical(START, END, 45, 2, 1.0), cycles(45, 2, 1.0)),
    "cyclical with one cycle": (Cyclical(START, END, 60, 1, 0.25), cycles(60, 1, 0.25)),
    **RAMPS,
}
every_schedule = pytest.mark.parametrize("schedule", [s for s, _ in ALL.values()], ids=ALL)
every_ramp = pytest.mark.parametrize("kind", [Linear, Cosine, Sigmoid])
every_class = pytest.mark.parametrize("kind", [Constant, Linear, Cosine, Sigmoid, Cyclical])


# values


@pytest.mark.parametrize("name", ALL)
def test_a_schedule_equals_its_formula_at_ten_steps(name):
    schedule, reference = ALL[name]
    steps = [step for step in TEN_STEPS if step >= 0 or "cyclical" not in name]
    values = [float(schedule(step)) for step in steps]
    expected = [reference(step) for step in steps]
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


@every_ramp
@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (0.1, 0.7), (3.0, -2.0), (1e-3, 1 / 3)])
@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_a_ramp_meets_its_ends_to_the_bit(kind, start, end, steps):
    schedule = kind(start, end, steps)
    assert [float(schedule(step)) for step in (-3, 0)] == [np.float32(start)] * 2
    assert [float(schedule(step)) for step in (steps, 10 * steps)] == [np.float32(end)] * 2


@pytest.mark.parametrize("steepness", [1e-6, 1.0, 2.0, 6.0, 12.0, 20.0, 100.0, 2000.0])
def test_a_sigmoid_of_any_steepness_meets_its_ends_and_its_middle(steepness):
    schedule = Sigmoid(0.1, 0.7, 100, steepness)
    assert float(schedule(0)) == np.float32(0.1)
    assert float(schedule(50)) == pytest.approx(0.4, abs=1e-3)
    assert float(schedule(100)) == np.float32(0.7)


@every_ramp
def test_a_ramp_goes_one_way_and_stays_between_its_ends(kind):
    schedule = kind(0.25, 2.0, 50)
    values = np.array([float(schedule(step)) for step in range(-2, 55)])
    assert np.all(np.diff(values) >= 0.0)
    assert np.all(np.diff(values[2:53]) > 0.0)
    assert values.min() == 0.25
    assert values.max() == 2.0


@every_ramp
def test_a_ramp_is_symmetric_about_its_middle(kind):
    schedule = kind(0.0, 1.0, 10)
    for step in range(11):
        assert float(schedule(step)) + float(schedule(10 - step)) == pytest.approx(1.0, abs=1e-6)


def test_cycles_start_rise_hold_and_end_exactly():
    schedule = Cyclical(0.1, 0.7, steps=10, cycles=3, ramp=0.5)
    values = np.float32([schedule(step) for step in range(40)])
    start, end = np.float32(0.1), np.float32(0.7)
    np.testing.assert_array_equal(values[[0, 10, 20]], start)
    for cycle in values[:30].reshape(3, 10):
        np.testing.assert_array_equal(cycle, values[:10])
        assert np.all(np.diff(cycle[:6]) > 0.0)
        np.testing.assert_array_equal(cycle[5:], end)
    np.testing.assert_array_equal(values[30:], end)


@pytest.mark.parametrize(
    "step",
    [3, 3.0, np.int64(3), tf.constant(3), tf.constant(3, tf.int64), tf.constant(3.0, tf.float64)],
)
def test_any_scalar_is_a_step(step):
    value = Linear(0.0, 1.0, 4)(step)
    assert value.dtype == tf.float32
    assert value.shape == ()
    assert float(value) == 0.75


def test_a_variable_is_a_step():
    step = tf.Variable(1, dtype=tf.int64)
    schedule = Linear(0.0, 1.0, 4)
    assert float(schedule(step)) == 0.25
    step.assign(4)
    assert float(schedule(step)) == 1.0


@every_schedule
def test_a_compiled_value_follows_the_step_without_retracing(schedule):
    step = tf.Variable(0, dtype=tf.int64)
    compiled = tf.function(lambda: schedule(step))
    for current in TEN_STEPS[1:]:
        step.assign(current)
        assert float(compiled()) == pytest.approx(float(schedule(current)), abs=1e-6)
    assert compiled.experimental_get_tracing_count() == 1


# identity


@every_schedule
def test_no_argument_can_be_changed(schedule):
    for name, value in list(vars(schedule).items()):
        with pytest.raises(AttributeError, match=f"{name} cannot be changed.*build a new schedule"):
            setattr(schedule, name, value + 1)
        assert getattr(schedule, name) == value


def test_schedules_are_equal_by_class_and_arguments():
    assert Linear(0, 1, 10) == Linear(0.0, 1.0, 10)
    assert Linear(0, 1, 10) != Linear(0, 1, 11)
    assert Linear(0, 1, 10) != Cosine(0, 1, 10)
    assert Constant(1) != 1.0
    assert Sigmoid(steepness=12) != Sigmoid(steepness=13)


def test_equal_schedules_hash_alike():
    assert hash(Cyclical(ramp=0.5)) == hash(Cyclical())
    assert len({Linear(0, 1, 10), Linear(0.0, 1.0, 10), Cosine(0, 1, 10), Constant(1)}) == 3


@every_schedule
def test_a_copy_is_equal(schedule):
    assert copy.deepcopy(schedule) == schedule
    assert copy.copy(schedule) == schedule


def test_the_representation_is_a_call_that_makes_it_again():
    for schedule, _ in ALL.values():
        assert eval(repr(schedule), vars(schedules)) == schedule


@every_schedule
def test_a_config_round_trips_through_keras(schedule):
    config = keras.saving.serialize_keras_object(schedule)
    assert config["registered_name"] == f"keras_vae>schedule.{schedule.short_name}"
    again = keras.saving.deserialize_keras_object(config)
    assert again == schedule
    assert float(again(17)) == float(schedule(17))


# get


@pytest.mark.parametrize("number", [2, 0.5, -1, np.float64(0.5), np.float32(0.5), np.int64(3)])
def test_a_number_stands_for_a_constant(number):
    assert schedules.get(number) == Constant(float(number))


def test_a_name_with_options_a_config_and_an_instance_are_schedules():
    linear = Linear(0.0, 2.0, 9)
    assert schedules.get("linear:end=2,steps=9") == linear
    assert schedules.get("linear(end=2,steps=9)") == linear
    assert schedules.get(keras.saving.serialize_keras_object(linear)) == linear
    assert schedules.get(linear) is linear
    assert schedules.get("constant") == schedules.get(Constant) == Constant(1.0)


@pytest.mark.parametrize(
    ("received", "error", "words"),
    [
        ("linaer", ValueError, "Unknown schedule 'linaer'.*Did you mean 'linear'"),
        ("linear:step=3", ValueError, "no option 'step'.*Did you mean 'steps'"),
        (True, TypeError, "schedule is True"),
        (None, TypeError, "schedule is None"),
        ([1.0], TypeError, "schedule is"),
        (float("nan"), ValueError, "value is nan; expected a finite number"),
    ],
)
def test_what_is_no_schedule_is_refused(received, error, words):
    with pytest.raises(error, match=words):
        schedules.get(received)


# bad arguments


@pytest.mark.parametrize("kind", [Linear, Cosine, Sigmoid, Cyclical])
@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"steps": 0}, ValueError, "steps is 0; expected a whole number of at least 1"),
        ({"steps": 2.5}, TypeError, "steps is 2.5"),
        ({"start": float("inf")}, ValueError, "start is inf; expected a finite number"),
        ({"end": "one"}, TypeError, "end is 'one'"),
    ],
)
def test_bad_ramp_arguments_are_refused(kind, options, error, words):
    with pytest.raises(error, match=words):
        kind(**options)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Constant(float("nan")), ValueError, "value is nan"),
        (lambda: Constant("1"), TypeError, "value is '1'"),
        (lambda: Sigmoid(steepness=0), ValueError, "steepness is 0; expected .* above 0"),
        (lambda: Sigmoid(steepness=-1), ValueError, "steepness is -1"),
        (lambda: Cyclical(cycles=0), ValueError, "cycles is 0"),
        (lambda: Cyclical(ramp=0), ValueError, "ramp is 0; expected .* above 0"),
        (lambda: Cyclical(ramp=1.5), ValueError, "ramp is 1.5; expected a share of the cycle"),
    ],
)
def test_bad_arguments_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


@every_class
def test_the_default_is_between_0_and_1(kind):
    schedule = kind()
    values = [float(schedule(step)) for step in (0, 1, 500, 1000, 10**6)]
    assert min(values) >= 0.0
    assert max(values) <= 1.0
    assert values[-1] == 1.0
