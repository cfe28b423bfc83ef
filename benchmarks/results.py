"""Results on disk, a JSON line per measurement so that a killed run resumes, and the one way in which they are shown."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from rich.console import Console
from rich.table import Table

from leakgauge.auditing.environment import environment

Values = Mapping[str, Any]


@final
@dataclass(frozen=True)
class Shown:
    """What a benchmark says: a table, and the sentences that sum it up."""

    title: str
    rows: Sequence[Values]
    columns: Mapping[str, str]  # field of a row -> heading with unit
    summary: Sequence[str]


@final
@dataclass(frozen=True)
class Results:
    """A folder with one file of rows per benchmark."""

    folder: Path

    def row(self, benchmark: str, key: Values, measure: Callable[[], Values]) -> Values:
        """Return a row that was measured under the same key in the same environment; measure and append it if there is none."""
        path = self.folder / f"{benchmark}.jsonl"
        made_with = {**environment(), "waiting": os.environ["OMP_WAIT_POLICY"]}
        lines = path.read_text().splitlines() if path.exists() else []
        for row in map(json.loads, lines):
            if row["key"] == key and row["environment"] == made_with:
                return {**row["key"], **row["values"]}
        values = measure()
        self.folder.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps({"key": key, "values": values, "environment": made_with}) + "\n")
        return {**key, **values}


def show(shown: Shown, console: Console) -> None:
    console.print(shown.title, style="bold", highlight=False)
    table = Table()
    for heading in shown.columns.values():
        table.add_column(heading)
    for row in shown.rows:
        table.add_row(*(_cell(row.get(name, "")) for name in shown.columns))
    console.print(table)
    for sentence in shown.summary:
        console.print(sentence, highlight=False)
    console.print()


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
