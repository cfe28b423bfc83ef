"""JSON Schema of the audit file, from the same annotations that check it: for editors, and for whoever writes audits by program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import getdoc
from typing import Annotated, Any, get_args, get_origin

from leakgauge.core import registry
from leakgauge.core.capabilities import NAMED
from leakgauge.core.errors import UsageError
from leakgauge.spec.describing import describe_value
from leakgauge.spec.document import DEFAULTS, Parts
from leakgauge.spec.parameters import Parameter, adapter, family_of, holds_parts, parameters, without_none

_PATH = {"type": "string", "pattern": r"^[\w.]+:[\w.]+$", "description": "module:attribute of an algorithm in a file of your own"}


def schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) with every registered algorithm.

    Every algorithm is imported for it. Raises UsageError, naming the one, if an algorithm cannot be imported.
    """
    definitions: dict[str, Any] = {}
    for family in registry.FAMILIES:
        definitions[family] = _family(family, definitions)
    audit = _settings(Parts, definitions)
    properties = audit["properties"]
    properties["training"] = {"anyOf": [{"type": "integer", "minimum": 0, "description": "steps"}, properties["training"]]}
    properties["rounds"] = {"anyOf": [{"type": "integer", "minimum": 1, "description": "count"}, properties["rounds"]]}
    properties["threat"] = {
        "anyOf": [
            {"enum": sorted(NAMED)},
            {
                "type": "object",
                "properties": {"name": {"enum": sorted(NAMED)}},
                "required": ["name"],
                "additionalProperties": False,
            },
            properties["threat"],
        ]
    }
    properties["metrics"]["required"] = ["psnr"]
    for name in DEFAULTS.keys() & properties.keys():
        properties[name]["default"] = DEFAULTS[name]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "leakgauge audit",
        **audit,
        "properties": {"name": {"type": "string", "description": "a label, not in the key"}, **properties},
        "required": [name for name in audit["required"] if name not in DEFAULTS],
        "$defs": definitions,
    }


def _family(family: str, definitions: dict[str, Any]) -> dict[str, Any]:
    found = {name: entry.load() for name, entry in registry.entries(family).items()}
    objects = []
    for name, target in found.items():
        try:
            one = _settings(target, definitions)
        except UsageError as error:
            raise UsageError(f"{family} {name!r}: {error}") from error
        objects.append(
            {
                **one,
                "title": name,
                "description": (getdoc(target) or "").partition("\n")[0],
                "properties": {"name": {"const": name}, **one["properties"]},
                "required": ["name", *one["required"]],
            }
        )
    alone = [name for name, target in found.items() if not any(one.is_required for one in parameters(target).values())]
    unpackaged = {"type": "object", "properties": {"name": _PATH}, "required": ["name"]}
    return {"anyOf": [*([{"enum": alone}] if alone else []), _PATH, *objects, unpackaged]}


def _settings(target: Callable[..., Any], definitions: dict[str, Any]) -> dict[str, Any]:
    known = parameters(target)
    return {
        "type": "object",
        "properties": {name: _parameter(name, one, definitions) for name, one in known.items()},
        "required": [name for name, one in known.items() if one.is_required],
        "additionalProperties": False,
    }


def _parameter(name: str, parameter: Parameter, definitions: dict[str, Any]) -> dict[str, Any]:
    found = _value(parameter.hint, definitions)
    return found if parameter.is_required else {**found, "default": describe_value(parameter.hint, parameter.default, name)}


def _value(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if not holds_parts(hint):
        found: dict[str, Any] = adapter(hint).json_schema(ref_template="#/$defs/{model}")
        definitions.update(found.pop("$defs", {}))
        return found
    if get_origin(hint) is Annotated:
        return _value(get_args(hint)[0], definitions)
    inner = without_none(hint)
    if inner is not None:
        return {"anyOf": [_value(inner, definitions), {"type": "null"}]}
    family = family_of(hint)
    if family is not None:
        return {"$ref": f"#/$defs/{family}"}
    if isinstance(hint, type):
        return _settings(hint, definitions)
    origin, (first, last) = get_origin(hint), get_args(hint)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _value(last, definitions)}
    return {"type": "array", "items": _value(first, definitions)}
