"""What a search minimizes: -log p(update | x) - log p(x) of the batch that a point stands for."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from leakgauge.attacks.ball import Ball
from leakgauge.attacks.engine.compiled import Computation, compiled, is_worthwhile
from leakgauge.attacks.engine.descent import row_of, stacked, together
from leakgauge.attacks.engine.products import Target, target, unwritten
from leakgauge.attacks.terms import Losses, Terms
from leakgauge.core.abilities import Descents, Generative, conditioned
from leakgauge.core.autodiff import slopes
from leakgauge.core.protocols import Point, Space
from leakgauge.core.types import Batch, Observation, Rng

_AT_ONCE = 16
"""Examples of a population that run through the network together: more take more memory, and hardly less time."""
_WORTH = 1_000_000
"""Numbers of a gradient that need to be spared before products pay for a single candidate (see docs/performance.md)."""
_DIGITS = 1e-4
"""The share of a vanishing update's loss below which the difference of gradients itself is taken: products would lose digits."""


@dataclass
class _Course:
    """What a search found out about its own objective on the way."""

    is_alone: bool = False  # it cannot be computed with others, or was once so small that products would lose digits
    compiled: dict[Hashable, Computation | None] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class Problem:
    """One search: the terms, the space that it walks in, and labels to hold fixed, or logits that it starts from."""

    seen: Observation
    terms: Terms
    space: Space
    labels: Tensor
    ball: Ball | None
    rng: Rng  # for the ball
    evaluations: int = 0  # that the search will ask for, as far as it can say
    weight: float = 1.0  # of the likelihood
    course: _Course = field(default_factory=_Course, compare=False)

    @property
    def is_joint(self) -> bool:
        """Whether labels are among the unknowns."""
        return self.labels.is_floating_point()

    def labels_at(self, point: Point) -> Tensor:
        """Return the labels of a point: classes [n], or shares [n, classes]."""
        return point["y"].softmax(dim=-1) if self.is_joint else self.labels

    def batch_at(self, point: Point) -> Batch:
        """Return the batch that a point stands for."""
        labels = self.labels_at(point)
        return Batch(conditioned(self.space, labels).decode(point["x"], self.seen), labels)

    def __call__(self, point: Point) -> Tensor:
        """Return the objective at a point; over a ball, its mean."""
        batch, terms = self.batch_at(point), self.terms.at(point)
        nearby = [batch] if self.ball is None else self.ball.around(batch, rng=self.rng)
        loss = torch.stack([terms.loss(self.seen, one, self.weight) for one in nearby]).mean()
        return loss + self.space.energy(point["x"]).sum() if isinstance(self.space, Generative) else loss

    def each(self, points: Point, /) -> Tensor:
        """Return the objective at each of n points, whose tensors are stacked."""
        return torch.cat([self._each(points, rows) for rows in _parts(range(len(points["x"])), points)])

    def descents(self, points: Point, /) -> Descents:
        """Return the objective and its slopes at each of n points, at once where that pays."""
        return descents_of([self] * len(points["x"]), points)

    def weighted(self, weight: float) -> Problem:
        """Return the same problem with the likelihood at another weight."""
        return replace(self, weight=weight, course=_Course())

    def project(self, point: Point) -> Point:
        """Return the nearest allowed point."""
        return {**point, "x": self.space.project(point["x"], self.seen)}

    @cached_property
    def aims(self) -> tuple[Target, ...]:
        """The update of each round, to compare gradients with."""
        return tuple(target(one.update.delta) for one in (self.seen, *self.seen.earlier))

    @property
    def is_shareable(self) -> bool:
        """Whether candidates can be computed at once."""
        return self.ball is None and self.terms.can_compare(self.seen)

    @cached_property
    def pays_alone(self) -> bool:
        """Whether products pay for a single candidate: compiled, or where a gradient that is not written down is large."""
        if not self.is_shareable:
            return False
        if is_worthwhile(self.evaluations):
            return True
        inputs, like = self.seen.model.inputs, next(iter(self.seen.update.delta.values()))
        nothing = Batch(like.new_zeros(len(self.labels), *inputs.shape), self.labels)
        return unwritten(self.seen.model, nothing) >= _WORTH

    @cached_property
    def near(self) -> float:
        """The likelihood's term below which products lose digits."""
        return _DIGITS * self.terms.vanishing(self.seen)

    def _each(self, points: Point, rows: Sequence[int]) -> Tensor:
        some = {name: value[list(rows)] for name, value in points.items()}
        found = losses_of([self] * len(rows), some)
        if found is None:
            return torch.stack([self(row_of(points, row)) for row in rows])
        losses, sound = self.weight * found.likelihood + found.prior, found.are_sound.tolist()
        return torch.stack([losses[place] if sound[place] else self(row_of(points, row)) for place, row in enumerate(rows)])


@final
@dataclass(frozen=True)
class SideBySide:
    """Problems of one search that differ by their labels alone, as one objective: each stacked point is of a problem of its own."""

    problems: tuple[Problem, ...]

    def descents(self, points: Point, /) -> Descents:
        """Return the objective and its slopes at a point of each problem."""
        return descents_of(self.problems, points)


def losses_of(problems: Sequence[Problem], points: Point) -> Losses | None:
    """Return the terms at n stacked points, each of a problem of its own: all of one search but for labels. None if not at once."""
    first = problems[0]
    if first.ball is not None or not points.keys() <= {"x", "y"}:
        return None
    count, size = points["x"].shape[:2]
    labels = points["y"].softmax(dim=-1).flatten(0, 1) if first.is_joint else torch.cat([one.labels for one in problems])
    x = points["x"].flatten(0, 1)
    batch = Batch(conditioned(first.space, labels).decode(x, first.seen), labels)
    found = first.terms.losses(first.seen, batch, count, first.aims)
    if found is None or not isinstance(first.space, Generative):
        return found
    return found._replace(prior=found.prior + first.space.energy(x).reshape(count, size).sum(dim=1))


def descents_of(problems: Sequence[Problem], points: Point) -> Descents:
    """Return the objective and its slopes at n stacked points, each of a problem of its own: all of one search but for labels."""
    far = [row for row, one in enumerate(problems) if not one.course.is_alone]
    found: dict[int, Descents] = {}
    if len(far) > 1 or (far and problems[far[0]].pays_alone):
        for rows in _parts(far, points):
            found |= _at_once(problems, points, rows)
    alone = {row: _alone(one, row_of(points, row)) for row, one in enumerate(problems) if row not in found}
    return stacked([(found | alone)[row] for row in range(len(problems))])


def _alone(problem: Problem, point: Point) -> Descents:
    """What is found at one point, by reverse differentiation."""

    def compute(*values: Tensor) -> tuple[Tensor, ...]:
        losses, moved = together(problem, dict(zip(point, values, strict=True)))
        return losses, *moved.values()

    loss, *moved = _computed(compute, point, problem, "alone", is_fixed=problem.ball is None)
    return Descents(loss, dict(zip(point, moved, strict=True)))


def _at_once(problems: Sequence[Problem], points: Point, rows: Sequence[int]) -> dict[int, Descents]:
    """What is found at some of the points through one computation; not at those that have to go alone."""
    some = [problems[row] for row in rows]
    part = {name: value[list(rows)] for name, value in points.items()}

    def compute(*values: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            leaves = {name: value.detach().requires_grad_() for name, value in zip(part, values, strict=True)}
            terms = losses_of(some, leaves)
            if terms is None:
                return ()
            losses = some[0].weight * terms.likelihood + terms.prior
            moved = slopes(losses.sum(), list(leaves.values()))
        return losses.detach(), (terms.likelihood.detach() < some[0].near) | ~terms.are_sound, *moved

    # Which labels go with which row is part of what is compiled: not those of rows that are left when others go alone.
    found = _computed(compute, part, problems[rows[0]], tuple(rows), is_fixed=not any(one.course.is_alone for one in problems))
    if not found:
        apart, moved = [True] * len(rows), {}
    else:
        losses, flags, *values = found
        moved = dict(zip(part, values, strict=True))
        apart = (flags & losses.isfinite()).tolist()
    for one, is_apart in zip(some, apart, strict=True):
        one.course.is_alone = is_apart
    return {row: Descents(losses[at], row_of(moved, at)) for at, row in enumerate(rows) if not apart[at]}


def _computed(compute: Computation, point: Point, problem: Problem, key: Hashable, *, is_fixed: bool) -> tuple[Tensor, ...]:
    """What a computation gives at a point: compiled where the search is long, and it will be asked for again as it is."""
    steps, arguments = problem.course.compiled, list(point.values())
    if not is_fixed or not is_worthwhile(problem.evaluations):
        return compute(*arguments)
    if key not in steps:
        steps[key] = compiled(compute, arguments)
    run = steps[key] or compute
    return run(*arguments)


def _parts(rows: Sequence[int], points: Point) -> Iterator[Sequence[int]]:
    size = max(1, _AT_ONCE // points["x"].shape[1])
    return (rows[start : start + size] for start in range(0, len(rows), size))
