"""What a trial is scored by: a metric, which who owns the images can compute, or the attack's own loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from statistics import fmean, median
from typing import Any, final

from leakgauge.auditing.record import ATTACK, TRAINED, Record
from leakgauge.core.errors import UsageError, suggestion
from leakgauge.core.rng import stream, uniform
from leakgauge.spec import AuditSpec, describe
from leakgauge.tuning.ranges import Ranges, changed

LOSS = "loss"
_ELSEWHERE = frozenset({"search", "restarts", "enough"})
"""The settings of a matching attack that say how its objective is minimized, and not what it is."""


@final
@dataclass(frozen=True)
class Goal:
    """A metric of the audit, or "loss"; and whether more of it is better.

    With "_trained" behind its name, a metric is taken against what the client trained on, which may be the examples as they are.
    """

    name: str
    is_more_better: bool

    @property
    def metric(self) -> str:
        """What the audit calls the metric."""
        return self.name.removesuffix(TRAINED)

    def of(self, record: Record) -> float | None:
        """The score of one rehearsal: the lowest loss of its restarts, or the mean of a metric over its examples.

        None where the attack gave none, and where one of the examples has none.
        """
        trial = record.trials.get(ATTACK)
        if trial is None:
            return None
        if self.name == LOSS:
            return min((loss for loss in trial.losses if loss is not None), default=None)
        scores = trial.scores.get(self.name, trial.scores.get(self.metric, ()))
        values = [value for value in scores if value is not None]
        return fmean(values) if values and len(values) == len(scores) else None

    def merit(self, scores: Sequence[float | None]) -> float:
        """The median over rehearsals, turned so that more is better; one without a score counts as the worst, -inf."""
        sign = 1 if self.is_more_better else -1
        return median(-inf if score is None else sign * score for score in scores)


def goal_named(name: str, spec: AuditSpec, ranges: Ranges) -> Goal:
    """Return a goal by name. Raises UsageError for one that the audit does not have, and for a loss that the ranges change."""
    if name == LOSS:
        _check_one_objective(spec, ranges)
        return Goal(LOSS, is_more_better=False)
    metric = spec.parts.metrics.get(name.removesuffix(TRAINED))
    if metric is None:
        raise UsageError(f"by: got {name!r}, expected loss or a metric of the audit, {suggestion(name, spec.parts.metrics)}")
    # Which way a metric goes is asked of the metric: no copy is further off than noise.
    truth, noise = (uniform((1, 3, 32, 32), stream(0, "tune", what)) for what in ("truth", "noise"))
    return Goal(name, is_more_better=bool((metric(truth, truth) > metric(noise, truth)).all()))


def _check_one_objective(spec: AuditSpec, ranges: Ranges) -> None:
    own = _objective(describe("attack", spec.parts.attack))
    for path, one in ranges.items():
        if any(_objective(describe("attack", changed(spec, {path: value}).parts.attack)) != own for value in one.ends):
            raise UsageError(
                f"by: got 'loss', but {path} changes the objective, whose values then do not compare; "
                "expected settings of the search alone, or a metric such as psnr"
            )


def _objective(config: Any) -> Any:
    """The description of an attack without what does not touch its objective, at any depth."""
    if isinstance(config, dict):
        return {name: _objective(value) for name, value in config.items() if name not in _ELSEWHERE}
    return [_objective(value) for value in config] if isinstance(config, list) else config
