"""Annealing of the likelihood: the prior leads first, the update has the last word (Balunovic et al., ICLR 2022, Sec. 5)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

from leakgauge.core.algorithm import Count, Positive, algorithm
from leakgauge.core.protocols import Found, Objective, Point, Search
from leakgauge.core.rng import fork
from leakgauge.core.types import Rng, Tick, part_of


@final
@algorithm
class Annealing:
    """Searches `stages` times, each from where the last one ended, at a weight of the likelihood that grows geometrically to 1.

    It grows from `start`, which comes before the first stage. Every stage is a whole search, with the steps that it has.
    """

    start: Positive = 1e-3
    stages: Count = 4

    def weights(self) -> tuple[float, ...]:
        """Return the weight of every stage; the last is 1."""
        return tuple(self.start ** (1 - (stage + 1) / self.stages) for stage in range(self.stages))

    def minimize(
        self,
        search: Search,
        weighted: Callable[[float], Objective],
        start: Point,
        *,
        project: Callable[[Point], Point],
        goal: float,
        rng: Rng,
        tick: Tick,
    ) -> Found:
        """Search stage by stage, for the objective at each weight; only the last stage may end early, at the goal."""
        *earlier, _ = self.weights()
        for stage, weight in enumerate(earlier):
            part = part_of(tick, stage, self.stages)
            start = search.minimize(weighted(weight), start, project=project, goal=-math.inf, rng=fork(rng), tick=part).point
        last = part_of(tick, self.stages - 1, self.stages)
        return search.minimize(weighted(1.0), start, project=project, goal=goal, rng=fork(rng), tick=last)
