"""Audits as a CSV table, for tools of your own."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from leakgauge.auditing.record import Record, Trial
from leakgauge.core.phrasing import phrase
from leakgauge.core.printable import printable


def write_csv(records: Sequence[Record], path: Path) -> None:
    """Write one row per audit, trial and example.

    What tells the audits apart is in columns `spec.*`, and the defenses of each in one column, in words.
    """
    flat = [dict(_flat(record.spec, "spec")) for record in records]
    values: dict[str, set[str]] = {}
    for one in flat:
        for name, value in one.items():
            values.setdefault(name, set()).add(repr(value))
    varying = {name for name, found in values.items() if len(found) > 1 or not all(name in one for one in flat)}
    told = [{name: value for name, value in one.items() if name in varying} for one in flat]
    rows = [row for record, one in zip(records, told, strict=True) for row in _rows(record, one)]
    columns = [_cell(name) for name in dict.fromkeys(name for row in rows for name in row)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({_cell(name): _cell(value) for name, value in row.items()} for row in rows)


def _rows(record: Record, told: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    head: dict[str, Any] = {
        "key": record.key,
        "name": record.name,
        "seed": record.seed,
        "status": record.status,
        "verdict": record.verdict.outcome,
        "defenses": phrase(record.spec.get("defenses")),
        **told,
    }
    if not record.trials:
        yield head
    for name, trial in record.trials.items():
        for example in range(record.setting.examples if record.setting else 0):
            yield {**head, "trial": name, "trial_status": trial.status, "seconds": trial.seconds, **_example(trial, example)}


def _example(trial: Trial, example: int) -> dict[str, Any]:
    return {
        "example": example,
        **{name: values[example] for name, values in trial.scores.items()},
        "rank": trial.ranks[example] if trial.ranks else None,
        "label_accuracy": trial.label_accuracy,
    }


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: text that begins as one stands behind an apostrophe."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.lstrip()[:1] in _FORMULA else text


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _flat(part, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _flat(part, f"{name}.{index}")
    else:
        yield name, value


_FORMULA = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")
"""What spreadsheets begin formulas with, wide letters included."""
