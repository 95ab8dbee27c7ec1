"""Several likelihoods over blocks of one event."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae import _checks, _registry, distributions
from keras_vae._registry import register
from keras_vae._types import Given, Tensor
from keras_vae.likelihoods.base import NOTHING, Likelihood


@register("likelihood", "joint")
class Joint(Likelihood):
    """p(x|z) = prod_b p_b(x_b|z): a likelihood of its own for each block of the last axis.

    A table of real, count, binary and categorical columns is one event, and so is an image whose
    channels are of different kinds. Parameters stand block after block on the last axis.

    Args:
        likelihoods: One for each block: names, instances or configs.
        sizes: How long each block is on the event's last axis; together as long as that.

    Raises:
        ValueError: if there are not as many sizes as likelihoods, or, when a model is made, if they
            do not add up to the last axis.

    Reference: Nazabal et al., Handling Incomplete Heterogeneous Data using VAEs, 2020, section 3.
    """

    def __init__(self, likelihoods: Sequence[Any], sizes: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(likelihoods, (list, tuple)):
            raise TypeError(
                f"likelihoods is {likelihoods!r}; expected a list, such as ['normal', 'poisson']."
            )
        self.likelihoods = [_registry.get("likelihood", one) for one in likelihoods]
        self.sizes = _checks.integers("sizes", sizes, "(3, 2)")
        if len(self.likelihoods) != len(self.sizes):
            raise ValueError(
                f"likelihoods holds {len(self.likelihoods)} and sizes {len(self.sizes)}; expected "
                "one size for each likelihood."
            )
        if len({id(one) for one in self.likelihoods}) < len(self.likelihoods):
            raise ValueError(
                "likelihoods holds one instance twice; expected an instance of its own for each."
            )
        self.discrete = all(one.discrete for one in self.likelihoods)
        self.takes_offset = any(one.takes_offset for one in self.likelihoods)

    def _setup(self, event_shape: tuple[int, ...]) -> None:
        if sum(self.sizes) != event_shape[-1]:
            raise ValueError(
                f"sizes is {self.sizes}, which adds up to {sum(self.sizes)}; expected the last "
                f"axis of events of shape {event_shape}, {event_shape[-1]}."
            )
        for one, shape in zip(self.likelihoods, self._blocks(event_shape)):
            one.setup(shape)
        self.fill = np.concatenate(
            [
                np.broadcast_to(np.float32(one.fill), (size,))
                for one, size in zip(self.likelihoods, self.sizes)
            ]
        )
        supports = [_checks.support(one.support) for one in self.likelihoods]
        self.support = _checks.Support(
            "; ".join(f"{words} in {where}" for words, where in self._described(supports)),
            lambda x: self._joined([s.contains(b) for s, b in zip(supports, self._split(x))]),
            "Say for each block which values it holds.",
            all(one.whole for one in supports),
        )

    def _described(self, supports: Sequence[_checks.Support]) -> list[tuple[str, str]]:
        """Returns the words of each support with the places on the last axis where it holds."""
        ends = np.cumsum(self.sizes)
        return [
            (one.words, f"{end - size}:{end}") for one, size, end in zip(supports, self.sizes, ends)
        ]

    def _blocks(self, event_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(*event_shape[:-1], size) for size in self.sizes]

    def _split(self, x: Any) -> list[Any]:
        if isinstance(x, np.ndarray):
            return np.split(x, np.cumsum(self.sizes)[:-1], -1)
        return tf.split(x, self.sizes, -1)

    def _joined(self, blocks: list[Any]) -> Any:
        if isinstance(blocks[0], np.ndarray):
            return np.concatenate(blocks, -1)
        return tf.concat(blocks, -1)

    def _each(self, params: Tensor) -> list[tuple[Likelihood, Tensor]]:
        """Returns each likelihood with its parameters."""
        shapes = map(self._params_length, self.likelihoods, self._blocks(self.event_shape))
        return list(zip(self.likelihoods, tf.split(self._checked(params), list(shapes), -1)))

    @staticmethod
    def _params_length(one: Likelihood, shape: tuple[int, ...]) -> int:
        return one.params_shape(shape)[-1]

    def params_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the event's shape with the blocks' parameters on the last axis."""
        lengths = map(self._params_length, self.likelihoods, self._blocks(event_shape))
        return (*event_shape[:-1], sum(lengths))

    def to_network(self, x: Tensor) -> Tensor:
        """Returns what the encoder sees of each block, side by side, (B, *network_shape)."""
        seen = [one.to_network(block) for one, block in zip(self.likelihoods, self._split(x))]
        return tf.concat(seen, -1)

    def network_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the event's shape with what the encoder sees of the blocks on the last axis."""
        shapes = zip(self.likelihoods, self._blocks(event_shape))
        return (*event_shape[:-1], sum(one.network_shape(shape)[-1] for one, shape in shapes))

    def network_mask(self, mask: Tensor) -> Tensor:
        """Returns which numbers of what the encoder sees were observed, block after block."""
        seen = [one.network_mask(part) for one, part in zip(self.likelihoods, self._split(mask))]
        return tf.concat(seen, -1)

    def initial_params(self, mean: Tensor, stddev: Tensor) -> Tensor:
        """Returns each block's start, and 0 for those that have none."""
        moments = zip(self._split(mean), self._split(stddev))
        starts = []
        for one, block, (m, s) in zip(
            self.likelihoods, self._blocks(self.event_shape), moments, strict=True
        ):
            start = one.initial_params(m, s)
            starts.append(tf.zeros(one.params_shape(block)) if start is None else start)
        return tf.concat(starts, -1)

    def observe(
        self, params: Tensor, x: Tensor, mask: Tensor | None, weights: Tensor | None
    ) -> list[Any]:
        """Returns what each block observed."""
        return [
            one.observe(own, block, shown, weights)
            for (one, own), block, shown in zip(
                self._each(params), self._split(x), self._masks(mask), strict=True
            )
        ]

    def _masks(self, mask: Tensor | None) -> list[Tensor | None]:
        return [None] * len(self.sizes) if mask is None else self._split(tf.convert_to_tensor(mask))

    def _givens(self, given: Given) -> list[Given]:
        if given.observed is None:
            return [given] * len(self.sizes)
        return [given._replace(observed=one) for one in given.observed]

    def log_prob(
        self, params: Tensor, x: Tensor, given: Given = NOTHING, mask: Tensor | None = None
    ) -> Tensor:
        """Returns log p(x|z), (...), in nats, the sum over the blocks."""
        x = tf.cast(x, tf.float32)
        blocks = zip(
            self._each(params), self._split(x), self._givens(given), self._masks(mask), strict=True
        )
        return tf.add_n([one.log_prob(own, x, g, m) for (one, own), x, g, m in blocks])

    def filled(self, x: Tensor, mask: Tensor) -> Tensor:
        """Returns x (..., E) with a value inside the support for elements not wholly observed."""
        blocks = zip(self.likelihoods, self._split(x), self._masks(mask))
        return tf.concat([one.filled(own, shown) for one, own, shown in blocks], -1)

    def mean(self, params: Tensor, given: Given = NOTHING) -> Tensor:
        """Returns the mean of p(x|z), (..., E), float32."""
        each = zip(self._each(params), self._givens(given))
        return tf.concat([one.mean(own, g) for (one, own), g in each], -1)

    def typical(self, mean: Tensor, draws: Tensor) -> Tensor:
        """Returns what stands for each block."""
        blocks = zip(self.likelihoods, self._split(mean), self._split(draws))
        return tf.concat([one.typical(m, d) for one, m, d in blocks], -1)

    def sample(self, params: Tensor, seed: Tensor, given: Given = NOTHING) -> Tensor:
        """Returns one draw of p(x|z) for each parameter vector, (..., E), float32."""
        seeds = tf.unstack(tf.random.experimental.stateless_split(seed, len(self.sizes)))
        each = zip(self._each(params), seeds, self._givens(given))
        return tf.concat([one.sample(own, s, g) for (one, own), s, g in each], -1)

    def distribution(self, params: Tensor, given: Given = NOTHING) -> Any:
        """Returns p(x|z) as a TensorFlow Probability distribution over whole events."""
        params = self._checked(params)
        return distributions.from_functions(
            lambda x: self.log_prob(params, x, given),
            lambda: self.mean(params, given),
            lambda seed: self.sample(params, seed, given),
            tf.shape(params)[: -len(self.event_shape)],
            self.event_shape,
        )


#: What a column of a data frame may be, and the likelihood of a block of such columns.
KINDS = {
    "real": "normal:variance=learned,minimum_stddev=0.01",
    "count": "negative_binomial",
    "binary": "bernoulli",
    "categorical": "categorical",
}


@register("likelihood", "table")
class Table(Joint):
    """p(x|z) of the rows of a data frame, and the way from the frame to events and back.

    It is a joint of a normal for real columns, standardised; a negative binomial for counts; a
    Bernoulli for columns of two values; and a categorical for each column of more. What the columns
    are called, hold and were standardised by is part of the config, so it is saved with the model:
    `vae.likelihood.to_events(frame)` and `vae.likelihood.to_frame(vae.sample(100).x)`.

    Args:
        columns: What `Table.describe` returns: one mapping for each column.
    """

    def __init__(self, columns: Sequence[dict[str, Any]]) -> None:
        blocks: list[list[Any]] = []
        for column in columns:
            kind = _checks.one_of("kind", column["kind"], tuple(KINDS))
            if kind == "categorical":
                classes = len(column["categories"])
                blocks.append([f"categorical:num_classes={classes}", 1])
            elif blocks and blocks[-1][0] == KINDS[kind]:
                blocks[-1][1] += 1
            else:
                blocks.append([KINDS[kind], 1])
        super().__init__(*zip(*blocks, strict=True))
        self.columns = tuple(columns)

    def get_config(self) -> dict[str, Any]:
        """Returns the descriptions of the columns."""
        config = super().get_config()
        return {**config, "columns": [dict(column) for column in self.columns]}

    @staticmethod
    def describe(
        frame: Any, kinds: Mapping[Any, str] | None = None, missing: bool = False
    ) -> list[dict[str, Any]]:
        """Returns what each column of a pandas data frame holds, as numbers and texts.

        A column of two values, or of truth values, is "binary". Words and pandas categoricals are
        "categorical", whole numbers of at least 0 are "count", and other numbers are "real".

        Args:
            frame: A data frame, (n, columns).
            kinds: Column -> one of "real", "count", "binary" and "categorical", where the above
                does not hold. Whole numbers among which some are missing are real to pandas, unless
                their type is its Int64.
            missing: Whether values may be missing; what a column holds is told by the others.

        Raises:
            ValueError: for missing values, unless they may be; for a column that is neither numbers
                nor words, holds nothing, or one value only but is none of numbers; for a kind that
                does not fit.
        """
        kinds = dict(kinds or {})
        unknown = [name for name in kinds if name not in frame.columns]
        if unknown:
            raise ValueError(
                f"kinds names the column {unknown[0]!r}; expected some of "
                f"{', '.join(map(str, frame.columns))}."
            )
        if not len(frame) or not len(frame.columns) or not frame.columns.is_unique:
            raise ValueError(
                f"The frame has shape {frame.shape}; expected rows, and columns of different names."
            )
        return [_described(name, frame[name], kinds.get(name), missing) for name in frame.columns]

    def to_events(self, frame: Any) -> np.ndarray:
        """Returns the rows of a data frame as events, (n, columns), float32; NaN is missing.

        Raises:
            ValueError: if a column is missing, or holds what it did not in the frame described.
        """
        lacking = [column["name"] for column in self.columns if column["name"] not in frame]
        if lacking:
            raise ValueError(f"The frame lacks the column {lacking[0]!r}; expected all columns.")
        columns = [_numbers(column, frame[column["name"]]) for column in self.columns]
        return np.stack(columns, -1).astype(np.float32)

    def to_frame(self, x: Any) -> Any:
        """Returns events (n, columns) as a data frame with the columns and types of the original.

        Means become the nearest that a column can hold: a whole number, or the likelier value. NaN
        is a missing value.
        """
        import pandas

        x = np.asarray(x, np.float64)
        values = {c["name"]: _values(c, x[:, place]) for place, c in enumerate(self.columns)}
        return pandas.DataFrame(values)


def _described(name: Any, values: Any, kind: str | None, missing: bool) -> dict[str, Any]:
    """Returns the description of one column."""
    lost = int(values.isna().sum())
    if lost and not missing:
        raise ValueError(
            f"The column {name!r} lacks {lost} value(s); drop these rows, fill them, or have them "
            "taken as missing: missing=True."
        )
    if lost == len(values):
        raise ValueError(f"The column {name!r} holds nothing; expected some values. Drop it.")
    values = values.dropna()
    kind = _checks.one_of("kind", kind or _kind(name, values), tuple(KINDS))
    described = {"name": name, "kind": kind, "dtype": str(values.dtype)}
    if kind in ("binary", "categorical"):
        return {**described, **_categories(name, values, kind)}
    numbers = _as_numbers(name, values)
    if kind == "count" and not np.all((numbers >= 0) & (numbers == np.round(numbers))):
        raise ValueError(
            f"The column {name!r} is said to be counts; expected whole numbers of at least 0."
        )
    if kind == "real":
        mean, stddev = float(numbers.mean()), float(numbers.std())
        described |= {"mean": mean, "stddev": stddev if stddev > 0.0 else 1.0}
    return described


def _kind(name: Any, values: Any) -> str:
    """Returns the kind that the values of a column speak for."""
    dtype = values.dtype
    numeric = getattr(dtype, "kind", "O") in "iuf" and str(dtype) != "category"
    if getattr(dtype, "kind", "O") in "mMc":
        raise ValueError(
            f"The column {name!r} holds {dtype}; expected numbers, words, truth values or a "
            "pandas categorical. Turn it into one of these, or drop it."
        )
    if str(dtype) == "category":
        return "binary" if len(dtype.categories) == 2 else "categorical"
    if values.nunique() == 2:
        return "binary"
    if not numeric:
        return "binary" if dtype.kind == "b" else "categorical"
    return "count" if dtype.kind in "iu" and values.min() >= 0 else "real"


def _categories(name: Any, values: Any, kind: str) -> dict[str, Any]:
    """Returns the values of a column in order, as plain numbers and texts."""
    category = str(values.dtype) == "category"
    if category:
        found = list(values.dtype.categories)
    elif values.dtype.kind == "b":
        found = [False, True]
    else:
        found = sorted(values.unique().tolist())
    if len(found) < 2 or (kind == "binary" and len(found) > 2):
        expected = "two" if kind == "binary" else "two or more"
        raise ValueError(
            f"The column {name!r} holds {len(found)} different value(s); expected {expected} for "
            f"the kind {kind!r}. Drop it, or give another kind."
        )
    plain = [getattr(value, "item", lambda value=value: value)() for value in found]
    return {"categories": plain, "ordered": bool(category and values.dtype.ordered)}


def _as_numbers(name: Any, values: Any) -> np.ndarray:
    try:
        return np.asarray(values.to_numpy(np.float64, na_value=np.nan))
    except (ValueError, TypeError) as error:
        raise ValueError(f"The column {name!r} holds {values.dtype}; expected numbers.") from error


def _numbers(column: Mapping[str, Any], values: Any) -> np.ndarray:
    """Returns a column of a frame as the numbers of its events, (n,)."""
    if "categories" not in column:
        numbers = _as_numbers(column["name"], values)
        return (numbers - column.get("mean", 0.0)) / column.get("stddev", 1.0)
    places = {value: place for place, value in enumerate(column["categories"])}
    lost = values.isna()
    found = [np.nan if gone else places.get(each, -1) for each, gone in zip(values.tolist(), lost)]
    if -1 in found:
        raise ValueError(
            f"The column {column['name']!r} holds {values.tolist()[found.index(-1)]!r}; expected "
            f"one of {_checks.brief(', '.join(map(str, places)))}."
        )
    return np.array(found)


def _values(column: Mapping[str, Any], x: np.ndarray) -> Any:
    """Returns one column of events (n,) as a series of the original type.

    Where NaN is among them and the type has no missing value, pandas chooses another.
    """
    lost = np.isnan(x)
    held = _held(column, np.where(lost, 0.0, x))
    return held.mask(lost) if lost.any() else held


def _held(column: Mapping[str, Any], x: np.ndarray) -> Any:
    """Returns one column of events (n,), all of them numbers, as a series of the original type."""
    import pandas

    if "categories" in column:
        places = np.clip(np.round(x), 0, len(column["categories"]) - 1).astype(int)
        if column["dtype"] == "category":
            dtype = pandas.CategoricalDtype(list(column["categories"]), column["ordered"])
            return pandas.Series(pandas.Categorical.from_codes(places, dtype=dtype))
        chosen = [column["categories"][place] for place in places]
        return pandas.Series(chosen).astype(column["dtype"])
    numbers = x * column.get("stddev", 1.0) + column.get("mean", 0.0)
    whole = column["dtype"].lower().lstrip("u").startswith("int") or column["kind"] == "count"
    return pandas.Series(np.round(numbers) if whole else numbers).astype(column["dtype"])
