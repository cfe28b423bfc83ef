"""What tells the audits of a sweep apart, and those of them that differ in their seeds alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, final

from leakgauge.auditing.record import Record
from leakgauge.core.phrasing import phrase

_DASH = "–"


def variations(specs: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return the top-level keys whose values are not all the same, and what every spec says there, without what all share."""
    names = tuple(dict.fromkeys(key for spec in specs for key in spec if key != "name"))
    keys = tuple(key for key in names if any(spec.get(key) != specs[0].get(key) for spec in specs))
    columns = [_told_apart([spec.get(key) for spec in specs]) for key in keys]
    return keys, tuple(tuple(column[row] for column in columns) for row in range(len(specs)))


@final
class Group(NamedTuple):
    """Audits that are the same but for their seed, and what tells them from those of other groups."""

    differences: Mapping[str, str]
    records: tuple[Record, ...]


def over_seeds(records: Iterable[Record]) -> tuple[Group, ...]:
    """Return audits by what they are besides their seed, in the order of the first of each; nothing where each stands alone.

    Audits of live objects, which have no file, are of no group.
    """
    found: dict[str, list[Record]] = {}
    for record in records:
        if record.spec:
            found.setdefault(json.dumps(_unseeded(record.spec), sort_keys=True, default=str), []).append(record)
    if all(len({record.seed for record in group}) == 1 for group in found.values()):
        return ()
    keys, rows = variations([_unseeded(group[0].spec) for group in found.values()])
    return tuple(Group(dict(zip(keys, row, strict=True)), tuple(group)) for row, group in zip(rows, found.values(), strict=True))


def _unseeded(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key not in ("seed", "name")}


def _told_apart(values: Sequence[Any]) -> list[str]:
    """Describe each value by its name, and by those of its parts that differ among values of the same name."""
    distinct = list({repr(value): value for value in values}.values())
    told = {repr(value): phrase(_telling(value, distinct)) or _DASH for value in distinct}
    return [told[repr(value)] for value in values]


def _telling(value: Any, others: Sequence[Any]) -> Any:
    if not isinstance(value, Mapping):
        return value
    kin = [other for other in others if isinstance(other, Mapping) and other.get("name") == value.get("name")]
    return {
        key: _telling(part, [other.get(key) for other in kin])
        for key, part in value.items()
        if key == "name" or any(other.get(key) != part for other in kin)
    }
