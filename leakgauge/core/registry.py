"""Names. Built-in algorithms and plugins come in by the same door: entry points in groups `leakgauge.<family>`.

`module:attribute` names an algorithm in an unpackaged file: code from outside, which is told, and which LEAKGAUGE_NO_CODE refuses.
Listing never imports an algorithm; loading imports just the one.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, final

from leakgauge.core.algorithm import is_declared
from leakgauge.core.errors import UsageError, one_line, suggestion

FAMILIES: dict[str, str] = {
    "attack": "Attack",
    "client": "Client",
    "data": "Data",
    "defense": "Defense",
    "gradient": "GradientRule",
    "labels": "Labels",
    "likelihood": "Likelihood",
    "metric": "Metric",
    "optimizer": "Optimizer",
    "partition": "Partition",
    "prior": "Prior",
    "replay": "Replay",
    "search": "Search",
    "space": "Space",
    "victim": "Victim",
}
"""Family to the protocol in `leakgauge.core.protocols` that its members follow."""

NO_CODE = "LEAKGAUGE_NO_CODE"
"""The environment variable that, set to anything but 0, refuses code that a file or an option names."""
LIBRARIES = ("torchvision", "timm", "hf")
"""What stands before the colon of a network that a library makes: no code of the file's."""
_CODE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")

log = logging.getLogger(__name__)

STUDY = "study"
"""What is registered beside the families: a `leakgauge.studying.Study` is no algorithm, but an object."""


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
        return _import(_loaded, self.family, self.target, f"{self.family} {self.name!r} of {self.origin}", "mend or uninstall it")


def entries(family: str) -> dict[str, Entry]:
    """The registered algorithms of a family, or the studies, by name.

    Raises UsageError for an unknown family, and where two plugins claim one name.
    """
    if family not in _scan():
        raise UsageError(f"family: got {family!r}, {suggestion(family, _scan())}")
    return {name: _only(claims) for name, claims in sorted(_scan()[family].items())}


def find(family: str, name: str, key: str = "") -> Any:
    """Return the class or function (or the study) of that name, or the one at `module:attribute`; `key` is where the name stood.

    Raises UsageError for an unknown name, a name that two plugins claim, and a failed import.
    """
    where = key or family
    known = _scan()[family]
    if ":" in name:
        is_registered = any(entry.target == name for claims in known.values() for entry in claims)
        who = f"{where}: {name!r}"
        value = _import(_loaded if is_registered else imported, family, name, who, "correct the path")
        if family != STUDY and not is_registered and not is_declared(value):
            raise UsageError(
                f"{who}: does not say that it is an algorithm, so it is not called; expected a class with @leakgauge.algorithm or "
                "a function with @leakgauge.recipe; put that in front of it, or correct the path"
            )
        return value
    if name not in known:
        raise UsageError(f"{where}: no {family} is called {name!r}, {suggestion(name, known)}")
    return _only(known[name]).load()


def name_of(family: str, target: object) -> str:
    """The registered name of a class or function, or its `module:attribute` where it has none of its own."""
    path = f"{getattr(target, '__module__', '')}:{getattr(target, '__qualname__', '')}"
    for name, claims in sorted(_scan()[family].items()):
        if {entry.target for entry in claims} == {path}:
            return name
    return path


@functools.cache
def _scan() -> dict[str, dict[str, list[Entry]]]:
    """Family to name to all who claim it. Of a distribution that is found twice, the first one on the path counts."""
    found: dict[str, dict[str, list[Entry]]] = {family: {} for family in (*FAMILIES, STUDY)}
    everything = entry_points()
    for family, names in found.items():
        for point in everything.select(group=f"leakgauge.{family}"):
            names.setdefault(point.name, []).append(Entry(family, point.name, point.value, _origin(point)))
    return found


def _origin(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unknown distribution"


def _only(claims: list[Entry]) -> Entry:
    first, *others = claims
    for other in others:
        if other.target != first.target:
            raise UsageError(
                f"{first.family} {first.name!r}: claimed by both {first.origin} ({first.target}) and {other.origin} "
                f"({other.target}), expected one owner; uninstall one of them or name the algorithm as module:attribute"
            )
    return first


def imported(target: str, who: str, expected: str, remedy: str) -> Any:
    """Import what a file or an option names as `module:attribute`, and tell so once.

    Raises UsageError, beginning with `who`, for whatever goes wrong, and before anything is run where code is refused.
    """
    if os.environ.get(NO_CODE, "") not in ("", "0"):
        raise UsageError(f"{who}: names code, which --no-code or {NO_CODE} refuses, expected {expected} of an installed plugin")
    value = _loaded(target, who, expected, remedy)
    _tell(target)
    return value


@functools.cache
def _tell(target: str) -> None:
    if multiprocessing.parent_process() is None and not target.startswith("leakgauge."):
        log.warning("imports code from outside leakgauge: %s", target)


def code_in(config: Any) -> tuple[str, ...]:
    """Return what a config names as `module:attribute`, at any depth, in its order."""
    if isinstance(config, Mapping):
        own = (str(value) for key, value in config.items() if key in ("name", "module") and _is_code(value))
        return tuple(dict.fromkeys((*own, *(found for value in config.values() for found in code_in(value)))))
    if isinstance(config, list | tuple):
        return tuple(dict.fromkeys(found for value in config for found in (value, *code_in(value)) if _is_code(found)))
    return (config,) if isinstance(config, str) and _is_code(config) else ()


def _is_code(value: Any) -> bool:
    return (
        isinstance(value, str)
        and _CODE.fullmatch(value) is not None
        and value.partition(":")[0] not in LIBRARIES
        and not value.startswith("leakgauge.")
    )


def _loaded(target: str, who: str, expected: str, remedy: str) -> Any:
    module, _, attribute = target.partition(":")
    try:
        value: Any = importlib.import_module(module)
        for part in attribute.split("."):
            value = getattr(value, part)
    except UsageError:
        raise
    except (Exception, SystemExit) as error:  # whatever a plugin raises at import is the plugin's, and is told as such
        cause = one_line(error)
        raise UsageError(f"{who}: cannot be imported ({type(error).__name__}: {cause}), expected {expected}; {remedy}") from error
    return value


def look_in(folder: Path) -> None:
    """Let `module:attribute` be found in a folder as well, after everything that is installed."""
    path = str(folder.resolve())
    if path not in sys.path:
        sys.path.append(path)
        importlib.invalidate_caches()


def _import(load: Callable[[str, str, str, str], Any], family: str, target: str, who: str, remedy: str) -> Any:
    value = load(target, who, "an algorithm at module:attribute", remedy)
    if family != STUDY and not (inspect.isclass(value) or inspect.isfunction(value)):
        kind = type(value).__name__
        raise UsageError(f"{who}: is of type {kind}, expected a class or a function that makes an algorithm; {remedy}")
    return value
