"""What is shown on a terminal: results on stdout, errors on stderr; text from outside steers neither."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import indent
from typing import TYPE_CHECKING, final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from leakgauge.auditing.record import ATTACK, BLIND, CONTROL, FLOOR, Outcome, Record, Trial
from leakgauge.core.printable import line, printable

if TYPE_CHECKING:
    from leakgauge.results.gate import Result, Rulings
    from leakgauge.results.variations import Group
    from leakgauge.studying import Findings, Ruling
    from leakgauge.tuning import Tried

STYLES: dict[Outcome | Result | Ruling, str] = {
    "leaks": "bold red",
    "partial leak": "bold red",
    "no leak found by these attacks": "bold green",
    "inconclusive": "bold yellow",
    "not judged": "bold yellow",
    "pass": "bold green",
    "fail": "bold red",
    "holds": "bold green",
    "fails": "bold red",
    "cannot tell": "bold yellow",
    "too few to tell": "bold yellow",
    "left out": "dim",
}


_FEW = 12
"""Up to so many audits are listed one by one even where a line for several seeds sums them up."""


@final
class Screen(Console):
    """A console on which no text is more than text."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Return segments whose text is printable; what Rich itself says to the terminal stays."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def complain(text: str) -> None:
    """Write an error in one line."""
    say(f"error: {line(text)}", to_stderr=True)


def say(text: str | Text, *, to_stderr: bool = False) -> None:
    """Write a line as it is, whatever its length and whatever brackets are in it."""
    Screen(stderr=to_stderr).print(text, markup=False, highlight=False, soft_wrap=True)


def show_records(records: Sequence[Record]) -> None:
    """Show one audit in full, several as a table."""
    if len(records) == 1:
        _show_record(records[0])
    else:
        _show_table(records)


def show_rulings(rulings: Rulings) -> None:
    """Show what the gate says: each audit that does not pass, then the whole."""
    for ruling in rulings.rulings:
        if ruling.result != "pass":
            say(Text.assemble((ruling.result, STYLES[ruling.result]), f"  {line(ruling.name)} ({ruling.key})"))
            for reason in ruling.reasons:
                say(f"    {line(reason)}")
    say(Text.assemble("Gate: ", (rulings.result, STYLES[rulings.result]), f". {rulings.reason}"))


def show_findings(findings: Findings) -> None:
    """Show the claims of a study with what was measured, and what is missing."""
    from leakgauge.report.findings import bounded, measured

    say(Text(findings.question, "bold"))
    table = Table("Claim", "Measured", "Expected", "Result")
    for claim in findings.claims:
        table.add_row(Text(claim.text), Text(measured(claim)), Text(bounded(claim)), Text(claim.result, STYLES[claim.result]))
    Screen().print(table)
    if findings.missing:
        first = ", ".join(f"{factor} {label}" for factor, label in findings.missing[0].levels.items())
        say(f"{len(findings.missing)} of {len(findings.audits)} audits are missing, the first at {first}: run the other parts.")


def _show_record(record: Record) -> None:
    from leakgauge.report.scores import score_table

    outcome = record.verdict.outcome
    say(Text.assemble((outcome.capitalize(), STYLES[outcome]), f"  {line(record.name)} ({record.key})"))
    say(line(record.verdict.reason))
    if record.setting is not None and outcome != "not judged":
        scores = score_table(record, record.setting, "")
        table = Table("", *scores.columns)
        for row in scores.rows:
            table.add_row(*map(Text, (row.label, *(cell.text for cell in row.cells))))
        Screen().print(table)
        for note in scores.notes:
            say(note)
    for note in record.diagnosis:
        say(line(note))
    if record.error and record.error not in record.verdict.reason:
        say(indent(record.error.rstrip(), "    "))  # so that no line of it passes for one of ours


def _show_table(records: Sequence[Record]) -> None:
    from leakgauge.results.multiplicity import together
    from leakgauge.results.variations import over_seeds

    groups = over_seeds(records)
    if len(records) <= _FEW or not groups:
        _show_each(records)
    if groups:
        _show_groups(groups)
    if told := together(records):
        say(told)


def _show_groups(groups: Sequence[Group]) -> None:
    """A line for audits that differ in their seeds alone."""
    from leakgauge.report.overview import seeds

    settings = (Column(key.capitalize(), overflow="fold") for key in groups[0].differences)
    table = Table(*settings, "Audits", "Leak", "PSNR", "Floor")
    for summed in map(seeds, groups):
        cells = (f"{cell.text} {cell.detail}".strip() for cell in (summed.attack, summed.floor))
        table.add_row(*map(Text, (*summed.differences, str(summed.count), summed.leaks, *cells)))
    Screen().print(table)
    say("Over seeds: PSNR in dB, of each audit's median example. The report shows each audit.")


def _show_each(records: Sequence[Record]) -> None:
    table = Table(Column("Audit", overflow="fold"), "Verdict", "PSNR", "Floor", "Blind guess", "Positive control")
    for record in records:
        outcome = record.verdict.outcome
        best = (_best_psnr(record.trials.get(name)) for name in (ATTACK, FLOOR, BLIND, CONTROL))
        table.add_row(Text(line(record.name)), Text(outcome, STYLES[outcome]), *map(Text, best))
    Screen().print(table)
    say("PSNR in dB, of the best example.")


def _best_psnr(trial: Trial | None) -> str:
    values = [value for value in (trial.scores.get("psnr", ()) if trial else ()) if value is not None]
    return f"{max(values):.1f}" if values else "–"


def score(trial: Tried) -> str:
    """The score of a trial with its settings, in a line."""
    from leakgauge.tuning.ranges import told

    return f"{trial.goal.name} {_number(trial.score)} ({told(trial.settings)})"


def show_trials(trials: Sequence[Tried], best: Tried) -> None:
    """Show what was tried and what it came to, the best trial in bold."""
    first, goal, count = trials[0], best.goal.name, len(best.records)
    table = Table(
        "Trial", *(path.removeprefix("attack.") for path in first.settings), f"{goal}, median of {count}", "Seconds of attack"
    )
    for one in trials:
        values = ("–" if value is None else str(value) for value in one.settings.values())
        cells = (str(one.number + 1), *values, _number(one.score), f"{one.seconds:.1f}")
        table.add_row(*(Text(cell, "bold" if one is best else "") for cell in cells))
    Screen().print(table)
    say(f"Best: trial {best.number + 1}, {goal} {_number(best.score)}; the file's own settings: {_number(first.score)}.")
    attacks, seconds = sum(len(one.records) for one in trials), sum(one.seconds for one in trials)
    say(f"Budget: {len(trials)} trials of {count} rehearsals, {attacks} attacks in all, {seconds:.1f} s of attack.")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
