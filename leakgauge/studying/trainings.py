"""What the trainings of a study came to: samples of accuracies, picked by levels, and what they allow to say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import final

from leakgauge.core.errors import UsageError, suggestion
from leakgauge.core.statistics import mean_interval
from leakgauge.core.types import Status
from leakgauge.federation.running import Curve, Point
from leakgauge.studying.cases import Course
from leakgauge.studying.pairs import partners
from leakgauge.studying.statistic import Statistic

ROUND = "round"
"""The factor of a view that is no factor of the block: how many rounds were over."""
ACCURACIES: Mapping[str, str] = {
    "server_accuracy": "server",
    "client_accuracy": "client",
    "stranger_accuracy": "stranger",
}
"""The scores of a training: by the server's weights, with what clients keep, and with something of the kind that is nobody's."""


@final
@dataclass(frozen=True)
class Trainings:
    """Some trainings of a block, those that are the same counted once. One that diverged has no accuracy from then on."""

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

    @property
    def diverged(self) -> tuple[Course, ...]:
        """Those whose weights became no numbers."""
        return tuple(one for one in self.distinct if one.key in self.curves and self.curves[one.key].status == Status.DIVERGED)

    def values(self, score: str = "client_accuracy", after: int | None = None) -> tuple[float, ...]:
        """The accuracy of every training that came so far, after so many rounds or the last one.

        Raises UsageError for a score that trainings do not have, and for a stranger's where no client keeps anything.
        """
        points = (self._point(one, after) for one in self.distinct if one.key in self.curves)
        return tuple(_accuracy(point, score) for point in points if point is not None)

    def mean(self, score: str = "client_accuracy", after: int | None = None) -> Statistic:
        """The mean over trainings, within the ends of a share. Raises UsageError as `values`, and without any."""
        values = self.values(score, after)
        if not values:
            raise UsageError("trainings: got none that came so far, expected at least one")
        interval = mean_interval(values)
        return Statistic(fmean(values), len(values), interval and (max(interval[0], 0.0), min(interval[1], 1.0)))

    def minus(self, other: Trainings, score: str = "client_accuracy") -> Statistic:
        """The mean, over pairs of trainings, of how much more accurate those of this sample are.

        Trainings are a pair if they agree in every factor but those in which the samples differ. Raises UsageError where one has no
        partner or several, and where one of a pair has no accuracy.
        """
        pairs = partners(self.courses, other.courses)
        values = [self._last(mine, score) - other._last(theirs, score) for mine, theirs in pairs]
        return Statistic(fmean(values), len(values), mean_interval(values))

    def _last(self, course: Course, score: str) -> float:
        point = self._point(course, None)
        if point is None:
            raise UsageError(f"trainings: {course.spec.name} has no accuracy after its last round, expected one; train it")
        return _accuracy(point, score)

    def _point(self, course: Course, after: int | None) -> Point | None:
        number = after or course.spec.rounds
        return next((one for one in self.curves[course.key].points if one.round == number), None)


def _accuracy(point: Point, score: str) -> float:
    if score not in ACCURACIES:
        raise UsageError(f"score: got {score!r}, {suggestion(score, ACCURACIES)}")
    found = getattr(point.accuracy, ACCURACIES[score])
    if found is None:
        raise UsageError(f"score: got {score!r}, but no client keeps anything; expected server_accuracy or client_accuracy")
    return float(found)
