"""Annealing of the likelihood: the prior leads first, the update has the last word (Balunovic et al., ICLR 2022, Sec. 5)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol, final

from leakgauge.core.algorithm import Count, Positive, Share, algorithm
from leakgauge.core.protocols import Found, Search
from leakgauge.core.types import Tick, part_of


class Unexplained(Protocol):
    """How much of an update a restart leaves unexplained where it has ended, as a share of what its mean color alone leaves."""

    def __call__(self, row: int, found: Found, /) -> float:
        """Return the share; above 1 for what is worse than that color."""
        ...


class Stage(Protocol):
    """Searches at a weight of the likelihood, side by side or one after the other, with another search if there is one."""

    def __call__(
        self, weight: float, other: Search | None, rows: Sequence[int], earlier: Sequence[Found], is_last: bool, tick: Tick, /
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

    The prior gives way only as far as the update is explained by that, if there is a `steady` search: where the first stage leaves
    more than the share `unexplained` of what the mean color of its image alone would leave, to weigh the update more would be to
    fit noise, or the kinks of a deep network. Then the best restart alone begins again, by `steady`, with the likelihood back at
    `start`. It begins where it began, and not where it ended: a smooth image is worth more to such an objective than what the
    search makes of it.
    """

    start: Positive = 1e-3
    stages: Count = 4
    halving: bool = False
    polish: Search | None = None
    steady: Search | None = None
    unexplained: Share = 0.5

    def weights(self) -> tuple[float, ...]:
        """Return the weight of every stage; the last is 1."""
        return tuple(self.start ** (1 - (stage + 1) / self.stages) for stage in range(self.stages))

    def minimize(
        self, search: Stage, targets: Sequence[int], unexplained: Unexplained, *, tick: Tick
    ) -> tuple[list[Found | None], Sequence[int]]:
        """Return what each restart finds, and which of them were left for the last stage, whose weight is 1.

        `targets` says what each restart is after: the better half of them is that of one target. The last stage alone may end
        early, at a goal. None is found by restarts beside one that begins again: they were given up at a weight that lets
        them fit what that one does not.
        """
        found: dict[int, Found] = {}
        rows: Sequence[int] = range(len(targets))
        for stage, weight in enumerate(self.weights()):
            is_last = stage == self.stages - 1
            part = part_of(tick, stage, self.stages)
            found |= _searched(search, weight, self.polish if is_last else None, rows, found, is_last, part)
            if stage == 0 and self.steady is not None:
                steady = self._unexplained(_teams(rows, targets), found, unexplained)
                given_up = {targets[row] for row in steady}
                rows = [row for row in rows if targets[row] not in given_up]
                found = {row: one for row, one in found.items() if row in steady or row in rows}
                # Where others go on as well, how far they are is how far all is.
                part = part_of(tick, 1, self.stages, 0 if rows else self.stages - 1)
                found |= _searched(search, self.start, self.steady, steady, {}, False, part)
            if self.halving and not is_last:
                rows = sorted(row for team in _teams(rows, targets) for row in _better_half(team, found))
        return [found.get(row) for row in range(len(targets))], rows

    def _unexplained(self, teams: Sequence[Sequence[int]], found: Mapping[int, Found], unexplained: Unexplained) -> Sequence[int]:
        """The best restart after each target, where it does not explain enough."""
        best = [min(team, key=lambda row: _rank(found[row])) for team in teams]
        return [row for row in best if not unexplained(row, found[row]) <= self.unexplained]


def _searched(
    search: Stage, weight: float, other: Search | None, rows: Sequence[int], found: Mapping[int, Found], is_last: bool, tick: Tick
) -> dict[int, Found]:
    """What the restarts of some rows, if any, find from where they ended before, or from their starts."""
    earlier = [found[row] for row in rows] if found else []
    return {} if not rows else dict(zip(rows, search(weight, other, rows, earlier, is_last, tick), strict=True))


def _teams(rows: Sequence[int], targets: Sequence[int]) -> list[list[int]]:
    """The restarts after each target."""
    return [[row for row in rows if targets[row] == target] for target in dict.fromkeys(targets[row] for row in rows)]


def _better_half(rows: Sequence[int], found: Mapping[int, Found]) -> Sequence[int]:
    return sorted(rows, key=lambda row: _rank(found[row]))[: (len(rows) + 1) // 2]


def _rank(found: Found) -> float:
    return math.inf if math.isnan(found.loss) else found.loss
