"""Trials one after the other: each is proposed by those before it, rehearsed, and scored; the best one is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, final

from leakgauge.auditing import pipeline
from leakgauge.auditing.record import ATTACK, Record
from leakgauge.core.errors import UsageError
from leakgauge.spec import AuditSpec, prepare
from leakgauge.tuning.goals import Goal, goal_named
from leakgauge.tuning.proposing import check_installed, proposed
from leakgauge.tuning.ranges import Ranges, changed, checked, setting_at
from leakgauge.tuning.rehearsing import rehearsals

Runner = Callable[[Sequence[AuditSpec]], Sequence[Record]]
"""Runs audits; returns their records in the same order."""


@final
@dataclass(frozen=True)
class Tried:
    """One trial: settings, and how its rehearsals went."""

    number: int  # from 0, the audit's own settings
    settings: Mapping[str, Any]
    goal: Goal
    records: tuple[Record, ...]

    @property
    def scores(self) -> tuple[float | None, ...]:
        """One for each rehearsal, in the units of the goal."""
        return tuple(self.goal.of(record) for record in self.records)

    @property
    def merit(self) -> float:
        """What trials are compared by: more is better, -inf is none."""
        return self.goal.merit(self.scores)

    @property
    def score(self) -> float | None:
        """The median over rehearsals, in the units of the goal."""
        merit = self.merit
        return None if merit == -inf else merit if self.goal.is_more_better else -merit

    @property
    def seconds(self) -> float:
        """How long the attack ran, all rehearsals together."""
        return sum(record.trials[ATTACK].seconds for record in self.records if ATTACK in record.trials)


def here(specs: Sequence[AuditSpec]) -> list[Record]:
    """Run audits in this process, and keep nothing."""
    return [pipeline.run(*prepare(spec)).record for spec in specs]


def tried(
    spec: AuditSpec, ranges: Ranges, run: Runner = here, *, trials: int = 20, batches: int = 2, by: str = "psnr"
) -> Iterator[Tried]:
    """Try settings, the audit's own ones first, and yield each trial as it ends.

    All trials have the same `batches` rehearsals. Raises UsageError for what cannot be tuned, and where the audit's own settings
    cannot be rehearsed or have no score; MissingExtra without optuna.
    """
    ranges = checked(spec, ranges)
    goal = goal_named(by, spec, ranges)
    check_installed()
    scene = rehearsals(spec, batches, frozenset({goal.metric}))
    past: list[tuple[Mapping[str, Any], float]] = []
    for number in range(trials):
        if number:
            settings = proposed(ranges, past, seed=spec.parts.seed)
            specs = [changed(one, settings) for one in scene]
        else:
            settings, specs = {path: setting_at(spec, path) for path in ranges}, list(scene)
        trial = Tried(number, settings, goal, tuple(run(specs)))
        if not number:
            _check_first(trial)
        past.append((settings, trial.merit))
        yield trial


def best(trials: Sequence[Tried]) -> Tried:
    """Return the trial with the best score, the earliest among equals. Raises UsageError if none has a score."""
    found = max(trials, key=lambda one: one.merit)
    if found.merit == -inf:
        raise UsageError(
            f"attack: none of {len(trials)} trials has a score, expected at least one; take other ranges, or more --trials"
        )
    return found


def tuned(
    spec: AuditSpec, ranges: Ranges, run: Runner = here, *, trials: int = 20, batches: int = 2, by: str = "psnr"
) -> AuditSpec:
    """Return the audit with the settings that do best in rehearsals, where its secret has no part. Raises as `tried` and `best`."""
    return kept(spec, best(list(tried(spec, ranges, run, trials=trials, batches=batches, by=by))))


def kept(spec: AuditSpec, trial: Tried) -> AuditSpec:
    """Return the audit with the settings of a trial."""
    return changed(spec, trial.settings) if trial.number else spec


def _check_first(trial: Tried) -> None:
    """What the audit's own settings suffer from otherwise than by numbers, no setting would mend."""
    for record, score in zip(trial.records, trial.scores, strict=True):
        if record.status not in ("ok", "diverged"):
            raise UsageError(
                f"attack: cannot be rehearsed as it is ({record.verdict.reason}), expected an audit that runs; correct it first"
            )
        if score is None and record.status == "ok":
            raise UsageError(f"by: got {trial.goal.name!r}, which this attack has no value of, expected another; choose psnr")
