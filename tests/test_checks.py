"""Checks return clean values, and say what was received, what was expected and what to do."""

import numpy as np
import pytest
import tensorflow as tf

from keras_vae import _checks

pytestmark = pytest.mark.quick


# near, one_of


@pytest.mark.parametrize(
    ("received", "words"),
    [("norml", " Did you mean 'normal'?"), ("zzz", ""), (3, ""), (None, "")],
)
def test_near_guesses_the_closest_word_or_nothing(received, words):
    assert _checks.near(received, ["bernoulli", "normal"]) == words


def test_near_takes_any_iterable_and_none_known():
    assert _checks.near("on", iter(["one", "two"])) == " Did you mean 'one'?"
    assert _checks.near("one", []) == ""


def test_one_of_returns_a_known_word():
    assert _checks.one_of("variance", "shared", ("fixed", "shared")) == "shared"


def test_one_of_names_the_argument_the_value_the_known_words_and_a_guess():
    with pytest.raises(ValueError, match="variance") as caught:
        _checks.one_of("variance", "share", ("fixed", "shared"))
    assert str(caught.value) == (
        "variance is 'share'; expected one of 'fixed', 'shared'. Did you mean 'shared'?"
    )


def test_one_of_refuses_other_types_in_the_same_words():
    with pytest.raises(ValueError, match=r"strategy is 3; expected one of 'auto', 'one'\.$"):
        _checks.one_of("strategy", 3, ("auto", "one"))


# integer, number


@pytest.mark.parametrize("received", [1, 7, np.int64(7), np.uint8(7), 10**12])
def test_integer_returns_a_plain_int(received):
    value = _checks.integer("n", received)
    assert value == received
    assert type(value) is int


def test_integer_keeps_to_its_minimum():
    assert _checks.integer("n", 0, 0) == 0
    assert _checks.integer("n", -3, -3) == -3
    for received, minimum in ((0, 1), (-1, 0), (1, 2)):
        with pytest.raises(ValueError, match="n is") as caught:
            _checks.integer("n", received, minimum)
        assert str(caught.value) == (
            f"n is {received}; expected a whole number of at least {minimum}."
        )


@pytest.mark.parametrize(
    ("received", "kind"),
    [(1.0, "float"), ("3", "str"), (None, "NoneType"), (True, "bool"), ([3], "list")],
)
def test_integer_refuses_what_is_no_whole_number(received, kind):
    with pytest.raises(TypeError, match="epochs is") as caught:
        _checks.integer("epochs", received)
    assert str(caught.value) == (
        f"epochs is {received!r} ({kind}); expected a whole number of at least 1."
    )


@pytest.mark.parametrize("received", [0, -2, 0.5, np.float32(0.5), np.int8(3), 1e30])
def test_number_returns_a_plain_float(received):
    value = _checks.number("x", received)
    assert value == received
    assert type(value) is float


def test_number_keeps_to_its_bound():
    assert _checks.number("x", 0, 0.0) == 0.0
    with pytest.raises(ValueError, match=r"x is -0.5; expected a finite number of at least 0\.$"):
        _checks.number("x", -0.5, 0.0)
    with pytest.raises(ValueError, match=r"x is 0; expected a finite number above 0\.$"):
        _checks.number("x", 0, 0.0, above=True)
    assert _checks.number("x", 1e-30, 0.0, above=True) == 1e-30


@pytest.mark.parametrize("received", [float("nan"), float("inf"), -float("inf"), np.float32("nan")])
@pytest.mark.parametrize("minimum", [0.0, -np.inf])
def test_number_refuses_what_is_not_finite(received, minimum):
    with pytest.raises(ValueError, match="x is .*; expected a finite number"):
        _checks.number("x", received, minimum)


@pytest.mark.parametrize("received", ["1", None, True, [1.0], 1j, np.complex64(1 + 2j)])
def test_number_refuses_what_is_no_number(received):
    with pytest.raises(TypeError, match=r"x is .*; expected a finite number\.$") as caught:
        _checks.number("x", received)
    assert f"{received!r} ({type(received).__name__})" in str(caught.value)


def test_number_refuses_a_whole_number_beyond_all_floats():
    with pytest.raises(ValueError, match="expected a finite number"):
        _checks.number("x", 10**400)


# shape


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        ((28, 28, 1), (28, 28, 1)),
        ([28, 28], (28, 28)),
        (6, (6,)),
        (np.int32(6), (6,)),
        ((np.int64(3), 4), (3, 4)),
        (tf.TensorShape([3, 4]), (3, 4)),
    ],
)
def test_shape_returns_a_tuple_of_plain_ints(received, expected):
    shape = _checks.shape("event_shape", received)
    assert shape == expected
    assert {type(size) for size in shape} == {int}


@pytest.mark.parametrize("received", [(), [], None, "28", 2.5, True, {28: 1}])
def test_shape_refuses_what_is_no_shape_and_shows_two(received):
    with pytest.raises(TypeError, match="event_shape is") as caught:
        _checks.shape("event_shape", received)
    message = str(caught.value)
    assert repr(received) in message
    assert "without the batch axis" in message
    assert "(28, 28, 1)" in message
    assert "(10,)" in message


@pytest.mark.parametrize(
    ("received", "error", "words"),
    [
        ((28, 0), ValueError, r"event_shape\[1\] is 0; expected a whole number of at least 1"),
        ((-1,), ValueError, r"event_shape\[0\] is -1"),
        ((None, 28), TypeError, r"event_shape\[0\] is None"),
        ((28.0, 28), TypeError, r"event_shape\[0\] is 28.0 \(float\)"),
        (0, ValueError, r"event_shape\[0\] is 0"),
    ],
)
def test_shape_names_the_axis_that_is_wrong(received, error, words):
    with pytest.raises(error, match=words):
        _checks.shape("event_shape", received)


def test_a_shape_message_says_both_shapes_and_the_remedy():
    message = _checks.shape_message((5, 8, 8), (8, 8, 1))
    assert message == (
        "x has shape (5, 8, 8); expected (batch, 8, 8, 1). Add the channel axis: x[..., None]."
    )
    message = _checks.shape_message((8, 8, 1), (8, 8, 1))
    assert message == (
        "x has shape (8, 8, 1); expected (batch, 8, 8, 1). Add the batch axis: x[None]."
    )
    message = _checks.shape_message((None, 7), (6,))
    assert message == (
        "x has shape (None, 7); expected (batch, 6). Reshape the data, or build the model for this "
        "shape."
    )


# seed_pair


@pytest.mark.parametrize(
    ("seed", "pair"),
    [
        (0, [0, 0]),
        (5, [0, 5]),
        (-1, [0, -1]),
        (2**31, [0, -(2**31)]),
        (2**32 - 1, [0, -1]),
        ((1, 2), [1, 2]),
        ([-1, 7], [-1, 7]),
        (np.array([3, 4]), [3, 4]),
        (np.array([3]), [0, 3]),
        (np.uint32(9), [0, 9]),
        (np.int8(-3), [0, -3]),
        (np.int64(5), [0, 5]),
    ],
)
def test_a_seed_becomes_a_pair(seed, pair):
    result = _checks.seed_pair(seed)
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, pair)


def test_a_seed_pair_is_its_own_pair():
    pair = _checks.seed_pair((2**31 + 3, -7))
    np.testing.assert_array_equal(_checks.seed_pair(pair), pair)


def test_neighbouring_seeds_differ_however_large():
    for start in (-2, 2**31 - 2, 2**32 - 3, 2**40, 2**63 - 2, 2**64 - 5):
        pairs = {tuple(_checks.seed_pair(start + offset)) for offset in range(4)}
        assert len(pairs) == 4


@pytest.mark.parametrize(
    "seed", [1.0, None, "3", True, (1, 2, 3), [], [[1, 2]], (1, 2.5), 2**64, -(2**64), [1, [2, 3]]]
)
def test_a_wrong_seed_is_refused_in_words(seed):
    with pytest.raises(TypeError, match="expected a whole number or a pair of whole") as caught:
        _checks.seed_pair(seed)
    assert str(caught.value).startswith(f"seed is {seed!r};")


# supports


INSIDE = {
    "count": [0.0, 1.0, 1e6, 1e30],
    "open_unit_interval": [1e-30, 0.5, 0.9999999],
    "positive": [1e-30, 1.0, 1e30],
    "real": [-1e30, 0.0, 3.0],
    "unit_interval": [0.0, 0.5, 1.0],
}
OUTSIDE = {
    "count": [-1.0, 0.5, 1e-6, np.nan, np.inf],
    "open_unit_interval": [0.0, 1.0, -0.5, 1.5, np.nan, np.inf],
    "positive": [0.0, -1.0, np.nan, np.inf],
    "real": [np.nan, np.inf, -np.inf],
    "unit_interval": [-1e-6, 1.00001, 255.0, np.nan, np.inf],
}


@pytest.mark.parametrize("name", sorted(_checks.SUPPORTS))
def test_a_support_contains_what_it_says(name):
    support = _checks.SUPPORTS[name]
    for kind in (np.float32, tf.constant):
        assert np.all(support.contains(kind(INSIDE[name])))
        assert not np.any(support.contains(kind(OUTSIDE[name])))
    assert support.words
    assert support.remedy.endswith(".")


@pytest.mark.parametrize("name", sorted(_checks.SUPPORTS))
def test_array_support_passes_what_is_inside(name):
    assert _checks.array_support(np.float32([INSIDE[name]]), name, "some") is None


def test_array_support_counts_and_shows_the_first_value_outside():
    x = np.zeros((3, 2, 2), np.float32)
    x[1, 0, 1] = 255.0
    x[2, 1, 1] = -1.0
    with pytest.raises(ValueError, match="outside") as caught:
        _checks.array_support(x, "unit_interval", "bernoulli")
    assert str(caught.value) == (
        "x holds 2 value(s) outside the support of the likelihood bernoulli, the first is 255 at "
        "index (1, 0, 1); expected numbers between 0 and 1. Divide grey levels 0..255 by 255, or "
        "choose a likelihood for real values such as 'normal'."
    )


def test_array_support_finds_nan():
    with pytest.raises(ValueError, match=r"1 value\(s\).*nan at index \(0, 1\).*Drop or replace"):
        _checks.array_support(np.float32([[0.0, np.nan]]), "real", "normal")


def failing_message(call, x):
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        call(x)
    return _checks.user_message(caught.value)


def checked(x):
    return _checks.assert_support(x, "unit_interval", "bernoulli")


RUNNERS = {"eager": lambda function: function, "graph": tf.function}
either_way = pytest.mark.parametrize("runner", RUNNERS.values(), ids=RUNNERS)


@either_way
def test_assert_support_returns_what_is_inside_unchanged(runner):
    x = np.random.default_rng(0).random((4, 3)).astype(np.float32)
    np.testing.assert_array_equal(runner(checked)(tf.constant(x)), x)


@either_way
def test_assert_support_fails_with_one_sentence_for_users(runner):
    x = np.zeros((3, 2, 1), np.float32)
    x[1, 1, 0] = 255.0
    x[2, 0, 0] = 7.0
    message = failing_message(runner(checked), tf.constant(x))
    assert message.startswith(
        "x holds 2 value(s) outside the support of the likelihood bernoulli, the first is 255 at "
        "index [1 1 0] of the batch; expected numbers between 0 and 1."
    )
    assert message.endswith("or choose a likelihood for real values such as 'normal'.")
    assert _checks.MARK not in message
    assert "\n" not in message


@either_way
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_assert_support_finds_what_is_not_finite(runner, value):
    def real(x):
        return _checks.assert_support(x, "real", "normal")

    message = failing_message(runner(real), tf.constant([[0.0, value]]))
    assert message.startswith("x holds 1 value(s)")
    assert "at index [0 1]" in message
    assert message.endswith("Drop or replace the rows with NaN or infinite entries.")


def test_assert_support_checks_every_call_of_one_graph():
    function = tf.function(checked)
    good, bad = tf.constant([[0.5]]), tf.constant([[2.0]])
    function(good)
    assert failing_message(function, bad).startswith("x holds 1 value(s)")
    np.testing.assert_array_equal(function(good), [[0.5]])
    assert function.experimental_get_tracing_count() == 1


def test_assert_support_passes_an_empty_batch():
    assert tf.function(checked)(tf.zeros([0, 3])).shape == (0, 3)


@pytest.mark.parametrize(
    "error",
    [ValueError("plain"), ValueError(""), RuntimeError(f"{_checks.MARK} opened and never closed")],
)
def test_user_message_finds_nothing_in_other_errors(error):
    assert _checks.user_message(error) is None


def test_user_message_takes_the_sentence_out_of_a_trace():
    mark = _checks.MARK
    error = RuntimeError(f"Graph failed at node 3\n{mark} use \\'normal\\' here.{mark}\n[[node]]")
    assert _checks.user_message(error) == "use 'normal' here."
