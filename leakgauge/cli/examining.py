"""`doctor`: whether this installation works, and why an attack on a capture may not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from leakgauge.cli.attacking import Numbers, Setting, Shape, Weights, spoken
from leakgauge.core.errors import UsageError

if TYPE_CHECKING:
    from leakgauge.diagnosing import Finding as Symptom
    from leakgauge.doctor import Finding

_BROKEN = 2

Captured = Annotated[
    Path | None, typer.Argument(metavar="[CAPTURE]", help="A capture; without one, the installation.", show_default=False)
]
Network = Annotated[
    str | None, typer.Option("--model", "-m", help="The network of the capture, as for attack.", show_default=False)
]


def doctor(
    captured: Captured = None,
    model: Network = None,
    weights: Weights = None,
    inputs: Shape = None,
    mean: Numbers = None,
    std: Numbers = None,
    client: Setting = None,
    defenses: Setting = None,
) -> None:
    """Check this installation, or say why an attack on a capture cannot work, or will mislead.

    Exit code 2 if something that is not optional is broken, or something that no attack on the capture survives.
    """
    if captured is None:
        from leakgauge.doctor import examine

        _show(examine())
        return
    if model is None:
        raise UsageError("--model: got none, expected the network of the capture; name it as module:function of your code")
    from leakgauge.capture import find, read
    from leakgauge.cli import screen
    from leakgauge.core.registry import look_in
    from leakgauge.diagnosing import diagnose

    look_in(Path())
    given = spoken(model, weights, inputs, mean, std, client, defenses)
    for path in find(captured):
        screen.say(str(path))
        _show(diagnose(read(path), given))


def _show(findings: Iterable[Finding | Symptom]) -> None:
    from rich.table import Table
    from rich.text import Text

    from leakgauge.cli.screen import Screen

    table, is_sound = Table("Check", "State", "Details"), True
    styles: dict[Literal["ok", "absent", "note", "broken"], str] = {
        "ok": "green",
        "absent": "yellow",
        "note": "yellow",
        "broken": "bold red",
    }
    for finding in findings:
        is_sound = is_sound and finding.state != "broken"
        table.add_row(Text(finding.check), Text(finding.state, styles[finding.state]), Text(finding.details))
    Screen().print(table)
    if not is_sound:
        raise typer.Exit(_BROKEN)
