"""Names. Built-in algorithms and plugins come in by the same door: entry points in groups `leakgauge.<family>`.

`module:attribute` names an algorithm in an unpackaged file. Listing never imports an algorithm; loading imports just the one.
"""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from importlib.metadata import EntryPoint, distributions
from typing import Any, final

from leakgauge.errors import UsageError, suggestion

FAMILIES: dict[str, str] = {
    "attack": "Attack",
    "client": "Client",
    "data": "Data",
    "defense": "Defense",
    "labels": "Labels",
    "likelihood": "Likelihood",
    "metric": "Metric",
    "optimizer": "Optimizer",
    "prior": "Prior",
    "replay": "Replay",
    "search": "Search",
    "space": "Space",
    "victim": "Victim",
}
"""Family to the protocol in `leakgauge.protocols` that its members follow."""


@final
@dataclass(frozen=True)
class Entry:
    """A registered algorithm: where it comes from, and where its code is."""

    family: str
    name: str
    target: str  # "module:attribute"
    origin: str  # "distribution version"

    def load(self) -> Any:
        """Import and return the algorithm. Raises UsageError with the cause if that fails."""
        return _import(self.target, f"{self.family} {self.name!r} of {self.origin}")


def entries(family: str) -> dict[str, Entry]:
    """The registered algorithms of a family, by name.

    Raises UsageError for an unknown family, and where two plugins claim one name.
    """
    if family not in FAMILIES:
        raise UsageError(f"family: got {family!r}, {suggestion(family, FAMILIES)}")
    found: dict[str, Entry] = {}
    for entry in _scan():
        if entry.family != family:
            continue
        other = found.setdefault(entry.name, entry)
        if other.target != entry.target:
            raise UsageError(
                f"{family} {entry.name!r}: claimed by both {other.origin} ({other.target}) and {entry.origin} ({entry.target}), "
                "expected one owner; uninstall one of them or name the algorithm as module:attribute"
            )
    return dict(sorted(found.items()))


def find(family: str, name: str, key: str = "") -> Any:
    """Return the algorithm of that name, or the object at `module:attribute`; `key` is where the name stood.

    Raises UsageError for an unknown name or a failed import.
    """
    where = key or family
    if ":" in name:
        return _import(name, f"{where} {name!r}")
    known = entries(family)
    if name not in known:
        raise UsageError(f"{where}: no {family} is called {name!r}, {suggestion(name, known)}")
    return known[name].load()


def name_of(family: str, target: object) -> str:
    """The registered name of a class or function, or its `module:attribute` where it has none."""
    path = f"{getattr(target, '__module__', '')}:{getattr(target, '__qualname__', '')}"
    for entry in entries(family).values():
        if entry.target == path:
            return entry.name
    return path


@functools.cache
def _scan() -> tuple[Entry, ...]:
    found = []
    for distribution in distributions():
        origin = f"{distribution.name} {distribution.version}"
        for point in distribution.entry_points:
            family = _family(point)
            if family is not None:
                found.append(Entry(family, point.name, point.value, origin))
    return tuple(found)


def _family(point: EntryPoint) -> str | None:
    prefix, _, family = point.group.partition(".")
    return family if prefix == "leakgauge" and family in FAMILIES else None


def _import(target: str, who: str) -> Any:
    module, _, attribute = target.partition(":")
    try:
        value: Any = importlib.import_module(module)
        for part in attribute.split("."):
            value = getattr(value, part)
    except UsageError:
        raise
    except Exception as error:  # whatever a plugin raises at import is the plugin's, and is told as such
        raise UsageError(
            f"{who}: cannot be imported ({type(error).__name__}: {error}), expected module:attribute; mend or uninstall it"
        ) from error
    return value
