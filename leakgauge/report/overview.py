"""The overview of a sweep: every audit that was started in one table, with only what tells the audits apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from leakgauge.auditing.record import ATTACK, FLOOR, Record
from leakgauge.report.numbers import DASH, duration, median, number, plural, present
from leakgauge.report.view import View, describe
from leakgauge.results.multiplicity import together


@final
@dataclass(frozen=True)
class Line:
    """One audit in the table."""

    view: View
    differences: tuple[str, ...]
    attack: str
    floor: str
    identified: str
    time: str


@final
@dataclass(frozen=True)
class Overview:
    """All audits at a glance. `tally` holds (CSS class, words, count), and counts every audit that was started."""

    headline: str
    tally: tuple[tuple[str, str, int], ...]
    total: int
    together: str  # which of the leaks stand, of so many audits
    keys: tuple[str, ...]  # of the specs, those that vary
    lines: tuple[Line, ...]


_ORDER = {"bad": "leak", "unsure": "inconclusive", "broken": "did not finish", "calm": "no leak found"}


def overview(records: Sequence[Record], views: Sequence[View]) -> Overview:
    """Sum up the audits, in the order given."""
    keys, differences = variations([record.spec for record in records])
    counts = Counter(view.tone for view in views)
    tally = tuple((tone, label, counts[tone]) for tone, label in _ORDER.items() if counts[tone])
    return Overview(
        headline=_headline(counts["bad"], counts["calm"], len(views)),
        tally=tally,
        total=len(views),
        together=together(records),
        keys=keys,
        lines=tuple(
            Line(shown, row, _middle(record, ATTACK), _middle(record, FLOOR), _identified(record), duration(record.seconds))
            for record, shown, row in zip(records, views, differences, strict=True)
        ),
    )


def _headline(leaking: int, calm: int, total: int) -> str:
    """What the audits come to. One that is inconclusive, or did not finish, is never summed up as one without a leak."""
    audits = plural(total, "audit")
    if leaking:
        return f"{leaking} of {audits} {'leaks' if leaking == 1 else 'leak'}"
    if not calm:
        return f"None of {audits} can tell"
    return f"No leak found in {audits}" if calm == total else f"No leak found in {calm} of {audits}, the others cannot tell"


def variations(specs: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The top-level keys whose values are not all the same, and for every spec what it says there, without what all share."""
    names = tuple(dict.fromkeys(key for spec in specs for key in spec if key != "name"))
    keys = tuple(key for key in names if any(spec.get(key) != specs[0].get(key) for spec in specs))
    columns = [_told_apart([spec.get(key) for spec in specs]) for key in keys]
    return keys, tuple(tuple(column[row] for column in columns) for row in range(len(specs)))


def _told_apart(values: Sequence[Any]) -> list[str]:
    """Describe each value by its name, and by those of its parts that differ among values of the same name."""
    return [describe(_telling(value, values)) or DASH for value in values]


def _telling(value: Any, others: Sequence[Any]) -> Any:
    if not isinstance(value, Mapping):
        return value
    kin = [other for other in others if isinstance(other, Mapping) and other.get("name") == value.get("name")]
    return {
        key: _telling(part, [other.get(key) for other in kin])
        for key, part in value.items()
        if key == "name" or any(other.get(key) != part for other in kin)
    }


def _middle(record: Record, trial: str) -> str:
    numbers = present(record.trials[trial].scores.get("psnr", ())) if trial in record.trials else []
    return number("psnr", median(numbers)) if numbers else DASH


def _identified(record: Record) -> str:
    ranks = record.trials[ATTACK].ranks if ATTACK in record.trials else None
    return f"{sum(rank == 1 for rank in ranks)} of {len(ranks)}" if ranks else DASH
