"""`frontier`: what every defense costs and what it buys."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leakgauge.cli.running import Device, Settings, Timeout, Workers, interruptible, runtime_for, train_all

if TYPE_CHECKING:
    from leakgauge.frontier.finding import Findings

EXAMPLE = Path(__file__).parent.parent / "examples" / "frontier.yaml"

File = Annotated[
    Path,
    typer.Argument(metavar="[FILE.yaml]", help="Base, attacks and defenses; without a file, an example.", show_default=False),
]
Quick = Annotated[bool, typer.Option("--quick", help="Take fewer rounds and audits, as the file says under quick.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where results are, and are found again.")]


def frontier(
    file: File = EXAMPLE,
    is_quick: Quick = False,
    settings: Settings = None,
    out: Out = Path("leakgauge-frontier"),
    device: Device = "auto",
    workers: Workers = None,
    timeout: Timeout = None,
) -> None:
    """Train with every defense and attack it: accuracy against leaks, and a recommendation; run it again to go on.

    Writes frontier.html, frontier.md and frontier.json. Exit code 0 whatever comes out.
    """
    from leakgauge.cli import progress, screen
    from leakgauge.frontier.document import load
    from leakgauge.frontier.finding import conclude
    from leakgauge.frontier.page import write_frontier
    from leakgauge.frontier.running import audit

    chosen = load(file, settings or (), is_quick=is_quick)
    audits = sum(len(specs) for option in chosen.options for specs in option.audits.values())
    runtime = runtime_for(device, workers, timeout, audits)
    trained = train_all([option.federation for option in chosen.options], out, runtime)
    with interruptible(), progress.audits(audits) as listener:
        measured = audit(chosen, trained, out, runtime, listener)
    words = ["leakgauge", "frontier", file.name, *(["--quick"] if is_quick else [])]
    command = shlex.join([*words, *(part for one in settings or () for part in ("--set", one))])
    findings = conclude(chosen, measured, command=command)
    _show(findings)
    screen.say(f"Page: {write_frontier(findings, out)}")


def _show(findings: Findings) -> None:
    from rich.table import Table
    from rich.text import Text

    from leakgauge.cli.screen import Screen, say
    from leakgauge.frontier.page import HEADINGS, cells

    table = Table(*HEADINGS, box=None)
    for row in findings.rows:
        table.add_row(*map(Text, cells(row)))
    Screen().print(table)
    say(findings.recommendation)
