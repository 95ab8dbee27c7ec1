"""The base class of strategies that may own weights."""

from typing import Any

import keras

from keras_vae._registry import Configurable


class Part(Configurable, keras.layers.Layer):
    """A strategy that may own weights: a Keras layer that is set up, not called.

    Computation is float32 under every dtype policy. Weights are made in `_setup`, which runs once,
    when the model is composed and the shapes are known.

    Attributes:
        shapes: Names under which the arguments of `setup` are kept.
    """

    shapes: tuple[str, ...] = ()
    built: bool
    trainable: bool

    def __init__(self) -> None:
        super().__init__(dtype="float32", name=getattr(type(self), "short_name", None))

    def setup(self, *shapes: Any) -> None:
        """Keeps the shapes and makes the weights; does nothing the second time.

        Raises:
            ValueError: if the part was set up for other shapes already, in another model.
        """
        if not self.built:
            for name, shape in zip(self.shapes, shapes, strict=True):
                setattr(self, name, shape)
            self._setup(*shapes)
            self._set_up_for = repr(shapes)
            self.built = True
            if not self.trainable:  # freeze the layers just made, too
                for layer in self._flatten_layers(include_self=False):
                    layer.trainable = False
        elif self._set_up_for != repr(shapes):
            raise ValueError(
                f"This {type(self).__name__} belongs to a model with the shapes {self._set_up_for} "
                f"and was given to one with {shapes!r}; expected an instance of its own for each "
                "model."
            )

    def _setup(self, *shapes: Any) -> None:
        """Hook: makes the weights. The arguments are those of the family's base class."""

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, and `trainable` where it is off."""
        config = super().get_config()
        return config if self.trainable else {**config, "trainable": False}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Returns a part from what `get_config` gave."""
        config = dict(config)
        trainable = config.pop("trainable", True)
        part = super().from_config(config)
        if not trainable:  # setting True would thaw the parts within
            part.trainable = False
        return part

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={getattr(self, k, v)!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({shown})"
