"""The page of a frontier, and its twins in Markdown and JSON: the recommendation, the plot, and a row for every option."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from pydantic import TypeAdapter

from leakgauge.frontier.finding import Findings, Interval, Row
from leakgauge.report.chart import INKS, STYLE, for_page
from leakgauge.report.numbers import DASH, duration, number, share
from leakgauge.report.page import environment

_INK, _LINE, _MUTED, _ACCENT = INKS
_NAMED = 12
"""Of more options, only those that no other one beats have their name in the plot: names would hide each other."""
_AREA = (430.0, 270.0)
"""The plot within its axes, in points, about."""
_LETTER, _TALL, _GAP = 5.2, 12.0, 5.0
"""A letter's width, a line's height, and the distance of a name from its point, in points."""
HEADINGS = (
    "Option",
    "Accuracy",
    "Updates that leak",
    "Inconclusive",
    "Best PSNR of all attacks (dB)",
    "Time of a round",
    "Guarantee",
    "",
)


def write_frontier(findings: Findings, folder: Path) -> Path:
    """Write `frontier.html`, `frontier.md` and `frontier.json`; returns the path of the page."""
    page = folder / "frontier.html"
    template = environment().get_template("frontier.html.j2")
    shown = template.render(findings=findings, cells=cells, headings=HEADINGS, chart=chart(findings))
    page.write_text(shown, encoding="utf-8")
    (folder / "frontier.md").write_text(to_markdown(findings), encoding="utf-8")
    (folder / "frontier.json").write_bytes(TypeAdapter(Findings).dump_json(findings, indent=2) + b"\n")
    return page


def to_markdown(findings: Findings) -> str:
    """Return the recommendation and the table as Markdown."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(cells(row) for row in findings.rows)]
    table = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
    return f"# {findings.name}\n\n{findings.recommendation}\n\n{table}\n"


def cells(row: Row) -> tuple[str, ...]:
    """What is told of an option, by the headings."""
    return (
        row.name,
        DASH if row.accuracy is None else f"{100 * row.accuracy:.1f}% ({_between(row.accuracy_interval)})",
        f"{row.leaked} of {row.updates} ({_between(row.leak_interval)})",
        f"{row.undecided}",
        " ".join([number("psnr", row.psnr), *([_decibels(row.psnr_interval)] if row.psnr_interval else [])]),
        DASH if row.seconds is None else duration(row.seconds),
        "" if row.privacy is None else f"ε = {row.privacy.epsilon:.3g} at δ = {row.privacy.delta:g}",
        "diverged" if row.accuracy is None else "not beaten by any other" if row.is_best else "",
    )


def chart(findings: Findings) -> str:
    """Draw accuracy against the share of updates that leak, with intervals; options that no other beats are filled and named."""
    rows = [
        (row, row.accuracy, row.accuracy_interval) for row in findings.rows if row.accuracy is not None and row.accuracy_interval
    ]
    if not rows:
        return ""
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.6), dpi=72, layout="constrained")
        axes = figure.add_subplot()
        for row, accuracy, interval in rows:
            leaked, ink = row.leaked / row.updates, _ACCENT if row.is_best else _MUTED
            axes.errorbar(
                [accuracy],
                [leaked],
                xerr=[[accuracy - interval[0]], [interval[1] - accuracy]],
                yerr=[[leaked - row.leak_interval[0]], [row.leak_interval[1] - leaked]],
                color=ink,
                marker="o",
                markersize=6,
                markerfacecolor=ink if row.is_best else "none",
                elinewidth=0.8,
            )
        named = [(row.name, accuracy, row.leaked / row.updates) for row, accuracy, _ in rows if row.is_best or len(rows) <= _NAMED]
        for (name, x, y), place in zip(named, _places(named, axes.get_xlim(), axes.get_ylim()), strict=True):
            axes.annotate(
                name,
                (x, y),
                xytext=place,
                textcoords="offset points",
                color=_INK,
                fontsize=9,
                arrowprops={"arrowstyle": "-", "color": _LINE, "linewidth": 0.7} if abs(place[1]) > _TALL else None,
            )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: share(value)))
        axes.set_xlabel("accuracy after training", color=_MUTED)
        axes.set_ylabel("updates in which a leak was found", color=_MUTED)
        axes.tick_params(colors=_MUTED, length=0)
        axes.grid(color=_LINE, linewidth=0.7)
        axes.set_axisbelow(True)
        for side in axes.spines.values():
            side.set_visible(False)
        return for_page(figure, "frontier", INKS)


def _places(named: Sequence[tuple[str, float, float]], across: Interval, up: Interval) -> list[tuple[float, float]]:
    """Where names go, in points from what they name: beside it, and above or below those that would cover each other."""
    taken: list[tuple[float, float, float]] = []  # left, right and foot of a name
    places = []
    for name, x, y in named:
        wide = _LETTER * len(name)
        left, foot = (_AREA[side] * (value - low) / (high - low) for side, value, (low, high) in ((0, x, across), (1, y, up)))
        shift = _GAP if left + _GAP + wide <= _AREA[0] else -_GAP - wide
        steps = (sign * step for step in range(len(named) + 1) for sign in (1, -1))
        free = (
            step * _TALL
            for step in steps
            if all(
                left + shift > right or left + shift + wide < start or abs(foot + step * _TALL - other) >= _TALL
                for start, right, other in taken
            )
        )
        height = next(free)
        taken.append((left + shift, left + shift + wide, foot + height))
        places.append((shift, height + _GAP))
    return places


def _decibels(interval: Interval) -> str:
    low, high = (number("psnr", one) for one in interval)
    return f"({low} to {high})"


def _between(interval: Interval | None) -> str:
    return "" if interval is None else f"{100 * interval[0]:.1f}% to {100 * interval[1]:.1f}%"
