"""`@algorithm`: a frozen dataclass whose fields are its hyperparameters and whose repr is its config.

The bounds of a field stand in its type (`steps: Count = 300`). The same annotation is checked here at construction, by
pydantic for YAML, and shown in the JSON Schema.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Annotated, Any, TypeVar, dataclass_transform, get_args, get_origin, get_type_hints

import annotated_types as at

from leakgauge.errors import UsageError

Count = Annotated[int, at.Ge(1)]
NonNegativeInt = Annotated[int, at.Ge(0)]
Positive = Annotated[float, at.Gt(0)]
NonNegative = Annotated[float, at.Ge(0)]
Share = Annotated[float, at.Ge(0), at.Le(1)]
OpenShare = Annotated[float, at.Ge(0), at.Lt(1)]
"""A share that may not be all, such as a momentum or the part that is pruned."""


T = TypeVar("T")


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
    return dataclasses.dataclass(frozen=True, kw_only=True)(cls)


@functools.cache
def _bounds(cls: type) -> dict[str, tuple[object, ...]]:
    hints = get_type_hints(cls, include_extras=True)
    return {name: get_args(hint)[1:] for name, hint in hints.items() if get_origin(hint) is Annotated}


def _check(instance: Any) -> None:
    cls: Any = type(instance)
    for name, bounds in _bounds(cls).items():
        value = getattr(instance, name)
        for bound in bounds:
            expected = _violated(value, bound)
            if expected is not None:
                raise UsageError(f"{cls.__name__}.{name}: got {value!r}, expected a number {expected}")


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
