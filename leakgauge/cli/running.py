"""`audit` and `sweep`: run what a file describes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from leakgauge.executor import Runtime, Summary, Trained
    from leakgauge.results.gate import Policy
    from leakgauge.spec import AuditSpec
    from leakgauge.spec.federating import FederationSpec

INCONCLUSIVE, USAGE, INTERRUPTED = 3, 2, 130

EXAMPLES = Path(__file__).parent.parent / "examples"
AuditFile = Annotated[
    Path, typer.Argument(metavar="[FILE.yaml]", help="What to audit; without a file, a photograph.", show_default=False)
]
SweepFile = Annotated[
    Path, typer.Argument(metavar="[FILE.yaml]", help="What to audit; without a file, the demonstration.", show_default=False)
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE", help="Change a setting, such as attack.steps=100.")
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where results are, and are found again.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Workers = Annotated[int | None, typer.Option(help="How many audits run at once; they share the cores.", show_default="one a core")]
Timeout = Annotated[float | None, typer.Option(metavar="SECONDS", help="Stop an audit that takes longer.", show_default="no limit")]
GatePolicy = Annotated[
    Path | None, typer.Option("--gate", metavar="POLICY.yaml", help="Hold the results against a policy right away.")
]
Shard = Annotated[str | None, typer.Option(metavar="I/N", help="Run part I of N, from 1, into the same folder as the other parts.")]
Ray = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Run on a Ray cluster: its address, auto, or local.", show_default="no cluster"),
]
RESULTS = Path("leakgauge-results")


def audit(
    file: AuditFile = EXAMPLES / "audit.yaml",
    settings: Settings = None,
    out: Out = RESULTS,
    device: Device = "auto",
    workers: Workers = None,
    timeout: Timeout = None,
    shard: Shard = None,
    policy: GatePolicy = None,
) -> None:
    """Run one audit; what was finished before is not run again.

    Exit code 0 whatever is found (a leak as well: see --gate), 3 if the audit is inconclusive.
    """
    rules = _policy(policy)
    from leakgauge.spec import load

    _run_part([load(file, settings or ())], shard, out, runtime_for(device, workers, timeout, 1), rules)


def sweep(
    file: SweepFile = EXAMPLES / "sweep.yaml",
    settings: Settings = None,
    out: Out = RESULTS,
    device: Device = "auto",
    workers: Workers = None,
    timeout: Timeout = None,
    shard: Shard = None,
    policy: GatePolicy = None,
    ray: Ray = None,
) -> None:
    """Run all audits of a grid; run the same command again to resume.

    Exit code 0 whatever is found (a leak as well: see --gate), 3 if any audit is inconclusive.
    """
    rules = _policy(policy)
    from leakgauge.spec import sweep as sweeps

    specs = sweeps.load(file, settings or ()).specs
    _run_part(specs, shard, out, runtime_for(device, workers, timeout, len(specs)), rules, ray)


def _run_part(
    specs: Sequence[AuditSpec], shard: str | None, out: Path, runtime: Runtime, policy: Policy | None, ray: str | None = None
) -> None:
    from leakgauge.spec import sweep as sweeps

    part = specs if shard is None else sweeps.shard(specs, shard)
    _run(part, out, runtime, policy, ray, is_part=shard is not None)


def _run(
    specs: Sequence[AuditSpec], out: Path, runtime: Runtime, policy: Policy | None, ray: str | None, *, is_part: bool = False
) -> None:
    from leakgauge.cli import screen

    summary = execute_all(specs, out, runtime, ray)
    screen.show_records(summary.records)
    if is_part:
        screen.say(f"Once all parts are there, make the report: leakgauge report {out}")
    else:
        from leakgauge.report import write_report

        screen.say(f"Report: {write_report(out)}")
    for message in summary.usage_errors:
        screen.complain(message)
    if summary.usage_errors:
        raise typer.Exit(USAGE)
    if policy is not None:
        from leakgauge.results.gate import gate

        rulings = gate(summary.records, policy)
        screen.show_rulings(rulings)
        raise typer.Exit(rulings.exit_code)
    if any(record.verdict.outcome == "inconclusive" for record in summary.records):
        raise typer.Exit(INCONCLUSIVE)


def execute_all(specs: Sequence[AuditSpec], out: Path, runtime: Runtime, ray: str | None = None) -> Summary:
    """Run audits with progress on stderr, on a Ray cluster if one is named; an interrupt ends in its exit code."""
    from leakgauge.cli import progress
    from leakgauge.executor import execute, execute_on_ray, task_of
    from leakgauge.results.store import Store

    with interruptible(), progress.audits(len(specs)) as listener:
        if ray is not None:
            return execute_on_ray(map(task_of, specs), Store(out.resolve()), runtime, address=ray, listener=listener)
        return execute(map(task_of, specs), Store(out), runtime, listener=listener)


def train_all(specs: Sequence[FederationSpec], out: Path, runtime: Runtime) -> tuple[Trained, ...]:
    """Run federated trainings with progress on stderr; an interrupt ends in its exit code."""
    from leakgauge.cli import progress
    from leakgauge.executor import train

    if not specs:
        return ()
    with interruptible(), progress.steps(len(specs), "trainings") as hear:
        return train(specs, out, runtime, hear)


@contextmanager
def interruptible() -> Iterator[None]:
    """Around work that can be gone on with: an interrupt says so, and ends in its exit code."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted: what is finished is kept; resume with the same command", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _policy(path: Path | None) -> Policy | None:
    if path is None:
        return None
    from leakgauge.results.gate import load_policy

    return load_policy(path)


def runtime_for(device: str, workers: int | None, timeout: float | None, audits: int) -> Runtime:
    """The runtime that was asked for; by default, as many workers as there are cores for audits on the CPU."""
    from leakgauge.core.devices import check_device, cores
    from leakgauge.executor import Runtime

    check_device(device)
    # A GPU is not shared unless asked for: its memory, unlike a core, does not stretch.
    fitting = min(cores(), audits) if device == "cpu" or (device == "auto" and not _has_gpu()) else 1
    at_once = max(1, fitting) if workers is None else workers
    return Runtime(device=device, workers=at_once, timeout=inf if timeout is None else timeout)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
