"""Many audits from one file: a base, a grid over it, and single points beside the grid.

    name: how strong a defense
    base: audit.yaml                     # or an audit written out; a path is relative to this file
    grid: {"attack.restarts": [1, 4], seed: [0, 1, 2]}
    include: [{"defenses": [{name: clipping}], seed: 0}]

Every audit is checked before any of them runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, final

from leakgauge.core.errors import UsageError, suggestion
from leakgauge.core.phrasing import phrase
from leakgauge.core.reading import override, put, read_file, shown
from leakgauge.spec.document import AuditSpec, complete, key, parse

T = TypeVar("T")
_KEYS = ("name", "base", "grid", "include")


@final
@dataclass(frozen=True)
class Sweep:
    """The audits of a sweep file, each with a key of its own, in the order of the file."""

    name: str
    specs: tuple[AuditSpec, ...]


def load(path: Path | str, overrides: Sequence[str] = ()) -> Sweep:
    """Read a sweep file; `a.b=value` overrides change its base. Raises UsageError, naming the point at fault."""
    document = read_file(Path(path))
    return Sweep(_name(document), expand(document, folder=Path(path).parent, overrides=overrides))


def expand(document: Mapping[str, Any], *, folder: Path = Path(), overrides: Sequence[str] = ()) -> tuple[AuditSpec, ...]:
    """Return the audits of a sweep: the grid, its last key changing fastest, then what is included.

    Points that come to the same audit count once. `folder` is where a base that is a path is looked for. Raises UsageError,
    naming the point, for the first that is no sound audit.
    """
    for name in document:
        if name not in _KEYS:
            raise UsageError(
                f"{name}: got {shown(document[name])}, but a sweep has no such setting; {suggestion(str(name), _KEYS)}"
            )
    base = complete(_base(document, folder))
    for assignment in overrides:
        base = complete(override(base, assignment))
    found: dict[str, AuditSpec] = {}
    for point in {repr(point): point for point in _points(document)}.values():  # a value that stands there twice is checked once
        spec = _at(base, point, _name(document))
        found.setdefault(key(spec), spec)
    return tuple(found.values())


def shard(specs: Sequence[T], part: str) -> tuple[T, ...]:
    """Return part "i/n" of the specs, i from 1 to n: every n-th one. The n parts are disjoint and make up the whole.

    Raises UsageError for anything else.
    """
    left, slash, right = part.partition("/")
    if not (
        slash and left.isascii() and left.isdecimal() and right.isascii() and right.isdecimal() and 1 <= int(left) <= int(right)
    ):
        raise UsageError(f"shard: got {part!r}, expected i/n with i from 1 to n, such as 1/4")
    return tuple(specs[int(left) - 1 :: int(right)])


def _name(document: Mapping[str, Any]) -> str:
    name = document.get("name", "sweep")
    if not isinstance(name, str):
        raise UsageError(f"name: got {shown(name)}, expected text")
    return name


def _base(document: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    match document.get("base"):
        case str(path):
            return read_file(folder / path)
        case Mapping() as base:
            return base
        case other:
            raise UsageError(f"base: got {shown(other)}, expected an audit, or the path of an audit file")


def _points(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    grid, include = document.get("grid", {}), document.get("include", [])
    if not isinstance(grid, Mapping):
        raise UsageError(f"grid: got {shown(grid)}, expected a mapping from a key to a list of values")
    for path, values in grid.items():
        if not isinstance(values, list) or not values:
            raise UsageError(f"grid.{path}: got {shown(values)}, expected a list of values, at least one")
    if not isinstance(include, list) or not all(isinstance(point, Mapping) for point in include):
        raise UsageError(f"include: got {shown(include)}, expected a list of mappings from a key to a value")
    if "grid" not in document and include:
        return include
    return [*(dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())), *include]


def _at(base: Mapping[str, Any], point: Mapping[str, Any], name: str) -> AuditSpec:
    told = ", ".join(f"{path}={phrase(value)}" for path, value in point.items())
    try:
        changed = {**base, "name": f"{name}: {told}" if told else name}
        for path, value in point.items():
            changed = complete(put(changed, path, value))
        return parse(changed)
    except UsageError as error:
        raise UsageError(f"at {told or 'the base'}: {error}") from error
