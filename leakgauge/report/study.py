"""The page of a study, and its twins in Markdown and JSON: the claims first, then a chart and a table for every view."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from markupsafe import Markup
from pydantic import TypeAdapter

from leakgauge.report import findings as said
from leakgauge.report.curves import curves
from leakgauge.report.page import environment
from leakgauge.studying import Findings, Table


def write_study(findings: Findings, folder: Path) -> Path:
    """Write `study.html`, `study.json`, and `study.md` with its charts in `charts/`; returns the path of the page."""
    page = folder / "study.html"
    page.write_text(render_study(findings), encoding="utf-8")
    (folder / "study.md").write_text(to_markdown(findings), encoding="utf-8")
    (folder / "study.json").write_bytes(_adapter().dump_json(findings, indent=2) + b"\n")
    charts = folder / "charts"
    charts.mkdir(exist_ok=True)
    for name, drawing in to_charts(findings).items():
        (charts / name).write_text(drawing, encoding="utf-8")
    return page


def render_study(findings: Findings) -> str:
    """Return the page: one file, no script, nothing loaded, the same text for the same findings."""
    return environment().get_template("study.html.j2").render(findings=findings, charts=_curves(findings), said=said)


def to_charts(findings: Findings) -> dict[str, str]:
    """Return the chart of every view that has one as an SVG file of its own, by the name that the Markdown knows it by."""
    return {
        _chart(findings, place): _alone(drawing, findings.tables[place].view.title)
        for place, drawing in enumerate(_curves(findings))
        if drawing
    }


def to_markdown(findings: Findings) -> str:
    """Return the claims and tables as Markdown."""
    rows = [
        f"| {_cell(claim.text)} | {said.measured(claim)} | {said.bounded(claim)} | {claim.result} |" for claim in findings.claims
    ]
    blocks = [
        f"# {findings.question}",
        findings.method,
        "\n".join(["| Claim | Measured | Expected | Result |", "| --- | --- | --- | --- |", *rows]),
        *(_section(findings, place, bool(drawing)) for place, drawing in enumerate(_curves(findings))),
        "## How it was run",
        said.made(findings),
        f"    {findings.command}",
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _section(findings: Findings, place: int, is_drawn: bool) -> str:
    table = findings.tables[place]
    picture = f"![{table.view.title}](charts/{_chart(findings, place)})" if is_drawn else ""
    return "\n\n".join(filter(None, [f"## {table.view.title}", picture, _grid(table), said.caption(table)]))


def _chart(findings: Findings, place: int) -> str:
    return f"{findings.name.replace(':', '-')}-{place + 1}.svg"


def _curves(findings: Findings) -> list[str]:
    return [curves(table, f"view-{place + 1}") for place, table in enumerate(findings.tables)]


def _alone(drawing: str, title: str) -> str:
    """A drawing that is made for a page, as a file that brings its colors along: without comments and indentation, which weigh."""
    head, _, body = drawing.partition(">")
    size = head[head.index("viewBox") :].partition(" aria-hidden")[0]
    short = re.sub(r"\s*\n\s*", " ", re.sub(r"<!--.*?-->", "", body.removesuffix("</svg>"), flags=re.DOTALL)).replace("> <", "><")
    return environment().get_template("chart.svg.j2").render(title=title, size=Markup(size), drawing=short.strip())


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
