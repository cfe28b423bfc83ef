"""Measure every option: what its training came to, and what audits find behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from leakgauge.auditing.record import ATTACK, Record
from leakgauge.core.accounting import PrivacyLoss
from leakgauge.core.errors import UsageError
from leakgauge.executor import Listener, Runtime, Trained, execute, ignore, task_of
from leakgauge.federation.running import Curve
from leakgauge.frontier.document import Frontier, Option
from leakgauge.frontier.privacy import guaranteed
from leakgauge.results.store import Store
from leakgauge.spec import key

AUDITS = "audits"
LEAKS = ("leaks", "partial leak")


@final
@dataclass(frozen=True)
class Measured:
    """What an option costs and what it buys."""

    option: Option
    curve: Curve
    tested: int  # examples that the accuracy was measured on
    records: tuple[tuple[Record, ...], ...]  # by seed, one an attack
    privacy: PrivacyLoss | None = None

    @property
    def accuracy(self) -> float | None:
        """After the last round, with what clients keep; None where the training diverged before."""
        return self.curve.points[-1].accuracy.client if self.curve.points and self.curve.status == "ok" else None

    @property
    def seconds(self) -> float | None:
        """Of a round."""
        return self.curve.points[-1].seconds if self.curve.points else None

    @property
    def leaked(self) -> int:
        """In how many updates at least one attack found a leak."""
        return sum(any(one.verdict.outcome in LEAKS for one in attacks) for attacks in self.records)

    @property
    def undecided(self) -> int:
        """In how many others not every attack came to an answer."""
        return sum(
            not any(one.verdict.outcome in LEAKS for one in attacks)
            and any(one.verdict.outcome == "inconclusive" for one in attacks)
            for attacks in self.records
        )

    @property
    def psnr(self) -> tuple[float, ...]:
        """Of every example of every update, the best of all attacks; 0 dB where none guessed."""
        return tuple(max(each) for attacks in self.records for each in zip(*map(_psnr, attacks), strict=True))


def audit(
    frontier: Frontier, trained: Sequence[Trained], out: Path, runtime: Runtime, listener: Listener = ignore
) -> tuple[Measured, ...]:
    """Audit every option, and return it with its training. Raises UsageError as the audits do."""
    options = frontier.options
    specs = [spec for option in options for audits in option.audits.values() for spec in audits]
    tasks = {key(spec): task_of(spec) for spec in specs}
    summary = execute(list(tasks.values()), Store(out / AUDITS), runtime, listener=listener)
    for message in summary.usage_errors:
        raise UsageError(message)
    found = {record.key: record for record in summary.records}
    return tuple(
        Measured(option, one.curve, one.tested, _by_seed(option, found), guaranteed(option, one.sizes))
        for option, one in zip(options, trained, strict=True)
    )


def _by_seed(option: Option, found: dict[str, Record]) -> tuple[tuple[Record, ...], ...]:
    return tuple(zip(*([found[key(spec)] for spec in audits] for audits in option.audits.values()), strict=True))


def _psnr(record: Record) -> Sequence[float]:
    trial = record.trials.get(ATTACK)
    values = trial.scores.get("psnr", ()) if trial else ()
    examples = record.setting.examples if record.setting else 1
    return [value or 0.0 for value in values] or [0.0] * examples
