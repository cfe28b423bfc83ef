"""Annealing of the likelihood: the prior leads first, the update has the last word (Balunovic et al., ICLR 2022, Sec. 5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, final

from leakgauge.core.algorithm import Count, Positive, algorithm
from leakgauge.core.protocols import Found, Search
from leakgauge.core.types import Tick, part_of


class Stage(Protocol):
    """Searches at a weight of the likelihood, side by side or one after the other, with another search if there is one."""

    def __call__(
        self, weight: float, other: Search | None, rows: Sequence[int], earlier: Sequence[Found], goal: float, tick: Tick, /
    ) -> list[Found]:
        """Return what some of the restarts find from where they ended before; in the first stage, from their starts."""
        ...


@final
@algorithm
class Annealing:
    """Searches `stages` times, each from where the last one ended, at a weight of the likelihood that grows geometrically to 1.

    It grows from `start`, which comes before the first stage. Every stage is a whole search, with the steps that it has. With
    `halving`, the half of the restarts whose loss is higher ends after each stage (successive halving, Jamieson and Talwalkar,
    AISTATS 2016, with equal steps for all stages). The last stage has a search of its own if there is a `polish`.
    """

    start: Positive = 1e-3
    stages: Count = 4
    halving: bool = False
    polish: Search | None = None

    def weights(self) -> tuple[float, ...]:
        """Return the weight of every stage; the last is 1."""
        return tuple(self.start ** (1 - (stage + 1) / self.stages) for stage in range(self.stages))

    def minimize(self, search: Stage, restarts: int, *, goal: float, tick: Tick) -> tuple[list[Found], Sequence[int]]:
        """Return what each restart finds, and which of them were left for the last stage, whose weight is 1.

        That stage alone may end early, at the goal.
        """
        found: dict[int, Found] = {}
        rows: Sequence[int] = range(restarts)
        for stage, weight in enumerate(self.weights()):
            is_last = stage == self.stages - 1
            earlier = [found[row] for row in rows] if found else []
            part = part_of(tick, stage, self.stages)
            ended = search(weight, self.polish if is_last else None, rows, earlier, goal if is_last else -math.inf, part)
            found |= dict(zip(rows, ended, strict=True))
            if self.halving and not is_last:
                rows = sorted(sorted(rows, key=lambda row: _rank(found[row]))[: (len(rows) + 1) // 2])
        return [found[row] for row in range(restarts)], rows


def _rank(found: Found) -> float:
    return math.inf if math.isnan(found.loss) else found.loss
