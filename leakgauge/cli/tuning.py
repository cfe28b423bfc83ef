"""`tune`: settings for an attack, found in rehearsals on public examples."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leakgauge.cli.running import EXAMPLES, INTERRUPTED, AuditFile, Device, Settings, Timeout, Workers, runtime_for

if TYPE_CHECKING:
    from leakgauge.executor import Runtime
    from leakgauge.spec import AuditSpec
    from leakgauge.tuning import Choice, Range, Ranges, Runner, Tried

FOLDER = Path("leakgauge-tuning")
TUNED, TRIALS = "tuned.yaml", "trials.csv"

RangeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--range",
        metavar="KEY=LOW..HIGH",
        help="Tune this setting of the attack; on a logarithmic scale if both ends are positive.",
    ),
]
ChoiceOption = Annotated[
    list[str] | None,
    typer.Option("--choice", metavar="KEY=A,B", help="Tune this setting of the attack, which may be any of these."),
]
Trials = Annotated[int, typer.Option(min=1, help="How many settings are tried, the file's own ones among them.")]
Batches = Annotated[int, typer.Option(min=1, help="How many rehearsals each trial has, the same for all trials.")]
By = Annotated[
    str,
    typer.Option(
        metavar="METRIC",
        help="What the median over rehearsals is of: a metric of the audit (psnr_trained: against what the client trained on); "
        "or loss, the attack's own, which compares only where no range changes the objective (a likelihood, a prior's weight).",
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where rehearsals are, and are found again.")]


def tune(
    file: AuditFile = EXAMPLES / "audit.yaml",
    settings: Settings = None,
    ranges: RangeOption = None,
    choices: ChoiceOption = None,
    trials: Trials = 20,
    batches: Batches = 2,
    by: By = "psnr",
    out: Out = FOLDER,
    device: Device = "auto",
    workers: Workers = None,
    timeout: Timeout = None,
) -> None:
    """Tune an attack on public examples, never on the secret; what was finished before is not run again.

    Each trial is rehearsed: audits of the same setting on examples that the adversary holds. The first trial is the file as it is.
    Writes tuned.yaml, which leakgauge audit takes, and trials.csv. Attacks with as many trials and batches were tuned alike.
    """
    from leakgauge.cli import screen
    from leakgauge.spec import load
    from leakgauge.tuning import best, kept, tried

    spec, wanted = load(file, settings or ()), _ranges(ranges or (), choices or ())
    runtime = runtime_for(device, workers, timeout, batches)
    done: list[Tried] = []
    with _runner(out, runtime, trials * batches) as run:
        for trial in tried(spec, wanted, run, trials=trials, batches=batches, by=by):
            done.append(trial)
            screen.say(f"trial {trial.number + 1} of {trials}: {screen.score(trial)}", to_stderr=True)
    chosen = best(done)
    _write_trials(done, out / TRIALS)
    _write_audit(kept(spec, chosen), out / TUNED)
    screen.show_trials(done, chosen)
    screen.say(f"Tuned audit: {out / TUNED}")
    screen.say(f"Trials: {out / TRIALS}")


def _ranges(ranges: Sequence[str], choices: Sequence[str]) -> Ranges:
    from leakgauge.core.errors import UsageError
    from leakgauge.tuning import read_choice, read_range

    found: dict[str, Range | Choice] = {}
    named: list[tuple[str, Range | Choice]] = [*map(read_range, ranges), *map(read_choice, choices)]
    for path, one in named:
        if path in found:
            raise UsageError(f"{path}: is tuned twice, expected one range or choice; leave one out")
        found[path] = one
    return found


@contextmanager
def _runner(out: Path, runtime: Runtime, total: int) -> Iterator[Runner]:
    """What runs rehearsals into a folder, with progress on stderr; an interrupt ends in its exit code."""
    from leakgauge.cli import progress
    from leakgauge.executor import Event, execute, task_of
    from leakgauge.results.store import Store

    with progress.audits(total) as display:

        def listener(event: Event) -> None:
            display(replace(event, record=None))  # a rehearsal without controls has no verdict worth a line

        try:
            yield lambda specs: execute(map(task_of, specs), Store(out), runtime, listener=listener).records
        except KeyboardInterrupt:
            typer.echo("interrupted: what is finished is kept; resume with the same command", err=True)
            raise typer.Exit(INTERRUPTED) from None


def _write_trials(trials: Iterable[Tried], path: Path) -> None:
    """A row per trial: its settings, its score, that of each rehearsal with the key it is filed under, and seconds."""
    rows = [
        {
            "trial": one.number + 1,
            **{name: value if isinstance(value, int | float | str) else json.dumps(value) for name, value in one.settings.items()},
            one.goal.name: one.score,
            **{f"{one.goal.name} {place}": score for place, score in enumerate(one.scores, 1)},
            "seconds": one.seconds,
            "keys": " ".join(record.key for record in one.records),
        }
        for one in trials
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _write_audit(spec: AuditSpec, path: Path) -> None:
    from leakgauge.core.reading import write_yaml
    from leakgauge.spec import canonical

    path.write_text(write_yaml({"name": f"{spec.name}, tuned", **canonical(spec)}), encoding="utf-8")
