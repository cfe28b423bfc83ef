"""From a live algorithm to its canonical config: its name, and every setting with its value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, get_args, get_origin

from leakgauge.core import registry
from leakgauge.core.errors import UsageError
from leakgauge.core.reading import shown
from leakgauge.spec.parameters import family_of, holds_parts, parameters, plain, without_none


def describe(family: str, value: object, key: str = "") -> dict[str, Any]:
    """Return the config of a live algorithm: its registered name (or `module:attribute`) and all settings, nested ones as well.

    Raises UsageError if it is no dataclass, or has a setting that no file can hold.
    """
    return {"name": registry.name_of(family, type(value)), **_settings(value, key or family)}


def describe_value(hint: Any, value: Any, key: str) -> Any:
    """Return the config of a live setting, read as its annotation says."""
    if not holds_parts(hint):
        return plain(hint, value, key)
    if value is None:
        return None
    if get_origin(hint) is Annotated:
        return describe_value(get_args(hint)[0], value, key)
    inner = without_none(hint)
    if inner is not None:
        return describe_value(inner, value, key)
    family = family_of(hint)
    if family is not None:
        return describe(family, value, key)
    if isinstance(value, tuple):
        return [describe_value(get_args(hint)[0], one, f"{key}.{place}") for place, one in enumerate(value)]
    if isinstance(value, Mapping):
        return {name: describe_value(get_args(hint)[1], one, f"{key}.{name}") for name, one in value.items()}
    return _settings(value, key)


def _settings(value: object, key: str) -> dict[str, Any]:
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        raise UsageError(f"{key}: got {shown(value)}, whose settings cannot be written down; expected an @algorithm")
    prefix = f"{key}." if key else ""
    return {
        name: describe_value(parameter.hint, getattr(value, name), f"{prefix}{name}")
        for name, parameter in parameters(type(value)).items()
        if not (name in _YOUNGER and parameter.default is None and getattr(value, name) is None)
    }


_YOUNGER = frozenset({"deep"})
"""Settings that are younger than keys, which say nothing of them where they are left out."""
