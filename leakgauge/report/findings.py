"""What is said of the findings of a study, on its page and in Markdown: every sentence and number is settled here."""

from __future__ import annotations

from collections.abc import Callable

from leakgauge.auditing.record import TRAINED
from leakgauge.report.numbers import DASH, duration, number, percentage, plural, share, significant
from leakgauge.report.words import METRICS
from leakgauge.studying import ACCURACIES, Cell, Findings, Judgment, Level, Ruling, Statistic, Table, View

TONES: dict[Ruling, str] = {
    "holds": "calm",
    "fails": "bad",
    "too few to tell": "unsure",
    "cannot tell": "unsure",
    "left out": "broken",
}


def measured(claim: Judgment) -> str:
    """What was measured for a claim, with its interval, or why nothing was."""
    if claim.measured is None:
        return claim.reason
    return " ".join(filter(None, [_in_unit(_figure(claim.measured.value), claim), _spread(claim.measured, _figure)]))


def bounded(claim: Judgment) -> str:
    """What a claim expects."""
    return _in_unit(claim.bound, claim)


def headline(findings: Findings) -> str:
    """How many claims hold, and what became of the others."""
    count = {ruling: sum(claim.result == ruling for claim in findings.claims) for ruling in TONES}
    judged = len(findings.claims) - count["left out"]
    others = [f"{count[ruling]} {words}" for ruling, words in _OTHERS.items() if count[ruling]]
    return "; ".join([f"{count['holds']} of {plural(judged, 'claim')} {'holds' if count['holds'] == 1 else 'hold'}", *others])


_OTHERS: dict[Ruling, str] = {
    "fails": "refuted",
    "too few to tell": "rest on too few to tell",
    "cannot tell": "not to be judged",
    "left out": "left out by --quick",
}


def caption(table: Table) -> str:
    """What the numbers of a table are."""
    view = table.view
    what = {
        "median": f"Median {_score(view)}",
        "mean": f"Mean {_score(view)}",
        "share": f"Share of examples with {_score(view)} ≥ {view.threshold:g}",
    }
    fixed = "".join(f" {factor.capitalize()}: {label}." for factor, label in view.only.items())
    lost = sum(cell.blank for series in table.series for cell in series.cells)
    away = sum(cell.missing for series in table.series for cell in series.cells)
    is_trained = view.score in ACCURACIES
    counted = "trainings" if is_trained else "scores"
    notes = [
        f"{what[view.statistic]}, with a 95% interval where there is one, and the number of {counted}.{fixed}",
        _lost(lost, is_trained=is_trained),
        f"{plural(away, 'training' if is_trained else 'audit')} have not run and are not counted." if away else "",
        view.note,
    ]
    return " ".join(filter(None, notes))


def _lost(count: int, *, is_trained: bool) -> str:
    if not count:
        return ""
    if is_trained:
        return "What diverged has no accuracy from then on, and is in no mean."
    return f"{plural(count, 'audit')} ended without a guess and count with the worst score."


def made(findings: Findings) -> str:
    """How the findings came about."""
    versions = sorted({", ".join(f"{name} {value}" for name, value in one.items()) for one in findings.environments})
    count = len({audit.key for audit in findings.audits})
    trained = len({one.key for one in findings.trainings})
    work = [*([plural(count, "audit")] if count else []), *([plural(trained, "training")] if trained else [])]
    return " ".join(
        [
            f"{' and '.join(work)} on {', '.join(findings.data)}, {duration(findings.seconds)} of work in all"
            f"{' (the short run)' if findings.is_quick else ''}.",
            *(f"With {one}." for one in versions),
        ]
    )


def level(level: Level) -> str:
    """A level as a heading."""
    return level if isinstance(level, str) else f"{level:g}"


def value(cell: Cell, view: View) -> str:
    """The number of a cell."""
    return DASH if cell.statistic is None else _number(view, cell.statistic.value)


def detail(cell: Cell, view: View) -> str:
    """The interval of a cell, how many scores are behind it, and how many points are not."""
    lost = "diverged" if view.score in ACCURACIES else "without a guess"
    away = [f"{cell.blank} {lost}" if cell.blank else "", f"{cell.missing} missing" if cell.missing else ""]
    if cell.statistic is None:
        return f"{cell.blank} {lost}" if cell.blank else "not run" if cell.missing else ""
    return "; ".join(filter(None, [_spread(cell.statistic, lambda value: _number(view, value)).strip("()"), *away]))


def _score(view: View) -> str:
    name = view.score.removesuffix(TRAINED)
    label, unit, _ = METRICS.get(name, (name.replace("_", " "), "", ""))
    return f"{label}{' as trained on' if name != view.score else ''}{f' ({unit})' if unit else ''}"


def _number(view: View, value: float) -> str:
    if view.score in ACCURACIES:
        return percentage(value)
    return share(value) if view.is_share else number(view.score, value)


def _in_unit(figure: str, claim: Judgment) -> str:
    return f"{figure}%" if claim.unit == "%" else f"{figure} {claim.unit}".strip()


def _figure(value: float) -> str:
    return significant(round(value, 2) if abs(value) >= 1 else value)


def _spread(statistic: Statistic, form: Callable[[float], str]) -> str:
    if statistic.count == 1 and statistic.interval is None:
        return ""
    bounds = f"{form(statistic.interval[0])} to {form(statistic.interval[1])}; " if statistic.interval else ""
    return f"({bounds}n = {statistic.count})"
