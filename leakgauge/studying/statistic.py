"""A number that a study measured, with what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Statistic:
    """A number made of `count` others, with its 95% interval where there is one."""

    value: float
    count: int
    interval: tuple[float, float] | None = None

    def times(self, factor: float) -> Statistic:
        """The same in another unit, a positive factor smaller."""
        interval = self.interval and (factor * self.interval[0], factor * self.interval[1])
        return Statistic(factor * self.value, self.count, interval)
