"""`study`: run the audits that answer a question, and hold its claims against what they found."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leakgauge.cli.running import USAGE, Device, Settings, Shard, Timeout, Workers, execute_all, runtime_for, train_all

if TYPE_CHECKING:
    from leakgauge.studying import Study

FOLDER = Path("leakgauge-studies")

Name = Annotated[
    str | None,
    typer.Argument(metavar="[NAME]", help="Which study; without a name, all are listed with their question.", show_default=False),
]
Quick = Annotated[bool, typer.Option("--quick", help="Run the few audits that the study keeps for a short look.")]
DataFile = Annotated[
    Path | None,
    typer.Option("--data", metavar="FILE.npz", help="Take examples from this file: short for --set data={name: npz, path: FILE}."),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="DIR", help="Where results and the page are.", show_default="leakgauge-studies/NAME"),
]


def study(
    name: Name = None,
    is_quick: Quick = False,
    data: DataFile = None,
    settings: Settings = None,
    out: Out = None,
    device: Device = "auto",
    workers: Workers = None,
    timeout: Timeout = None,
    shard: Shard = None,
) -> None:
    """Run a study and judge its claims; what was finished before is not run again.

    Writes study.html, study.json, and study.md with charts. Exit code 0 if all claims hold, 1 if one fails, 3 if one cannot
    be judged because audits are missing or failed, or, in a full run, too few to tell.
    """
    if name is None:
        _list()
        return
    from leakgauge.cli import screen
    from leakgauge.executor import finished
    from leakgauge.report.study import write_study
    from leakgauge.results.store import Store
    from leakgauge.spec import sweep as sweeps
    from leakgauge.studying import cases, conclude, trainings

    chosen, changes = _load(name), [*_data(data), *(settings or ())]
    found = cases(chosen, is_quick=is_quick, overrides=changes)
    courses = trainings(chosen, is_quick=is_quick, overrides=changes)
    specs = list({case.key: case.spec for case in found}.values())
    learned = list({one.key: one for one in courses}.values())
    part, schooled = (specs, learned) if shard is None else (sweeps.shard(specs, shard), sweeps.shard(learned, shard))
    folder = FOLDER / name.replace(":", "-") if out is None else out
    runtime = runtime_for(device, workers, timeout, len(part) + len(schooled))
    train_all([one.spec for one in schooled], folder, runtime)
    summary = execute_all(part, folder, runtime)
    store = Store(folder)
    there = set(store.keys())
    records = {case.key: store.load(case.key) for case in found if case.key in there}
    curves = {one.key: curve for one in learned if (curve := finished(one.spec, folder))}
    command = _command(name, is_quick, data, settings or ())
    findings = conclude(name, chosen, found, records, is_quick=is_quick, command=command, courses=courses, curves=curves)
    screen.show_findings(findings)
    screen.say(f"Page: {write_study(findings, folder)}")
    for message in summary.usage_errors:
        screen.complain(message)
    raise typer.Exit(USAGE if summary.usage_errors else findings.exit_code)


def _list() -> None:
    from rich.table import Table
    from rich.text import Text

    from leakgauge.cli.screen import Screen
    from leakgauge.core.errors import UsageError
    from leakgauge.core.registry import STUDY, entries

    table = Table("Study", "Question", "From")
    for name, entry in entries(STUDY).items():
        try:
            told = _load(name).question
        except UsageError as error:  # a plugin that cannot be imported hides no other
            told = str(error)
        table.add_row(*map(Text, (name, told, entry.origin)))
    Screen().print(table)


def _load(name: str) -> Study:
    from leakgauge.core.errors import UsageError
    from leakgauge.core.registry import STUDY, find
    from leakgauge.studying import Study

    found = find(STUDY, name)
    if not isinstance(found, Study):
        raise UsageError(
            f"study: {name!r} is of type {type(found).__name__}, expected a leakgauge.studying.Study; correct the path"
        )
    return found


def _data(path: Path | None) -> list[str]:
    from leakgauge.core.reading import write_yaml

    return [] if path is None else [f"data={write_yaml({'name': 'npz', 'path': str(path)})}"]


def _command(name: str, is_quick: bool, data: Path | None, settings: list[str] | tuple[str, ...]) -> str:
    """What was asked for, without where and how fast; of the data, the file's name only, for findings are passed on."""
    words = ["leakgauge", "study", name, *(["--quick"] if is_quick else []), *(["--data", data.name] if data else [])]
    return shlex.join([*words, *(word for one in settings for word in ("--set", one))])
