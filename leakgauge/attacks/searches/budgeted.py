"""Searches that ask for many candidates at once: a state and a step, apart from what a step tells.

The shape is that of blackjax: `init` makes a state, `step` asks for the losses of a population and returns the next state with its
info. Whoever holds a state can stop, look, and go on; budgets are counted in candidates, each of which takes one gradient of the
model, so that searches compare fairly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from leakgauge.attacks.searches.best import Best
from leakgauge.core.abilities import Batched
from leakgauge.core.protocols import Found, Objective, Point
from leakgauge.core.types import Rng, Tick

Losses = Callable[[Tensor], Tensor]
"""From candidates [n, numbers] to a loss for each, [n]."""


class Info(NamedTuple):
    """What a step asked for, and what it was told."""

    candidates: Tensor  # [n, numbers]
    losses: Tensor  # [n]


@runtime_checkable
class Stepwise(Protocol):
    """A search without gradients, one step at a time, over vectors of numbers. A state that was stepped from is spent."""

    @property
    def budget(self) -> int:
        """How many candidates it may ask for."""
        ...

    def init(self, start: Tensor, /, *, rng: Rng) -> Any:
        """Return the state before the first step, around a vector [numbers]."""
        ...

    def step(self, state: Any, losses: Losses, /, *, left: int) -> tuple[Any, Info]:
        """Ask for at most `left` candidates, and return the state after them."""
        ...


def search(
    stepwise: Stepwise,
    objective: Objective,
    start: Point,
    *,
    project: Callable[[Point], Point],
    goal: float,
    rng: Rng,
    tick: Tick,
) -> Found:
    """Step until the budget is spent or the goal is reached; return the best of the start and all candidates, each projected.

    A loss that is no number counts as infinite; where all of the first step's are, the search diverged.
    """
    first = project(start)
    best = Best(first)

    def losses(candidates: Tensor) -> Tensor:
        points = _points(candidates, first, project)
        with torch.no_grad():
            found = each(objective, points).detach().double().cpu()
        found = torch.where(found.isfinite(), found, math.inf)
        row = int(found.argmin())
        best.offer({name: value[row] for name, value in points.items()}, float(found[row]))
        return found

    state = stepwise.init(_flat(first), rng=rng)
    losses(_flat(first).unsqueeze(0))
    spent = 1
    while spent < stepwise.budget and best.loss > goal:
        state, info = stepwise.step(state, losses, left=stepwise.budget - spent)
        spent += len(info.candidates)
        if not math.isfinite(best.loss):
            break
        tick(min(1.0, spent / stepwise.budget))
    return best.found()


def each(objective: Objective, points: Point) -> Tensor:
    """Return the loss [n] of each of n points, whose tensors are stacked: at once where the objective can."""
    if isinstance(objective, Batched):
        return objective.each(points)
    count = len(next(iter(points.values())))
    return torch.stack([objective({name: value[row] for name, value in points.items()}) for row in range(count)])


def _flat(point: Point) -> Tensor:
    return torch.cat([value.detach().flatten() for value in point.values()]).double().cpu()


def _points(candidates: Tensor, like: Point, project: Callable[[Point], Point]) -> Point:
    """Candidates [n, numbers] as points, projected one by one, their tensors stacked."""
    parts = torch.split(candidates, [value.numel() for value in like.values()], dim=1)
    stacked = {name: part.reshape(-1, *value.shape).to(value) for (name, value), part in zip(like.items(), parts, strict=True)}
    rows = [project({name: value[row] for name, value in stacked.items()}) for row in range(len(candidates))]
    return _stack(rows)


def _stack(rows: list[Mapping[str, Tensor]]) -> Point:
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
