"""What a model may be conditioned on: one of some classes, or a vector."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae import _checks, _registry
from keras_vae._registry import Configurable, register
from keras_vae._types import Tensor


class Condition(Configurable):
    """What y is in p(x|z, y) and q(z|x, y), and the vector that the networks see of it.

    A new condition sets the attributes and writes `encode`.

    Attributes:
        size: C, how many numbers the networks see of one y.
        shape: The shape of one y as users give it.
        dtype: Its dtype in exported signatures.
        words: How messages name what is expected.
        remedy: What to do with other values.
    """

    size: int
    shape: tuple[int, ...] = ()
    dtype: Any = tf.float32
    words: str
    remedy: str

    def encode(self, values: Tensor) -> Tensor:
        """Returns what the networks see, (B, C) float32, of values (B, *shape) float32."""
        raise NotImplementedError

    def contains(self, values: Any) -> Any:
        """Returns where values, a float tensor or array (B, *shape), are what they may be."""
        return abs(values) < math.inf

    def checked(self, values: Tensor, assert_values: bool = True) -> Tensor:
        """Returns values (B, *shape) as float32; running it fails on what they may not be.

        Args:
            values: (B, *shape), or (B, 1) for classes, as Keras delivers columns.
            assert_values: Whether to fail on them; XLA cannot compile that.

        Raises:
            ValueError, TypeError: for values of another shape, or words.
        """
        values = tf.convert_to_tensor(values)
        if values.dtype == tf.string:
            raise TypeError(f"condition holds {values.dtype.name}; {self.sentence()}")
        values = tf.cast(values, tf.float32)
        if values.shape.rank is None:
            values = tf.ensure_shape(values, (None, *self.shape))
        if values.shape.rank == len(self.shape) + 2 and values.shape[-1] == 1:
            values = tf.squeeze(values, -1)
        if values.shape.rank == 1 and self.shape == (1,):
            values = values[:, None]
        if not values.shape[1:].is_compatible_with(self.shape) or not values.shape.rank:
            raise ValueError(self._shape_message(tuple(values.shape)))
        if not assert_values:
            return values
        return _checks.assert_where(values, self.contains(values), "condition", self.sentence)

    def array(self, values: Any, count: int) -> np.ndarray:
        """Returns values of `count` examples, or one for all of them, as float32 (count, *shape).

        Raises:
            ValueError, TypeError: for another shape, or what they may not be.
        """
        if values is None:
            raise ValueError(f"condition is missing; {self.sentence()}")
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"condition holds {array.dtype}; {self.sentence()}")
        array = array.astype(np.float32)
        if array.shape == (count, *self.shape, 1):
            array = array[..., 0]
        if array.shape in ((), (count,)) and self.shape == (1,):
            array = array[..., None]
        if array.shape not in (self.shape, (1, *self.shape), (count, *self.shape)):
            raise ValueError(self._shape_message(array.shape, count))
        outside = np.argwhere(~np.asarray(self.contains(array)).reshape(array.shape))
        if len(outside):
            first = tuple(outside[0].tolist())
            raise ValueError(f"condition holds {array[first]:g}; {self.sentence()}")
        return np.array(np.broadcast_to(array, (count, *self.shape)))

    def sentence(self) -> str:
        """Returns what a message says after the value that was received."""
        return f"expected {self.words}. {self.remedy}"

    def _shape_message(self, received: tuple[Any, ...], count: int | str = "n") -> str:
        expected = f"({', '.join(map(str, (count, *self.shape)))}{',' if not self.shape else ''})"
        return (
            f"condition has shape {received}; expected {expected}, {self.words} for each example. "
            f"{self.remedy}"
        )


@register("condition", "classes")
class Classes(Condition):
    """One of the classes 0, 1, ..., count - 1, which the networks see one-hot.

    Args:
        count: How many classes there are.
    """

    dtype = tf.int32

    def __init__(self, count: int) -> None:
        self.count = self.size = _checks.integer("count", count, 2, _checks.WIDEST)
        self.words = f"classes as whole numbers from 0 to {count - 1}"
        self.remedy = (
            f"Number the classes so, or give the model as many as there are (condition={count} "
            "stands for that many; a vector of numbers is condition=(width,))."
        )

    def contains(self, values: Any) -> Any:
        """Returns where values are classes that the model knows."""
        return (values >= 0.0) & (values < self.count) & _checks.is_whole(values)

    def encode(self, values: Tensor) -> Tensor:
        """Returns the classes (B,) one-hot, (B, C)."""
        return tf.one_hot(tf.cast(values, tf.int32), self.count)


@register("condition", "vector")
class Vector(Condition):
    """A vector of finite numbers, which the networks see as it is: scale it to about -1 to 1.

    Args:
        width: C, how many numbers there are.
    """

    def __init__(self, width: int) -> None:
        self.width = self.size = _checks.integer("width", width, maximum=_checks.WIDEST)
        self.shape = (self.width,)
        self.words = f"vectors of {self.width} finite number(s)"
        self.remedy = f"Give {self.width} numbers, or make the model for another width."

    def encode(self, values: Tensor) -> Tensor:
        """Returns the vectors (B, C)."""
        return values


def get(spec: Any) -> Condition | None:
    """Returns the condition of a spec.

    Args:
        spec: None; a number of classes, such as 10; the width of a vector, such as (3,); or a name,
            instance or config.

    Raises:
        ValueError, TypeError: for anything else.
    """
    if spec is None:
        return None
    if isinstance(spec, (int, np.integer)) and not isinstance(spec, bool):
        return Classes(int(spec))
    if isinstance(spec, (tuple, list)):
        if len(spec) != 1:
            raise ValueError(
                f"condition is {spec!r}; expected a number of classes, such as 10, or the width of "
                "a vector, such as (3,)."
            )
        return Vector(spec[0])
    condition: Condition = _registry.get("condition", spec)
    return condition
