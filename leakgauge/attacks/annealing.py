"""Annealing of the likelihood: the prior leads first, the update has the last word (Balunovic et al., ICLR 2022, Sec. 5)."""

from __future__ import annotations

from typing import final

from leakgauge.algorithm import Count, Positive, algorithm


@final
@algorithm
class Annealing:
    """Searches `stages` times, each from where the last one ended, at a weight of the likelihood that grows geometrically to 1.

    The first weight is `start`. Every stage is a whole search, with the steps that it has.
    """

    start: Positive = 1e-3
    stages: Count = 4

    def weights(self) -> tuple[float, ...]:
        """Return the weight of every stage; the last is 1."""
        return tuple(self.start ** (1 - (stage + 1) / self.stages) for stage in range(self.stages))
