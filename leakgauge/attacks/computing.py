"""How an objective is computed: candidate by candidate or at once, as it is or compiled. Searches do not know, nor do recipes.

What is chosen follows from counts and not from a clock, so that an audit gives the same numbers twice.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from leakgauge.attacks.engine.compiled import Computation, compiled, is_worthwhile
from leakgauge.attacks.engine.descent import row_of, stacked, together
from leakgauge.attacks.engine.products import Target
from leakgauge.attacks.objective import Problem, aims_of, losses_of
from leakgauge.core.abilities import Descents
from leakgauge.core.differentiation import slopes
from leakgauge.core.protocols import Point

AT_ONCE = 16
"""Examples of a population that run through the network together: more take more memory, and hardly less time."""
_WORTH = 1_000_000
"""Numbers of a gradient that need to be spared before products pay for a single candidate (see docs/performance.md)."""
_DIGITS = 1e-4
"""The share of a vanishing update's loss below which the difference of gradients itself is taken: products would lose digits."""

_APART = 2e-3
"""How far losses at once may be from those alone: rounding, and what pruning makes of it where numbers are nearly equal."""


@final
@dataclass(frozen=True)
class Computed:
    """Problems of one search, which differ by labels or updates alone, as its objective: n stacked points are of one of them each.

    Or one problem, of which all points are. `evaluations` are those that the search will ask for, as far as it can say.
    """

    problems: tuple[Problem, ...]
    evaluations: int = 0
    alone: set[int] = field(default_factory=set)
    """Rows that cannot be computed with others, or came so near to the truth that products would lose digits."""
    compiled: dict[Hashable, Computation | None] = field(default_factory=dict)
    right: dict[int, bool] = field(default_factory=dict)
    """Whether so many candidates have the losses at once that they have alone: a network may mix what lies side by side."""
    aims: dict[Hashable, tuple[Target, ...]] = field(default_factory=dict)
    """The updates that some rows are after."""

    def __call__(self, point: Point) -> Tensor:
        """Return the objective of the first problem."""
        return self.problems[0](point)

    def each(self, points: Point, /) -> Tensor:
        """Return the objective [n] at each of n points."""
        return torch.cat([self._each(points, rows) for rows in _parts(range(_count(points)), points)])

    def descents(self, points: Point, /) -> Descents:
        """Return the objective and its slopes at each of n points."""
        rows = range(_count(points))
        found: dict[int, Descents] = {}
        if self._is_at_once([row for row in rows if row not in self.alone]):
            for part in _parts([row for row in rows if row not in self.alone], points):
                found |= self._at_once(points, part)
        found |= {row: self._alone(points, row) for row in rows if row not in found}
        return stacked([found[row] for row in rows])

    def _is_at_once(self, rows: Sequence[int]) -> bool:
        if len(rows) != 1:
            return len(rows) > 1
        problem = self._of(rows[0])
        return problem.is_shareable and (is_worthwhile(self.evaluations) or problem.unwritten >= _WORTH)

    def _of(self, row: int) -> Problem:
        return self.problems[row % len(self.problems)]

    def _each(self, points: Point, rows: Sequence[int]) -> Tensor:
        problems = [self._of(row) for row in rows]
        found = losses_of(problems, _taken(points, rows), self._aims(rows))
        if found is None:
            return torch.stack([problem(row_of(points, row)) for problem, row in zip(problems, rows, strict=True)])
        losses, sound = problems[0].weight * found.likelihood + found.prior, found.are_sound
        checked = [row for row, is_sound in zip(rows, sound.tolist(), strict=True) if is_sound]
        if not self._is_right(points, checked, losses[sound], len(rows)):
            sound = torch.zeros_like(sound)
        return torch.stack([losses[at] if sound[at] else problems[at](row_of(points, row)) for at, row in enumerate(rows)])

    def _alone(self, points: Point, row: int) -> Descents:
        """What is found at one point, by reverse differentiation."""
        problem, point = self._of(row), row_of(points, row)

        def compute(*values: Tensor) -> tuple[Tensor, ...]:
            losses, moved = together(problem, dict(zip(point, values, strict=True)))
            return losses, *moved.values()

        loss, *moved = self._run(compute, point, row % len(self.problems), is_fixed=problem.ball is None)
        return Descents(loss, dict(zip(point, moved, strict=True)))

    def _at_once(self, points: Point, rows: Sequence[int]) -> dict[int, Descents]:
        """What is found at some of the points through one computation; not at those that have to go alone from now on."""
        problems, part, aims = [self._of(row) for row in rows], _taken(points, rows), self._aims(rows)

        def compute(*values: Tensor) -> tuple[Tensor, ...]:
            with torch.enable_grad():
                leaves = {name: value.detach().requires_grad_() for name, value in zip(part, values, strict=True)}
                terms = losses_of(problems, leaves, aims)
                if terms is None:
                    return ()
                losses = problems[0].weight * terms.likelihood + terms.prior
                moved = slopes(losses.sum(), list(leaves.values()))
            is_near = terms.likelihood.detach() < _DIGITS * _vanishing(problems, losses)
            return losses.detach(), (is_near | ~terms.are_sound) & losses.detach().isfinite(), *moved

        # Which labels go with which row is part of what is compiled, so not for the rows that are left when others go alone.
        found = self._run(compute, part, tuple(rows), is_fixed=not self.alone)
        if not found:
            self.alone.update(rows)
            return {}
        losses, apart, *values = found
        moved = dict(zip(part, values, strict=True))
        self.alone.update(row for row, is_apart in zip(rows, apart.tolist(), strict=True) if is_apart)
        if not self._is_right(points, [row for row in rows if row not in self.alone], losses[~apart], len(rows)):
            self.alone.update(rows)
        return {row: Descents(losses[at], row_of(moved, at)) for at, row in enumerate(rows) if row not in self.alone}

    def _aims(self, rows: Sequence[int]) -> tuple[Target, ...]:
        """The updates that rows are after, put together once."""
        places = tuple(row % len(self.problems) for row in rows)
        is_one = len({id(one.seen) for one in self.problems}) == 1
        key = None if is_one else places
        if key not in self.aims:
            self.aims[key] = aims_of([self.problems[place] for place in places])
        return self.aims[key]

    def _is_right(self, points: Point, rows: Sequence[int], losses: Tensor, count: int) -> bool:
        """Whether `count` candidates keep apart, as far as the losses of some of them tell; looked at once."""
        if count not in self.right and len(rows):
            with torch.no_grad():
                alone = torch.stack([self._of(row)(row_of(points, row)) for row in rows])
            self.right[count] = torch.allclose(losses, alone, rtol=_APART, atol=0, equal_nan=True)
        return self.right.get(count, True)

    def _run(self, compute: Computation, point: Point, key: Hashable, *, is_fixed: bool) -> tuple[Tensor, ...]:
        """What a computation gives at a point: compiled where the search is long, and it will be asked for again as it is."""
        arguments = list(point.values())
        if not is_fixed or not is_worthwhile(self.evaluations):
            return compute(*arguments)
        if key not in self.compiled:
            self.compiled[key] = compiled(compute, arguments)
        return (self.compiled[key] or compute)(*arguments)


def _vanishing(problems: Sequence[Problem], like: Tensor) -> Tensor | float:
    """The likelihood's term of an update that is zero: one for all, or one for each."""
    each = {id(one.seen): one.vanishing for one in problems}
    return problems[0].vanishing if len(each) == 1 else like.new_tensor([each[id(one.seen)] for one in problems])


def _taken(points: Point, rows: Sequence[int]) -> Point:
    return {name: value[list(rows)] for name, value in points.items()}


def _count(points: Point) -> int:
    return len(points["x"])


def _parts(rows: Sequence[int], points: Point) -> Iterator[Sequence[int]]:
    size = max(1, AT_ONCE // points["x"].shape[1])
    return (rows[start : start + size] for start in range(0, len(rows), size))
