"""What the trainings of a study came to: samples of accuracies, picked by levels, and what they allow to say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, final

from leakgauge.core.errors import UsageError
from leakgauge.core.statistics import mean_interval
from leakgauge.federation.running import Curve, Point
from leakgauge.studying.cases import Course
from leakgauge.studying.pairs import partners
from leakgauge.studying.statistic import Statistic

ROUND = "round"
"""The factor of a view that is no factor of the block: how many rounds were over."""
Accuracy = Literal["server_accuracy", "client_accuracy", "stranger_accuracy"]
ACCURACIES: Mapping[str, str] = {
    "server_accuracy": "server",
    "client_accuracy": "client",
    "stranger_accuracy": "stranger",
}
"""The scores of a training: by the server's weights, with what clients keep, and with something of the kind that is nobody's."""


@final
@dataclass(frozen=True)
class Trainings:
    """Some trainings of a block, those that are the same counted once. One that diverged has an accuracy of 0 from then on."""

    courses: tuple[Course, ...]
    curves: Mapping[str, Curve]

    @property
    def missing(self) -> tuple[Course, ...]:
        """Those that have not run."""
        return tuple(one for one in self.distinct if one.key not in self.curves)

    @property
    def distinct(self) -> tuple[Course, ...]:
        """Those that differ."""
        return tuple({one.key: one for one in self.courses}.values())

    def values(self, score: Accuracy = "client_accuracy", after: int | None = None) -> tuple[float, ...]:
        """The accuracy of every training that has run, after so many rounds or the last one."""
        return tuple(self._of(one, score, after) for one in self.distinct if one.key in self.curves)

    def mean(self, score: Accuracy = "client_accuracy", after: int | None = None) -> Statistic:
        """The mean over trainings, within the ends of a share."""
        values = self.values(score, after)
        interval = mean_interval(values)
        return Statistic(fmean(values), len(values), interval and (max(interval[0], 0.0), min(interval[1], 1.0)))

    def minus(self, other: Trainings, score: Accuracy = "client_accuracy") -> Statistic:
        """The mean, over pairs of trainings, of how much more accurate those of this sample are.

        Trainings are a pair if they agree in every factor but those in which the samples differ. Raises UsageError where one has no
        partner or several.
        """
        pairs = partners(self.courses, other.courses)
        values = [self._of(mine, score, None) - other._of(theirs, score, None) for mine, theirs in pairs]
        return Statistic(fmean(values), len(values), mean_interval(values))

    def _of(self, course: Course, score: str, after: int | None) -> float:
        number, curve = after or course.spec.rounds, self.curves[course.key]
        point = next((one for one in curve.points if one.round == number), None)
        return 0.0 if point is None else _accuracy(point, score)


def _accuracy(point: Point, score: str) -> float:
    found = getattr(point.accuracy, ACCURACIES[score])
    if found is None:
        raise UsageError(f"score: got {score!r}, but no client keeps anything; expected server_accuracy or client_accuracy")
    return float(found)
