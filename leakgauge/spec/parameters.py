"""What an algorithm can be set to, read from its signature, and the check of plain values against it."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, Union, final, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from leakgauge.core import protocols
from leakgauge.core.errors import UsageError
from leakgauge.core.reading import shown
from leakgauge.core.registry import FAMILIES

PROTOCOLS: dict[str, Any] = {family: getattr(protocols, protocol) for family, protocol in FAMILIES.items()}
_FAMILY_OF = {protocol: family for family, protocol in PROTOCOLS.items()}
_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "enum": "{expected}",
    "finite_number": "a finite number",
    "float_type": "a number",
    "frozen_set_type": "a list",
    "greater_than": "a number > {gt:g}",
    "greater_than_equal": "a number >= {ge:g}",
    "int_type": "an integer",
    "less_than": "a number < {lt:g}",
    "less_than_equal": "a number <= {le:g}",
    "list_type": "a list",
    "literal_error": "{expected}",
    "missing": "one more entry",
    "set_type": "a list",
    "string_type": "text",
    "too_long": "at most {max_length} entries",
    "too_short": "at least {min_length} entries",
    "tuple_type": "a list",
}
"""Pydantic's kind of error to what was expected."""


@final
class Parameter(NamedTuple):
    """One setting of an algorithm. `default` is a live value, or `inspect.Parameter.empty`."""

    hint: Any
    default: Any

    @property
    def is_required(self) -> bool:
        """Whether there is no default."""
        return self.default is inspect.Parameter.empty


@functools.cache
def parameters(target: Callable[..., Any]) -> dict[str, Parameter]:
    """The settings of an algorithm (a dataclass, or a function that makes one), by name.

    Raises UsageError where the signature leaves open what may be set.
    """
    who = f"{target.__module__}:{target.__qualname__}"
    try:
        hints = get_type_hints(target, include_extras=True)
        signature = inspect.signature(target)
    except (NameError, TypeError, ValueError) as error:
        raise UsageError(f"{who}: its parameters cannot be read ({error}), expected annotations that exist at run time") from error
    found = {}
    for name, parameter in signature.parameters.items():
        if name not in hints or parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise UsageError(f"{who}: parameter {name!r} cannot be set from a file, expected a name with an annotated type")
        found[name] = Parameter(hints[name], parameter.default)
    if dataclasses.is_dataclass(target):
        for field in dataclasses.fields(target):
            if field.init and field.default_factory is not dataclasses.MISSING:
                found[field.name] = Parameter(hints[field.name], field.default_factory())
    return found


def family_of(hint: Any) -> str | None:
    """The family whose protocol this annotation is, or None."""
    return _FAMILY_OF.get(hint) if isinstance(hint, type) else None


def without_none(hint: Any) -> Any | None:
    """`X` for `X | None`, or None for anything else."""
    choices = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else ()
    others = [choice for choice in choices if choice is not types.NoneType]
    return others[0] if len(others) == 1 and len(choices) == 2 else None


def holds_parts(hint: Any) -> bool:
    """Whether an annotation holds an algorithm or a group of settings, rather than plain values alone."""
    if get_origin(hint) is Annotated:
        return holds_parts(get_args(hint)[0])
    is_part = family_of(hint) is not None or (isinstance(hint, type) and dataclasses.is_dataclass(hint))
    return is_part or any(holds_parts(inner) for inner in get_args(hint))


@functools.cache
def adapter(hint: Any) -> TypeAdapter[Any]:
    """Pydantic's reading of an annotation. Raises UsageError for a type that no file can hold."""
    try:
        return TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False))
    except PydanticUserError as error:
        raise UsageError(f"a value of type {getattr(hint, '__name__', hint)} cannot be written in a file") from error


def check(hint: Any, raw: object, key: str) -> Any:
    """Return a plain value as its annotation wants it (a list becomes a tuple). Raises UsageError if it does not fit."""
    try:
        return adapter(hint).validate_json(to_json(raw))
    except UsageError as error:
        raise UsageError(f"{key}: {error}, expected numbers, text or parts; set it from Python") from error
    except PydanticSerializationError as error:
        raise UsageError(f"{key}: got {shown(raw)}, expected a value that a file can hold") from error
    except ValidationError as error:
        raise UsageError(_told(error, key)) from None


def plain(hint: Any, value: object, key: str) -> Any:
    """Return a value as JSON holds it, the same for every spelling of the same value (1 and 1.0, list and tuple)."""
    if value is None:
        return None
    checked = check(hint, value, key)
    dumped = adapter(hint).dump_python(checked, mode="json")
    return sorted(dumped) if isinstance(value, (set, frozenset)) else dumped


def _told(error: ValidationError, key: str) -> str:
    first, *others = error.errors(include_url=False)
    place = [part for part in first["loc"] if isinstance(part, int)]
    alike = [other for other in others if other["input"] is first["input"]]
    expected = " or ".join(dict.fromkeys(_expected(dict(one)) for one in (first, *alike)))
    return f"{'.'.join([key, *map(str, place)])}: got {shown(first['input'])}, expected {expected}"


def _expected(one: dict[str, Any]) -> str:
    template = _EXPECTED.get(one["type"])
    return template.format(**one.get("ctx", {})) if template else f"something else ({one['msg']})"
