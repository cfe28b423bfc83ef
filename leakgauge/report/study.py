"""The page of a study, and its twins in Markdown and JSON: the claims first, then a table and a chart for every view."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from leakgauge.report import findings as said
from leakgauge.report.curves import curves
from leakgauge.report.page import environment
from leakgauge.studying import Findings, Table


def write_study(findings: Findings, folder: Path) -> Path:
    """Write `study.html`, `study.md` and `study.json`; returns the path of the page."""
    page = folder / "study.html"
    page.write_text(render_study(findings), encoding="utf-8")
    (folder / "study.md").write_text(to_markdown(findings), encoding="utf-8")
    (folder / "study.json").write_bytes(_adapter().dump_json(findings, indent=2) + b"\n")
    return page


def render_study(findings: Findings) -> str:
    """Return the page: one file, no script, nothing loaded, the same text for the same findings."""
    charts = [curves(table, f"view-{place + 1}") for place, table in enumerate(findings.tables)]
    return environment().get_template("study.html.j2").render(findings=findings, charts=charts, said=said)


def to_markdown(findings: Findings) -> str:
    """Return the claims and tables as Markdown."""
    rows = [
        f"| {_cell(claim.text)} | {said.measured(claim)} | {said.bounded(claim)} | {claim.result} |" for claim in findings.claims
    ]
    blocks = [
        f"# {findings.question}",
        findings.method,
        "\n".join(["| Claim | Measured | Expected | Result |", "| --- | --- | --- | --- |", *rows]),
        *("\n\n".join(filter(None, [f"## {table.view.title}", _grid(table), said.caption(table)])) for table in findings.tables),
        "## How it was run",
        said.made(findings),
        f"    {findings.command}",
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _grid(table: Table) -> str:
    head = [table.view.by or "", *(f"{table.view.x} {said.level(level)}" for level in table.levels)]
    rows = [
        [
            series.label,
            *(
                f"{said.value(cell, table.view)} ({detail})"
                if (detail := said.detail(cell, table.view))
                else said.value(cell, table.view)
                for cell in series.cells
            ),
        ]
        for series in table.series
    ]
    return "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in [head, ["---"] * len(head), *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


@cache
def _adapter() -> TypeAdapter[Findings]:
    return TypeAdapter(Findings)
