"""From a config to a live algorithm, with everything that was left out written down.

A config is the name of an algorithm, or a mapping with `name` and its settings. What may be set stands in the signature of the
algorithm alone: a setting whose type is a protocol of `leakgauge.core.protocols` is again a config, of that family.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from leakgauge.core import registry
from leakgauge.core.errors import UsageError, suggestion
from leakgauge.core.reading import shown
from leakgauge.spec.describing import describe, describe_value
from leakgauge.spec.parameters import PROTOCOLS, Parameter, check, family_of, holds_parts, parameters, plain, without_none


class Resolved(NamedTuple):
    """A live value with its canonical config."""

    value: Any
    config: Any


def build(family: str, config: object, key: str = "") -> Any:
    """Return the algorithm that a config means; `key` is where the config stood.

    A live algorithm passes through. Raises UsageError, with the full path of the key, for a name or setting that does not exist,
    a value that does not fit, and a setting that is missing.
    """
    return resolve(PROTOCOLS[family], config, key or family).value


def resolve(hint: Any, raw: object, key: str) -> Resolved:
    """Read a raw value as its annotation says. Raises UsageError as `build` does."""
    if not holds_parts(hint):
        value = check(hint, raw, key)
        return Resolved(value, plain(hint, value, key))
    if get_origin(hint) is Annotated:
        return resolve(get_args(hint)[0], raw, key)
    inner = without_none(hint)
    if inner is not None:
        return Resolved(None, None) if raw is None else resolve(inner, raw, key)
    family = family_of(hint)
    if family is not None:
        return _algorithm(family, raw, key)
    if isinstance(hint, type):
        return _settings(hint, raw, key)
    match get_origin(hint), get_args(hint):
        case origin, (item, last) if origin is tuple and last is Ellipsis:
            if not isinstance(raw, (list, tuple)):
                raise UsageError(f"{key}: got {shown(raw)}, expected a list")
            found = [resolve(item, one, f"{key}.{place}") for place, one in enumerate(raw)]
            return Resolved(tuple(one.value for one in found), [one.config for one in found])
        case origin, (_, item) if isinstance(origin, type) and issubclass(origin, Mapping):
            if not isinstance(raw, Mapping):
                raise UsageError(f"{key}: got {shown(raw)}, expected a mapping from a label to a config")
            named = {name: resolve(item, one, f"{key}.{name}") for name, one in raw.items()}
            return Resolved({name: one.value for name, one in named.items()}, {name: one.config for name, one in named.items()})
        case _:
            raise UsageError(
                f"{key}: its type {hint} cannot be written in a file, expected numbers, text or parts; set it from Python"
            )


def _algorithm(family: str, raw: object, key: str) -> Resolved:
    match raw:
        case str():
            settings: dict[str, Any] = {"name": raw}
        case Mapping():
            settings = dict(raw)
        case _ if not isinstance(raw, type) and not _lacking(family, raw):
            return Resolved(raw, describe(family, raw))
        case _:
            raise UsageError(f"{key}: got {shown(raw)}, expected {_named(family)}, or a mapping with one")
    for typo in () if "name" in settings else difflib.get_close_matches("name", settings, n=1):
        raise UsageError(f"{key}.{typo}: got {shown(settings[typo])}, but there is no such setting; did you mean 'name'?")
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(f"{key}.name: got {shown(name)}, expected {_named(family)}")
    target = registry.find(family, name, key)
    if "name" in parameters(target):
        raise UsageError(f"{key}: {name!r} has a setting called 'name', which holds the name of the algorithm; rename it there")
    made = _make(target, settings, key, f"{family} {name!r}")
    missing = _lacking(family, made.value)
    if missing:
        raise UsageError(
            f"{key}: {name!r} makes {type(made.value).__name__}, which has no {' and no '.join(missing)}, expected {_named(family)}"
        )
    return Resolved(made.value, {"name": name, **made.config})


def _settings(target: type, raw: object, key: str) -> Resolved:
    if isinstance(raw, target):
        return Resolved(raw, describe_value(target, raw, key))
    if not isinstance(raw, Mapping):
        raise UsageError(f"{key}: got {shown(raw)}, expected a mapping; known: {', '.join(parameters(target))}")
    return _make(target, dict(raw), key, key or "an audit")


def _make(target: Callable[..., Any], settings: Mapping[str, object], key: str, who: str) -> Resolved:
    known = parameters(target)
    prefix = f"{key}." if key else ""
    for name, value in settings.items():
        if name not in known:
            raise UsageError(f"{prefix}{name}: got {shown(value)}, but {who} has no such setting; {suggestion(str(name), known)}")
    for name, parameter in known.items():
        if parameter.is_required and name not in settings:
            raise UsageError(f"{prefix}{name}: is missing, expected {_wanted(parameter)}; add it")
    given = {
        name: resolve(known[name].hint, _upon_default(known[name], value, f"{prefix}{name}"), f"{prefix}{name}")
        for name, value in settings.items()
    }
    try:
        value = target(**{name: one.value for name, one in given.items()})
    except UsageError as error:
        own = f"{target.__name__}."
        told = str(error)
        raise UsageError(f"{prefix}{told.removeprefix(own)}" if told.startswith(own) else f"{key}: {told}") from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"{key}: {who} cannot be made of these settings ({error}), expected others") from error
    config = {
        name: given[name].config if name in given else describe_value(parameter.hint, parameter.default, f"{prefix}{name}")
        for name, parameter in known.items()
    }
    return Resolved(value, config)


def _upon_default(parameter: Parameter, raw: object, key: str) -> object:
    """A part that is set without a name is the default part with these settings."""
    hint = without_none(parameter.hint) or parameter.hint
    if not isinstance(raw, Mapping) or family_of(hint) is None or parameter.is_required or parameter.default is None:
        return raw
    if difflib.get_close_matches("name", raw, n=1):
        return raw
    return {**describe_value(hint, parameter.default, key), **raw}


def _wanted(parameter: Parameter) -> str:
    family = family_of(parameter.hint)
    return _named(family) if family else "a value"


def _named(family: str) -> str:
    return f"a name of the family {family} ({suggestion('', registry.entries(family))})"


def _lacking(family: str, value: object) -> list[str]:
    """The members of the family's protocol that a value does not have."""
    members = [name for name in vars(PROTOCOLS[family]) if name == "__call__" or not name.startswith("_")]
    return [name for name in members if not hasattr(value, name)]
