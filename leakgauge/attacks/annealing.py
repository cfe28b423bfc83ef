"""Annealing of the likelihood: the prior leads first, the update has the last word (Balunovic et al., ICLR 2022, Sec. 5)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, final

from leakgauge.core.algorithm import Count, Positive, algorithm
from leakgauge.core.protocols import Found, Search
from leakgauge.core.types import Tick, no_tick, part_of


class Worth(Protocol):
    """What an end of a restart says of the update: how much of it is noise to the candidates."""

    def __call__(self, row: int, found: Found, /) -> float:
        """Return the weight of the likelihood at which it and the prior are at odds as they should be."""
        ...


class Stage(Protocol):
    """Searches at a weight of the likelihood, side by side or one after the other, with another search if there is one."""

    def __call__(
        self, weight: float, other: Search | None, rows: Sequence[int], earlier: Sequence[Found], is_last: bool, tick: Tick, /
    ) -> list[Found]:
        """Return what some of the restarts find from where they ended before; in the first stage, from their starts."""
        ...


class Ended(NamedTuple):
    """What each restart has found, which of them were left for the last stage, and the last weight of each one's likelihood."""

    found: list[Found]
    rows: Sequence[int]
    weights: list[float]


@final
@algorithm
class Annealing:
    """Searches `stages` times, each from where the last one ended, at a weight of the likelihood that grows geometrically to 1.

    It grows from `start`, which comes before the first stage. Every stage is a whole search, with the steps that it has. If
    `measured`, it grows no further than what was found is worth: where an update stays unexplained, for noise or for a defense
    that nobody granted, the prior keeps its weight. With `halving`, the half of the restarts whose loss is higher ends after each
    stage (successive halving, Jamieson and Talwalkar, AISTATS 2016, with equal steps for all stages). The last stage has a search
    of its own if there is a `polish`.
    """

    start: Positive = 1e-3
    stages: Count = 4
    measured: bool = False
    halving: bool = False
    polish: Search | None = None

    def weights(self) -> tuple[float, ...]:
        """Return the weight of every stage; the last is 1."""
        return tuple(self.start ** (1 - (stage + 1) / self.stages) for stage in range(self.stages))

    def minimize(self, search: Stage, targets: Sequence[int], *, worth: Worth, tick: Tick) -> Ended:
        """Return what each restart finds.

        `targets` says what each restart is after: the better half of them is that of one target, and so is what its end is worth.
        The last stage alone may end early, at a goal.
        """
        found: dict[int, Found] = {}
        rows: Sequence[int] = range(len(targets))
        weights: dict[int, float] = {}

        def deserved(target: int, most: float) -> float:
            return min(most, max(worth(row, found[row]) for row in rows if targets[row] == target))

        def go_on(some: Sequence[int], other: Search | None, is_last: bool, tick: Tick) -> None:
            each = dict.fromkeys(weights[targets[row]] for row in some)
            for place, weight in enumerate(each):
                group = [row for row in some if weights[targets[row]] == weight]
                earlier = [found[row] for row in group if row in found]
                ended = search(weight, other, group, earlier, is_last, part_of(tick, place, len(each)))
                found.update(zip(group, ended, strict=True))

        for stage, planned in enumerate(self.weights()):
            is_last = stage == self.stages - 1
            is_known = self.measured and stage > 0
            weights = {target: deserved(target, planned) if is_known else planned for target in targets}
            go_on(rows, self.polish if is_last else None, is_last, part_of(tick, stage, self.stages))
            if self.halving and not is_last:
                teams = [[row for row in rows if targets[row] == target] for target in weights]
                rows = sorted(row for team in teams for row in _better_half(team, found))
        for _ in range(_AGAIN if self.measured else 0):
            more = {target: deserved(target, 1.0) for target in weights}
            grown = {target: weight for target, weight in more.items() if weight >= _MORE * weights[target]}
            if not grown:
                break
            weights |= grown
            go_on([row for row in rows if targets[row] in grown], self.polish, is_last=True, tick=no_tick)
        return Ended([found[row] for row in range(len(targets))], rows, [weights[target] for target in targets])


def _better_half(rows: Sequence[int], found: Mapping[int, Found]) -> Sequence[int]:
    return sorted(rows, key=lambda row: _rank(found[row]))[: (len(rows) + 1) // 2]


def _rank(found: Found) -> float:
    return math.inf if math.isnan(found.loss) else found.loss


_AGAIN, _MORE = 3, 1.5
"""How often the last stage may be repeated where its end is worth more, and by which factor at least."""
