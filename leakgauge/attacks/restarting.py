"""The searches of one attack, from many starts, after one update or several: one after the other, or side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, final

import torch

from leakgauge.attacks.annealing import Annealing
from leakgauge.attacks.computing import AT_ONCE, Computed
from leakgauge.attacks.engine.descent import stacked_points
from leakgauge.attacks.group import GroupConsistency
from leakgauge.attacks.objective import Problem, go_together
from leakgauge.attacks.searches.budgeted import Stepwise
from leakgauge.core.abilities import Concurrent, Foreseeing
from leakgauge.core.protocols import Found, Point, Search
from leakgauge.core.rng import fork
from leakgauge.core.types import Rng, Tick, part_of
from leakgauge.core.workload import threads_for


class Restart(NamedTuple):
    """One of the searches before it begins."""

    problem: Problem
    starts: tuple[Point, ...]  # of the members of a group, or one
    adjusted: Point  # what the start holds beside the examples
    doubts: tuple[str, ...]
    rng: Rng
    goal: float = 0.0  # at which the searches of its target end early
    target: int = 0  # which of several updates it is after


@final
@dataclass(frozen=True)
class Searching:
    """A search, from a group of starts each time, or at a weight of the likelihood that grows, where that is wanted."""

    search: Search
    group: GroupConsistency | None
    annealing: Annealing | None

    def alone(self, one: Restart, *, tick: Tick) -> Found:
        """Return what one search finds."""
        if self.group is None:
            return self.together([one], tick=tick)[0]
        given: dict[str, Any] = {"project": one.problem.project, "goal": one.goal, "rng": one.rng, "tick": tick}
        with self._threads([one] * self.group.members):
            return self.group.minimize(self.search, self._computed(one.problem), one.starts, **given)

    def depends(self, one: Restart) -> bool:
        """Return whether the searches of a target are one: because they can be, or because those that do worse end early."""
        return self._shares(one) or (self.annealing is not None and self.annealing.halving)

    def crosses(self, restarts: Sequence[Restart]) -> bool:
        """Return whether searches after several updates are one as well."""
        firsts = list({one.target: one for one in restarts}.values())
        numbers = sum(value.numel() for value in firsts[0].problem.seen.update.delta.values())
        is_small = len(restarts) * numbers <= _MOST  # each candidate has an update beside it, as long as the search lasts
        return is_small and all(map(self._shares, firsts)) and go_together([one.problem for one in restarts])

    def together(self, restarts: Sequence[Restart], *, tick: Tick) -> list[Found]:
        """Return what all searches find."""
        with self._threads(restarts):
            return self._together(restarts, tick)

    def _together(self, restarts: Sequence[Restart], tick: Tick) -> list[Found]:
        if self.annealing is None:
            return self._searched(restarts, [one.starts[0] for one in restarts], [one.rng for one in restarts], tick)

        def stage(
            weight: float, other: Search | None, rows: Sequence[int], earlier: Sequence[Found], is_last: bool, tick: Tick
        ) -> list[Found]:
            some = [restarts[row]._replace(problem=restarts[row].problem.weighted(weight)) for row in rows]
            starts = [one.point for one in earlier] or [one.starts[0] for one in some]
            ending = some if is_last else [one._replace(goal=-math.inf) for one in some]
            searching = replace(self, search=other or self.search)
            return searching._searched(ending, starts, [fork(one.rng) for one in some], tick)

        def worth(row: int, found: Found) -> float:
            return restarts[row].problem.worth(found.point)

        ended = self.annealing.minimize(stage, [one.target for one in restarts], worth=worth, tick=tick)
        last = [one.problem.weighted(weight) for one, weight in zip(restarts, ended.weights, strict=True)]
        return [one if row in ended.rows else _evaluated(last[row], one) for row, one in enumerate(ended.found)]

    def _searched(self, restarts: Sequence[Restart], starts: Sequence[Point], rngs: Sequence[Rng], tick: Tick) -> list[Found]:
        """What is found from each of some starts: at once where that can be, or one after the other."""
        project = restarts[0].problem.project
        if isinstance(self.search, Concurrent) and self._shares(restarts[0]):
            return self.search.minimize_each(
                self._computed(*(one.problem for one in restarts)),
                stacked_points(starts),
                project=project,
                goals=[one.goal for one in restarts],
                targets=[one.target for one in restarts],
                rngs=rngs,
                tick=tick,
            )
        return [
            self.search.minimize(
                self._computed(one.problem),
                start,
                project=project,
                goal=one.goal,
                rng=rng,
                tick=part_of(tick, place, len(restarts)),
            )
            for place, (one, start, rng) in enumerate(zip(restarts, starts, rngs, strict=True))
        ]

    def _shares(self, one: Restart) -> bool:
        """Whether all searches can be one: what each is worth depends on its examples alone, and they differ in labels."""
        return isinstance(self.search, Concurrent) and self.group is None and not one.adjusted and one.problem.is_shareable

    def _threads(self, restarts: Sequence[Restart]) -> AbstractContextManager[None]:
        """As many threads as the candidates that are computed at once keep busy."""
        problem, most = restarts[0].problem, max(1, AT_ONCE // len(restarts[0].problem.labels))
        is_many = self.group is not None or self._shares(restarts[0])
        count = most if isinstance(self.search, Stepwise) else min(most, len(restarts)) if is_many else 1
        return threads_for(count * problem.operations)

    def _computed(self, *problems: Problem) -> Computed:
        return Computed(problems, self.search.evaluations if isinstance(self.search, Foreseeing) else 0)


_MOST = 20_000_000
"""Numbers of updates, one for each candidate, up to which several targets are searched together: more take memory, and such
networks keep a machine busy with the candidates of one."""


def _evaluated(problem: Problem, found: Found) -> Found:
    with torch.no_grad():
        return replace(found, loss=float(problem(found.point)))
