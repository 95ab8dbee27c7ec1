"""Validation. Every message says what was received, what was expected and what to do."""

import difflib
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

#: The most that one number of a model may be: units, filters, classes, features, components.
WIDEST = 2**20
#: The most axes and elements of an event, 8192 x 8192, and numbers in a sequence of them.
MOST_AXES, MOST_ELEMENTS, LONGEST = 8, 2**26, 2**17
#: The most layers or maps that one option makes one after the other, and of steps of a schedule.
DEEPEST, LONGEST_SCHEDULE = 1000, 10**15
#: Opens a message raised inside a graph, so that it can be found again and shown alone.
MARK = "keras_vae:"
#: What Keras raises, kind by kind, for a config or a file that is damaged or names what is unknown.
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ImportError,
    RuntimeError,
)
WEIGHTS = (
    "The least sample weight is {}; expected finite numbers of at least 0. Drop examples that are "
    "not to count, or give them weight 0."
)


def options(subject: str, received: Iterable[str], known: Iterable[str]) -> None:
    """Raises a ValueError for the first option that the subject does not have."""
    known = tuple(known)
    for key in received:
        if key not in known:
            raise ValueError(
                f"{subject} has no option {key!r}; expected "
                + (f"one of {', '.join(known)}." if known else "none.")
                + near(key, known)
            )


def brief(what: object, most: int = 200) -> str:
    """Returns what is shown, on one line of at most `most` characters."""
    text = " ".join(str(what).split())
    return text if len(text) <= most else f"{text[: most - 4]} ..."


def shown(received: object) -> str:
    """Returns a value as Python writes it, in brief; numbers of thousands of digits, too."""
    try:
        return brief(repr(received))
    except ValueError:  # Python writes no longer ones
        return f"one of thousands of digits ({type(received).__name__})"


def near(received: object, known: Iterable[object]) -> str:
    """Returns " Did you mean 'x'?" or "" for a word that is none of `known`."""
    close = difflib.get_close_matches(str(received), map(str, known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def one_of(name: str, received: object, known: Sequence[object]) -> Any:
    """Returns `received`, one of `known`.

    Raises:
        ValueError: if it is not.
    """
    if received in known:
        return received
    raise ValueError(
        f"{name} is {received!r}; expected one of {', '.join(map(repr, known))}."
        + near(received, known)
    )


def flag(name: str, received: object, expected: str = "True or False") -> bool:
    """Returns `received`, True or False.

    Raises:
        TypeError: if it is anything else; the message says what is `expected`.
    """
    if not isinstance(received, (bool, np.bool_)):
        raise TypeError(f"{name} is {received!r} ({type(received).__name__}); expected {expected}.")
    return bool(received)


def integer(name: str, received: object, minimum: int = 1, maximum: int | None = None) -> int:
    """Returns `received` as an int of at least `minimum` and at most `maximum`.

    Raises:
        TypeError: if it is not a whole number.
        ValueError: if it is too small or too large.
    """
    if isinstance(received, bool) or not isinstance(received, (int, np.integer)):
        raise TypeError(
            f"{name} is {shown(received)} ({type(received).__name__}); expected a whole number of "
            f"at least {minimum}."
        )
    if received < minimum:
        raise ValueError(
            f"{name} is {shown(received)}; expected a whole number of at least {minimum}."
        )
    if maximum is not None and received > maximum:
        raise ValueError(
            f"{name} is {shown(received)}; expected a whole number of at most {maximum}."
        )
    return int(received)


def integers(
    name: str,
    received: object,
    example: str = "8 or (512, 512)",
    fewest: int = 1,
    maximum: int = WIDEST,
) -> tuple[int, ...]:
    """Returns one positive int or a sequence of at least `fewest` of them as a tuple.

    Raises:
        TypeError, ValueError: if it is anything else; `example` says what would do.
    """
    if isinstance(received, (int, np.integer)) and not isinstance(received, bool):
        received = (received,)
    if not isinstance(received, (tuple, list, tf.TensorShape)) or len(received) < fewest:
        raise TypeError(
            f"{name} is {shown(received)}; expected positive whole numbers, such as {example}."
        )
    if len(received) > LONGEST:
        raise ValueError(f"{name} holds {len(received)} numbers; expected at most {LONGEST}.")
    return tuple(
        integer(f"{name}[{place}]", value, maximum=maximum) for place, value in enumerate(received)
    )


def number(
    name: str, received: object, minimum: float = -math.inf, *, above: bool = False
) -> float:
    """Returns `received` as a finite float of at least (`above`: more than) `minimum`.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is not finite or too small.
    """
    bound = f"a finite number {'above' if above else 'of at least'} {minimum:g}"
    if minimum == -math.inf:
        bound = "a finite number"
    real = (int, float, np.integer, np.floating)
    if isinstance(received, bool) or not isinstance(received, real):
        kind = type(received).__name__
        raise TypeError(f"{name} is {shown(received)} ({kind}); expected {bound}.")
    try:
        value = float(received)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value) or value < minimum or (above and value == minimum):
        raise ValueError(f"{name} is {shown(received)}; expected {bound}.")
    return value


def shape(name: str, received: object) -> tuple[int, ...]:
    """Returns `received` as a non-empty tuple of positive ints.

    Raises:
        TypeError, ValueError: if it is anything else, or the shape of too many elements.
    """
    example = "(28, 28, 1) for images or (10,) for vectors, without the batch axis"
    made = integers(name, received, example, maximum=MOST_ELEMENTS)
    if len(made) > MOST_AXES or math.prod(made) > MOST_ELEMENTS:
        raise ValueError(
            f"{name} is {shown(made)}; expected at most {MOST_AXES} axes and {MOST_ELEMENTS:,} "
            "elements. Cut the examples into smaller ones."
        )
    return made


def seed_pair(seed: object) -> np.ndarray:
    """Returns an int32[2] seed from one whole number or a pair of them.

    Raises:
        TypeError: if `seed` is neither.
    """
    try:
        values = np.atleast_1d(np.asarray(seed))
    except ValueError:  # a ragged nest
        values = np.empty(0)
    if values.shape not in ((1,), (2,)) or values.dtype.kind not in "iu":
        raise TypeError(
            f"seed is {shown(seed)}; expected a whole number or a pair of whole numbers."
        )
    wrapped = values.astype(np.int64).astype(np.uint64) & np.uint64(0xFFFFFFFF)
    pair = wrapped if len(wrapped) == 2 else np.array([0, wrapped[0]], np.uint64)
    return pair.astype(np.uint32).view(np.int32)


def shape_message(received: tuple[Any, ...], event_shape: tuple[int, ...]) -> str:
    """Returns the sentence for an array whose shape is not (batch, *event_shape)."""
    batch = ("batch", *event_shape)
    remedy = "Reshape the data, or build the model for this shape."
    if received[1:] + (1,) == event_shape:
        remedy = "Add the channel axis: x[..., None]."
    elif received == event_shape:
        remedy = "Add the batch axis: x[None]."
    return f"x has shape {received}; expected ({', '.join(map(str, batch))}). {remedy}"


class Support(NamedTuple):
    """Where a likelihood puts its mass, and where data may lie.

    Attributes:
        words: How a message names the set.
        contains: Test of a float tensor or array (..., E), element by element.
        remedy: What to do with values outside.
        whole: Whether it holds nothing but the values that a discrete likelihood gives
            probabilities to.
        least: The least value, or -inf.
        greatest: The greatest value, or inf.
    """

    words: str
    contains: Callable[[Any], Any]
    remedy: str
    whole: bool = False
    least: float = -math.inf
    greatest: float = math.inf


def is_whole(x: Any) -> Any:
    """Returns where a float tensor or array holds whole numbers or infinities."""
    return x == (np.floor(x) if isinstance(x, np.ndarray | np.generic) else tf.floor(x))


def levels(count: int, highest: float) -> Support:
    """Returns the support of `count` levels, equally far apart, from 0 to `highest`."""
    step = highest / (count - 1)
    words = f"whole numbers from 0 to {count - 1}"
    if step != 1.0:
        words = f"one of {count} levels, equally far apart, from 0 to {highest:g}"

    def contains(x: Any) -> Any:
        place = x / step
        near = abs(place - (np.round if isinstance(x, np.ndarray) else tf.round)(place)) < 1e-3
        return (place > -0.5) & (place < count - 0.5) & near

    remedy = "Say with levels=... and high=... which levels the data has (high=1: divided by 255)"
    return Support(
        words, contains, f"{remedy}, or choose a likelihood for real values.", True, 0.0, highest
    )


def classes(count: int) -> Support:
    """Returns the support of the classes 0, 1, ..., count - 1."""
    return Support(
        f"classes as whole numbers from 0 to {count - 1}",
        lambda x: (x >= 0.0) & (x < count) & is_whole(x),
        "Number the classes from 0 on, or give the likelihood as many as there are.",
        True,
        0.0,
        count - 1.0,
    )


def one_hot() -> Support:
    """Returns the support of vectors, along the last axis, of one 1 and otherwise 0."""

    def contains(x: Any) -> Any:
        total = (np.sum if isinstance(x, np.ndarray) else tf.reduce_sum)(x, -1, keepdims=True)
        return ((x == 0.0) | (x == 1.0)) & (total == 1.0)

    remedy = "Encode the classes one-hot, or give them as whole numbers (one_hot=False)."
    return Support("one 1 among 0s on the last axis", contains, remedy, True, 0.0, 1.0)


#: The supports that likelihoods and data declare, by name.
SUPPORTS: dict[str, Support] = {
    "real": Support(
        "finite numbers",
        lambda x: abs(x) < math.inf,
        "Drop or replace the rows with NaN or infinite entries.",
    ),
    "positive": Support(
        "finite numbers above 0",
        lambda x: (x > 0.0) & (x < math.inf),
        "Shift the data, or choose a likelihood for all real values such as 'normal'.",
        least=0.0,
    ),
    "unit_interval": Support(
        "numbers between 0 and 1",
        lambda x: (x >= 0.0) & (x <= 1.0),
        "Divide grey levels 0..255 by 255, or choose a likelihood for real values such as "
        "'normal'.",
        least=0.0,
        greatest=1.0,
    ),
    "open_unit_interval": Support(
        "numbers between 0 and 1, but neither",
        lambda x: (x > 0.0) & (x < 1.0),
        "Squeeze the data, such as by (x * (n - 1) + 0.5) / n for n examples, or choose "
        "'continuous_bernoulli', whose interval has its ends.",
        least=0.0,
        greatest=1.0,
    ),
    "count": Support(
        "counts, that is whole numbers of at least 0",
        lambda x: (x >= 0.0) & (x < math.inf) & is_whole(x),
        "Give raw counts, neither normalised nor as logarithms, or choose a likelihood for real "
        "values such as 'normal'.",
        True,
        least=0.0,
    ),
}


def support(identifier: str | Support) -> Support:
    """Returns the support of a name, or the one given."""
    return SUPPORTS[identifier] if isinstance(identifier, str) else identifier


def assert_support(x: tf.Tensor, where: str | Support, likelihood: str) -> tf.Tensor:
    """Returns x (B, E); running it fails when a value lies outside the support.

    The failure is an `InvalidArgumentError` whose message opens with `MARK`; `user_message` finds
    the sentence in it. XLA cannot compile it.
    """
    within = support(where)
    inside = within.contains(x)

    def sentence() -> tf.Tensor:
        outside = tf.where(tf.logical_not(inside))
        return tf.strings.format(
            "x holds {} value(s) outside the support of the likelihood "
            + likelihood
            + ", the first is {} at index {} of the batch; expected "
            + within.words
            + ". "
            + within.remedy,
            (tf.shape(outside)[0], tf.gather_nd(x, outside[0]), outside[0]),
        )

    return _asserted(x, tf.reduce_all(inside), sentence)


def assert_weights(weights: tf.Tensor) -> tf.Tensor:
    """Returns sample weights (B,); running it fails, as `assert_support`, on what are none."""

    def sentence() -> tf.Tensor:
        return tf.strings.format(WEIGHTS, tf.reduce_min(weights))

    valid = tf.reduce_all((weights >= 0.0) & (weights < math.inf))
    return _asserted(weights, valid, sentence)


def assert_where(
    x: tf.Tensor, inside: tf.Tensor, name: str, sentence: Callable[[], str]
) -> tf.Tensor:
    """Returns x; running it fails, as `assert_support`, on the first value that is not inside.

    Args:
        x: Values, (B, ...).
        inside: Where they are what they may be, of the same shape.
        name: What the message calls x.
        sentence: Returns what the message says after the value.
    """

    def message() -> tf.Tensor:
        first = tf.boolean_mask(x, tf.logical_not(inside))[0]
        return tf.strings.format(name + " holds {}; " + sentence(), (first,))

    return _asserted(x, tf.reduce_all(inside), message)


def _asserted(x: tf.Tensor, valid: tf.Tensor, sentence: Callable[[], tf.Tensor]) -> tf.Tensor:
    def fail() -> tf.Operation:
        return tf.debugging.Assert(False, [tf.strings.join([MARK, sentence(), MARK])], summarize=1)

    if tf.executing_eagerly():
        check = [] if valid else [fail()]
    else:
        check = [tf.cond(valid, tf.no_op, lambda: tf.group(fail()))]
    with tf.control_dependencies([op for op in check if op is not None]):
        return tf.identity(x)


OFFSETS = "The least offset is {}; expected finite size factors above 0, one for each example."


def assert_offset(offset: tf.Tensor) -> tf.Tensor:
    """Returns size factors (B,); running it fails, as `assert_support`, on what are none."""

    def sentence() -> tf.Tensor:
        return tf.strings.format(OFFSETS, tf.reduce_min(offset))

    valid = tf.reduce_all((offset > 0.0) & (offset < math.inf))
    return _asserted(offset, valid, sentence)


def array_offset(offset: Any, count: int) -> np.ndarray:
    """Returns size factors as a float32 array (count,).

    Raises:
        ValueError: for another shape, or one that is not finite and above 0.
    """
    values = np.asarray(offset, np.float32)
    if values.shape not in ((), (count,), (count, 1)):
        raise ValueError(f"offset has shape {values.shape}; expected ({count},), one per example.")
    if not np.all((values > 0.0) & (values < math.inf)):
        raise ValueError(OFFSETS.format(values.min()))
    return np.array(np.broadcast_to(values.reshape(-1), (count,)))


def sample_weights(weights: np.ndarray) -> None:
    """Raises a ValueError when a sample weight is negative or not finite."""
    if weights.size and not np.all((weights >= 0.0) & (weights < math.inf)):
        raise ValueError(WEIGHTS.format(weights.min()))


def array_support(x: np.ndarray, where: str | Support, likelihood: str) -> None:
    """Raises a ValueError when a value of the array x lies outside the support."""
    within = support(where)
    inside = np.asarray(within.contains(x))
    if inside.all():
        return
    outside = np.argwhere(~inside)
    first = tuple(int(i) for i in outside[0])
    raise ValueError(
        f"x holds {len(outside)} value(s) outside the support of the likelihood {likelihood}, the "
        f"first is {x[first]:g} at index {first}; expected {within.words}. " + within.remedy
    )


def whole_numbers(x: np.ndarray, likelihood: str) -> None:
    """Warns when a likelihood that gives probabilities to whole numbers scores other values."""
    if not np.array_equal(x, np.round(x)):
        warnings.warn(
            f"x holds grey values, and the likelihood {likelihood!r} gives probabilities to 0 and "
            "1 alone: the losses are no log-likelihoods and compare with nothing. Binarise the "
            "data (binarize='dynamic', --binarize dynamic), or choose a likelihood for real values "
            "such as 'normal:variance=shared'.",
            stacklevel=2,
        )


def user_message(error: BaseException) -> str | None:
    """Returns the sentence a check put into a TensorFlow error, or None."""
    parts = str(error).split(MARK)
    return parts[1].strip().replace("\\'", "'") if len(parts) >= 3 else None
