"""`federate`: rounds of federated training, with accuracy and checkpoints on the way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leakgauge.cli.running import Device, Settings, interruptible

if TYPE_CHECKING:
    from leakgauge.federation.running import Curve

FOLDER = Path("leakgauge-federations")
_DIVERGED = 3

File = Annotated[Path, typer.Argument(metavar="FILE.yaml", help="Who takes part, and how.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where curves and checkpoints are, and are found again.")]


def federate(file: File, settings: Settings = None, out: Out = FOLDER, device: Device = "auto") -> None:
    """Train a model over many clients, each behind its defenses; the same command goes on where it was stopped.

    Writes curve.json and a checkpoint every so many rounds, from which an audit can start (victim: checkpoint). Exit code 3 if the
    training diverges.
    """
    from leakgauge.cli import progress, screen
    from leakgauge.core.devices import check_device
    from leakgauge.federation.running import run
    from leakgauge.spec import federating

    check_device(device)
    spec = federating.load(file, settings or ())
    federation, test = federating.prepare(spec, device)
    folder = out / spec.key
    made = {"federation": spec.key}
    with interruptible(), progress.steps(spec.rounds, "rounds") as hear:
        _, curve = run(federation, test, spec.rounds, every=spec.every, folder=folder, made=made, hear=hear)
    _show(curve)
    screen.say(f"Checkpoints: {folder}")
    if curve.status != "ok":
        screen.complain("the training diverged, its weights are no numbers any more; lower a learning rate")
        raise typer.Exit(_DIVERGED)


def _show(curve: Curve) -> None:
    from rich.table import Table

    from leakgauge.cli.screen import Screen

    is_kept = any(point.accuracy.stranger is not None for point in curve.points)
    columns = (
        "round",
        "accuracy of the server's weights",
        *(("with what clients keep", "with what is nobody's") if is_kept else ()),
        "s a round",
    )
    table = Table(*columns, box=None)
    for point in curve.points:
        found = point.accuracy
        kept = (f"{found.client:.4f}", "" if found.stranger is None else f"{found.stranger:.4f}") if is_kept else ()
        table.add_row(str(point.round), f"{found.server:.4f}", *kept, f"{point.seconds:.2f}")
    Screen().print(table)
