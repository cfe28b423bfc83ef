"""The report as Markdown, for a pull request or a chat: the same sentences and numbers, no pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

from leakgauge.core.printable import printable
from leakgauge.report import words
from leakgauge.report.overview import Seeds, overview
from leakgauge.report.scores import Table
from leakgauge.report.view import Audited, View, anchor_for, view


def to_markdown(audits: Sequence[Audited]) -> str:
    """Return the page for these audits, in their order: the same text for the same input."""
    views = [view(Audited(one.record, {}), anchor_for(one.record, place), pictured=0) for place, one in enumerate(audits)]
    lines = ["# Privacy audit of federated learning updates", ""]
    if len(views) > 1:
        summed = overview([one.record for one in audits], views)
        lines += [f"**{summed.headline}.** {summed.together}".strip(), ""]
        if summed.grouped:
            lines += _table(
                (*summed.grouped_keys, "Audits", "Leak", "PSNR, median", "Floor, median"), map(_over_seeds, summed.grouped)
            )
        lines += _table(
            ("Audit", "Verdict", "PSNR, median", "Floor, median", "Identified"),
            ((line.view.title, line.view.outcome_short, line.attack, line.floor, line.identified) for line in summed.lines),
        )
    for one in views:
        lines += _audit(one)
    lines += ["## What this is not", "", *(f"* {limit}" for limit in words.LIMITS), ""]
    return "\n".join(lines)


def _over_seeds(line: Seeds) -> Sequence[str]:
    cells = (f"{cell.text} {cell.detail}".strip() for cell in (line.attack, line.floor))
    return (*line.differences, str(line.count), line.leaks, *cells)


def _audit(shown: View) -> Iterator[str]:
    yield from (f"## {plain(shown.title)}: {shown.outcome}", "", plain(shown.reason), "", plain(shown.meaning), "")
    if shown.attacked:
        yield from (plain(shown.attacked), "")
    if shown.table is not None:
        yield from _scores(shown.table)
    for note in (*shown.diagnosis, *filter(None, [shown.losses])):
        yield f"* {plain(note)}"
    yield ""


def _scores(table: Table) -> Iterator[str]:
    rows = ((row.label, *(" ".join(filter(None, [cell.text, cell.detail])) for cell in row.cells)) for row in table.rows)
    yield from _table(("Metric", *table.columns), rows)


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(map(plain, head))} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(map(plain, row))} |"
    yield ""


def plain(text: str) -> str:
    """Text on one line in which nothing is markup: no cell, link, tag, heading or code can be made of it."""
    return re.sub(r"([\\`*_\[\]|#!~])", r"\\\1", escape(printable(" ".join(text.split())), quote=False))
