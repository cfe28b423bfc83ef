"""The searches of one attack, from many starts: one after the other, or side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

from leakgauge.attacks.annealing import Annealing
from leakgauge.attacks.computing import Computed
from leakgauge.attacks.engine.descent import stacked_points
from leakgauge.attacks.group import GroupConsistency
from leakgauge.attacks.objective import Problem
from leakgauge.core.abilities import Concurrent, Foreseeing
from leakgauge.core.protocols import Found, Point, Search
from leakgauge.core.types import Rng, Tick


class Restart(NamedTuple):
    """One of the searches before it begins."""

    problem: Problem
    starts: tuple[Point, ...]  # of the members of a group, or one
    adjusted: Point  # what the start holds beside the examples
    doubts: tuple[str, ...]
    rng: Rng


@final
@dataclass(frozen=True)
class Searching:
    """A search, from a group of starts each time, or at a weight of the likelihood that grows, where that is wanted."""

    search: Search
    group: GroupConsistency | None
    annealing: Annealing | None

    def alone(self, one: Restart, *, goal: float, tick: Tick) -> Found:
        """Return what one search finds."""
        given: dict[str, Any] = {"project": one.problem.project, "goal": goal, "rng": one.rng, "tick": tick}
        if self.group is not None:
            return self.group.minimize(self.search, self._computed(one.problem), one.starts, **given)
        if self.annealing is not None:
            return self.annealing.minimize(
                self.search, lambda weight: self._computed(one.problem.weighted(weight)), one.starts[0], **given
            )
        return self.search.minimize(self._computed(one.problem), one.starts[0], **given)

    def shares(self, one: Restart) -> bool:
        """Return whether all searches can be one: what each is worth depends on its examples alone, and they differ in labels."""
        is_plain = self.group is None and self.annealing is None and not one.adjusted
        return isinstance(self.search, Concurrent) and is_plain and one.problem.is_shareable

    def together(self, restarts: Sequence[Restart], *, goal: float, tick: Tick) -> list[Found]:
        """Return what all searches find as one. Raises TypeError for a search that cannot."""
        if not isinstance(self.search, Concurrent):
            raise TypeError(f"{self.search!r} follows one start at a time")
        objective = self._computed(*(one.problem for one in restarts))
        starts = stacked_points([one.starts[0] for one in restarts])
        rngs = [one.rng for one in restarts]
        return self.search.minimize_each(objective, starts, project=restarts[0].problem.project, goal=goal, rngs=rngs, tick=tick)

    def _computed(self, *problems: Problem) -> Computed:
        return Computed(problems, self.search.evaluations if isinstance(self.search, Foreseeing) else 0)
