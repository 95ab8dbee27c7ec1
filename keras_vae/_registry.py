"""Names for strategies: `register` one, `get` one, and the config they share.

A strategy is found by name (`"normal"`), by name with options (`"normal:variance=shared"` or
`"normal(variance=shared)"`), by its Keras config, or is passed as an instance. Everything is
registered with Keras under one package name, so that files load with nothing but an import.
"""

import ast
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import keras

from keras_vae import _checks

PACKAGE = "keras_vae"
_FAMILIES: dict[str, dict[str, type]] = {}
_OPENING, _CLOSING = "([{", ")]}"
C = TypeVar("C", bound=type)


def register(family: str, name: str) -> Callable[[C], C]:
    """Returns a class decorator that makes a strategy known as `name` within its family.

    Args:
        family: "likelihood", "posterior", "prior", "latent", "objective", "schedule", "network" or
            "condition".
        name: The short name, in lower_snake_case.

    Raises:
        ValueError: if another class has the name already.
    """

    def decorate(cls: C) -> C:
        members = _FAMILIES.setdefault(family, {})
        other = members.get(name)
        if other is not None and _identity(other) != _identity(cls):
            raise ValueError(
                f"{family} {name!r} is {_identity(other)} already; expected a new name for "
                f"{_identity(cls)}."
            )
        members[name] = cls
        for attribute, value in (("short_name", name), ("family", family)):
            setattr(cls, attribute, value)
        return keras.saving.register_keras_serializable(PACKAGE, f"{family}.{name}")(cls)

    return decorate


def _identity(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def names(family: str) -> list[str]:
    """Returns the names registered in a family, sorted."""
    return sorted(_FAMILIES.get(family, {}))


def members(family: str) -> dict[str, type]:
    """Returns the classes registered in a family, by name."""
    return dict(_FAMILIES.get(family, {}))


def get(family: str, identifier: Any) -> Any:
    """Returns the strategy that `identifier` stands for.

    Args:
        family: As in `register`.
        identifier: An instance; a name; a name with options, `name:key=value,...` or
            `name(key=value,...)`; a class of the family; or a config as Keras serialises it.

    Raises:
        ValueError: for an unknown name or option, naming the known ones.
        TypeError: for an object of another kind.
    """
    classes = _FAMILIES.get(family, {})
    cls = identifier if isinstance(identifier, type) else type(identifier)
    if vars(cls).get("family") == family:
        return identifier() if cls is identifier else identifier
    if issubclass(cls, Configurable):
        raise TypeError(
            f"{family} is {cls.__name__}, which is not registered as a {family}; expected one of "
            f"{', '.join(names(family))}, or a class of your own below the line "
            f'@keras_vae.register("{family}", "its_name").'
        )
    if isinstance(identifier, dict) and "class_name" in identifier:
        return get(family, _deserialized(family, identifier))
    if not isinstance(identifier, str):
        raise TypeError(
            f"{family} is {_checks.brief(repr(identifier))} ({type(identifier).__name__}); "
            f"expected a name ({', '.join(names(family))}), a config or an instance of these."
        )
    name, options = parse(identifier)
    if name not in classes:
        raise ValueError(
            f"Unknown {family} {name!r}; expected one of {', '.join(names(family))}."
            + _checks.near(name, classes)
        )
    return _construct(family, name, classes[name], options)


def _deserialized(family: str, config: dict[str, Any]) -> Any:
    """Returns what a config stands for; Keras gives some that name no class back as they are."""
    try:
        made = keras.saving.deserialize_keras_object(config)
    except _checks.UNREADABLE as error:
        raise ValueError(
            f"{family} is a config that Keras cannot read ({_checks.brief(error)}); expected one "
            "as keras.saving.serialize_keras_object writes it, or a name."
        ) from error
    if isinstance(made, dict):
        raise ValueError(
            f"{family} is {_checks.brief(config)}, which names no class that Keras knows; expected "
            f"a config with 'class_name' and 'config', or one of {', '.join(names(family))}."
        )
    return made


def _construct(family: str, name: str, cls: type, options: dict[str, Any]) -> Any:
    known = _arguments(cls)
    _checks.options(f"{family} {name!r}", options, known)
    missing = [key for key, p in known.items() if p.default is p.empty and key not in options]
    if missing:
        raise ValueError(
            f"{family} {name!r} lacks {', '.join(missing)}; expected "
            f"{name}:{','.join(key + '=...' for key in missing)}."
        )
    return cls(**options)


def _arguments(cls: type) -> dict[str, inspect.Parameter]:
    """Returns the named arguments of a constructor.

    They are those of `__init__`: Keras gives every class a `__new__` that takes anything, and which
    of the two a class's signature shows depends on the version of Python.
    """
    parameters = inspect.signature(cls.__init__).parameters
    return {
        key: parameter
        for key, parameter in parameters.items()
        if key != "self" and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """Splits `name:key=value,...` or `name(key=value,...)` into the name and its options.

    Values are Python literals, or words taken as strings; commas inside brackets do not split.

    Raises:
        ValueError: for an option without `=`.
    """
    matched = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\)|:(.*))?\s*", text, re.DOTALL)
    if matched is None:
        raise ValueError(f"Received {text!r}; expected name or name:key=value,key=value.")
    name, inner, after = matched.groups()
    options = {}
    for part in _split(inner or after or ""):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise ValueError(
                f"Option {part.strip()!r} of {text!r} has no value; expected key=value."
            )
        if key.strip() in options:
            raise ValueError(f"Option {key.strip()!r} stands twice in {text!r}; expected it once.")
        options[key.strip()] = literal(value.strip())
    return name, options


def unparse(name: str, options: Mapping[str, Any]) -> str:
    """Returns `name:key=value,...`, which `parse` splits into the name and the options again."""
    parts = [f"{key}={_written(value)}" for key, value in options.items()]
    return f"{name}:{','.join(parts)}" if parts else name


def _written(value: Any) -> str:
    bare = isinstance(value, str) and _split(value) == [value] and literal(value.strip()) == value
    return str(value) if bare else repr(value)


def _split(text: str) -> list[str]:
    parts, depth = [""], 0
    for character in text:
        depth += (character in _OPENING) - (character in _CLOSING)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part.strip()]


def literal(text: str) -> Any:
    """Returns the Python literal that a text is, or the text itself."""
    lowered = {"true": True, "false": False, "none": None}
    if text.lower() in lowered:
        return lowered[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return text


class Configurable:
    """Gives a class the config of its constructor's arguments, which it keeps as attributes."""

    short_name: str
    family: str

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, serialised."""
        keys = _arguments(type(self))
        return {key: keras.saving.serialize_keras_object(getattr(self, key)) for key in keys}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Returns an instance from what `get_config` gave."""
        options = {k: keras.saving.deserialize_keras_object(v) for k, v in config.items()}
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in options.items()})
