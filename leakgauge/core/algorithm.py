"""`@algorithm`: a frozen dataclass whose fields are its hyperparameters and whose repr is its config.

The bounds of a field stand in its type (`steps: Count = 300`). The same annotation is checked here at construction, by
pydantic for YAML, and shown in the JSON Schema. What a file names as `module:attribute` is called only where it says that it is
for that: it is an algorithm, or a `@recipe`, a function that makes one.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, dataclass_transform, get_args, get_origin, get_type_hints

import annotated_types as at

from leakgauge.core.errors import UsageError

Count = Annotated[int, at.Ge(1)]
NonNegativeInt = Annotated[int, at.Ge(0)]
Positive = Annotated[float, at.Gt(0)]
NonNegative = Annotated[float, at.Ge(0)]
Share = Annotated[float, at.Ge(0), at.Le(1)]
OpenShare = Annotated[float, at.Ge(0), at.Lt(1)]
"""A share that may not be all, such as a momentum or the part that is pruned."""


T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., object])
_DECLARED = "_is_declared_to_leakgauge"


@dataclass_transform(frozen_default=True, kw_only_default=True)
def algorithm(cls: type[T]) -> type[T]:
    """Make a class an algorithm: a frozen, keyword-only dataclass whose numeric bounds hold from the start.

    Raises UsageError at construction for a number outside the bounds of its annotation.
    """
    own_check = getattr(cls, "__post_init__", None)

    def post_init(self: T) -> None:
        _check(self)
        if own_check is not None:
            own_check(self)

    cls.__post_init__ = post_init  # type: ignore[attr-defined]
    setattr(cls, _DECLARED, True)
    return dataclasses.dataclass(frozen=True, kw_only=True)(cls)


def recipe(function: F) -> F:
    """Say that a function makes an algorithm or a network, so that a file may name it as `module:attribute`."""
    setattr(function, _DECLARED, True)
    return function


def is_declared(value: object) -> bool:
    """Return whether a class is an algorithm, or a function a recipe; nothing of it is run for that."""
    return inspect.getattr_static(value, _DECLARED, False) is True


@functools.cache
def _hints(cls: type) -> dict[str, object]:
    return get_type_hints(cls, include_extras=True)


def _check(instance: Any) -> None:
    cls: Any = type(instance)
    for name, hint in _hints(cls).items():
        value = getattr(instance, name)
        for broken, expected in _violations(value, hint):
            raise UsageError(f"{cls.__name__}.{name}: got {broken!r}, expected a number {expected}")


def _violations(value: Any, hint: Any) -> Iterator[tuple[object, str]]:
    """The numbers in a value that break a bound of its annotation, also within `X | None` and `tuple[X, ...]`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        yield from ((value, expected) for bound in arguments[1:] if (expected := _violated(value, bound)))
    elif origin in (Union, UnionType) and value is not None:
        yield from (found for part in arguments if part is not type(None) for found in _violations(value, part))
    elif origin is tuple and isinstance(value, tuple):
        yield from (found for item in value for found in _violations(item, arguments[0]))


def _violated(value: Any, bound: object) -> str | None:
    match bound:
        case at.Ge(limit):
            return None if value >= limit else f">= {limit}"
        case at.Gt(limit):
            return None if value > limit else f"> {limit}"
        case at.Le(limit):
            return None if value <= limit else f"<= {limit}"
        case at.Lt(limit):
            return None if value < limit else f"< {limit}"
        case _:
            return None
