"""Samples of the audits of a study: scores of some of them, and what these allow to say."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import final

from leakgauge.auditing.record import ATTACK, CONTROL, TRAINED, Record, Trial
from leakgauge.core.errors import LeakgaugeError, UsageError, suggestion
from leakgauge.core.statistics import clustered_median_interval, clustered_share, mean_interval, median_interval
from leakgauge.results.store import FINISHED
from leakgauge.studying.cases import Case
from leakgauge.studying.pairs import partners
from leakgauge.studying.statistic import Statistic

LABELS = "label_accuracy"
IDENTIFIED = "identified"
"""1 for an example that stands first in the line-up, else 0."""
WORST: Mapping[str, float] = {"psnr": 0.0, "ssim": -1.0, "mse": 1.0, "lpips": 1.0, LABELS: 0.0, IDENTIFIED: 0.0}
"""What a guess scores that is not there. Pixels in [0, 1] are never below 0 dB; LPIPS has no end, but most are below 1."""


@final
class Unsettled(LeakgaugeError):
    """Audits that a claim is about are not there, or failed; the message says which."""


@final
class LeftOut(LeakgaugeError):
    """A claim is about levels or trials that this run leaves out."""


@final
@dataclass(frozen=True)
class Sample:
    """Some cases of a block, those that come to the same audit counted once.

    What is not there yet is in no score; what ended without a guess scores worst.
    """

    cases: tuple[Case, ...]
    records: Mapping[str, Record]

    @property
    def missing(self) -> tuple[Case, ...]:
        """The cases that have not run."""
        return tuple(case for case in self._distinct if case.key not in self.records)

    @property
    def failed(self) -> tuple[Case, ...]:
        """The cases whose audit failed or ran out of time."""
        return tuple(case for case in self._ended if self.records[case.key].status not in FINISHED)

    def blank(self, trial: str = ATTACK) -> tuple[Case, ...]:
        """The cases that ended without a guess of this trial: failed, out of time, or out of scope."""
        return tuple(case for case in self._ended if not _has_guess(self.records[case.key].trials.get(trial)))

    def scores(self, metric: str = "psnr", trial: str = ATTACK) -> tuple[float, ...]:
        """The score of every example of every audit (a label accuracy is one number per audit)."""
        return tuple(value for case in self._ended for value in self._of(case, metric, trial))

    def median(self, metric: str = "psnr", trial: str = ATTACK) -> Statistic:
        """The median over all examples; examples of one batch are not independent."""
        groups = self._groups(metric, trial)
        values = [value for group in groups for value in group]
        return Statistic(_middle(values).value, len(values), clustered_median_interval(groups))

    def mean(self, metric: str = LABELS, trial: str = ATTACK) -> Statistic:
        """The mean over all audits, of the mean over the examples of each; examples of one batch are not independent."""
        values = self._by_audit(metric, trial, fmean)
        interval = mean_interval(values)
        if interval is not None and metric in (LABELS, IDENTIFIED):  # a share: the t interval knows nothing of its ends
            interval = (max(interval[0], 0.0), min(interval[1], 1.0))
        return Statistic(fmean(values), len(values), interval)

    def share(self, threshold: float = 20.0, metric: str = "psnr", trial: str = ATTACK) -> Statistic:
        """The share of all examples whose score reaches the threshold; examples of one batch are not independent."""
        groups = self._groups(metric, trial)
        value, low, high = clustered_share(groups, threshold)
        return Statistic(value, sum(map(len, groups)), (low, high))

    def minus(self, other: Sample, metric: str = "psnr", trial: str = ATTACK) -> Statistic:
        """The median, over pairs of audits, of how much more this sample scores (the median over the examples of an audit).

        Audits are a pair if they agree in every factor but those in which the samples differ: with one seed they have one
        victim and one secret. Raises UsageError where an audit has no partner or several.
        """
        return _middle(self._differences(other, metric, trial, median))

    def ahead(self, other: Sample, metric: str = IDENTIFIED, trial: str = ATTACK) -> Statistic:
        """The mean, over pairs of audits, of how much more this sample scores: of shares, of which a median would be 0 or 1.

        Its interval counts one pair more for either side (Agresti and Min, Stat. Med. 2005), so that pairs that all agree leave
        room for one that does not. Pairs and errors as for `minus`.
        """
        values = self._differences(other, metric, trial, fmean)
        return Statistic(fmean(values), len(values), mean_interval((*values, 1.0, -1.0)))

    def against(self, trial: str, metric: str = "psnr") -> Statistic:
        """The median, over audits, of how much more the attack scores than another trial of the same audit (the floor, say)."""
        ours, others = self._by_audit(metric, ATTACK, median), self._by_audit(metric, trial, median)
        return _middle(tuple(one - other for one, other in zip(ours, others, strict=True)))

    def _differences(
        self, other: Sample, metric: str, trial: str, summed_up: Callable[[Sequence[float]], float]
    ) -> tuple[float, ...]:
        return tuple(
            summed_up(self._of(mine, metric, trial)) - summed_up(other._of(theirs, metric, trial))
            for mine, theirs in partners(self.cases, other.cases)
        )

    def error(self, setting: str) -> Statistic:
        """The median, over audits, of how far a setting that the attack read off the update (`Clipping.norm`) is from what it is.

        As a share of what it is; 1 where the attack read nothing. Of what the client kept (`KeyLock.gamma`) as well.
        """
        return _middle(tuple(_error(self.records[case.key].trials.get(ATTACK), setting) for case in self._ended))

    @property
    def _distinct(self) -> tuple[Case, ...]:
        return tuple({case.key: case for case in self.cases}.values())

    @property
    def _ended(self) -> tuple[Case, ...]:
        return tuple(case for case in self._distinct if case.key in self.records)

    def _groups(self, metric: str, trial: str) -> list[tuple[float, ...]]:
        return [self._of(case, metric, trial) for case in self._ended]

    def _by_audit(self, metric: str, trial: str, summed_up: Callable[[Sequence[float]], float]) -> tuple[float, ...]:
        return tuple(summed_up(self._of(case, metric, trial)) for case in self._ended)

    def _of(self, case: Case, metric: str, trial: str) -> tuple[float, ...]:
        worst, record = worst_of(metric), self.records[case.key]
        if not runs(case, trial):
            raise LeftOut(f"This run leaves out the trial {trial!r} of {case.spec.name}.")
        if record.status in FINISHED and trial not in record.trials:
            raise UsageError(f"trial: {case.spec.name!r} has no {trial!r}, {suggestion(trial, record.trials)}")
        found = record.trials.get(trial)
        if metric == LABELS:
            accuracy = found.label_accuracy if found else None
            return (worst if accuracy is None else accuracy,)
        if metric == IDENTIFIED and found is not None and found.ranks is not None:
            return tuple(float(rank == 1) for rank in found.ranks)
        if found is None or not found.scores:
            examples = record.setting.examples if record.setting else case.spec.parts.batch.size or 1
            return (worst,) * examples
        if metric not in found.scores:
            raise UsageError(f"score: {case.spec.name!r} did not measure {metric!r}, {suggestion(metric, found.scores)}")
        values = found.scores[metric]
        if set(values) == {None} != set(found.scores["psnr"]):  # there is a guess: it is the metric that failed
            raise UsageError(f"score: {case.spec.name!r} could not compute {metric!r} ({' '.join(record.diagnosis)})")
        return tuple(worst if value is None else value for value in values)


def runs(case: Case, trial: str) -> bool:
    """Whether an audit runs this trial, if it can: it is the attack itself, or among its controls."""
    return trial == ATTACK or {CONTROL: "positive"}.get(trial, trial) in case.spec.parts.controls


def worst_of(metric: str) -> float:
    """What a guess scores that is not there. Raises UsageError for a metric of which nobody knows."""
    plain = metric.removesuffix(TRAINED).removesuffix("_affine")
    if plain not in WORST:
        raise UsageError(f"score: got {metric!r}, which has no worst value; {suggestion(plain, WORST)}")
    return WORST[plain]


def _error(trial: Trial | None, setting: str) -> float:
    if trial and setting in trial.uncovered:
        off = trial.uncovered[setting]
        return 1.0 if off is None else off
    found, own = trial.estimates.get(setting, (None, None)) if trial else (None, None)
    return 1.0 if found is None or not own else abs(found / own - 1)


def _has_guess(trial: Trial | None) -> bool:
    return trial is not None and trial.status != "out_of_scope"


def _middle(values: Sequence[float]) -> Statistic:
    if not values or any(math.isnan(value) for value in values):
        raise UsageError("scores: got none, expected at least one")
    return Statistic(median(values), len(values), median_interval(values))
