"""From the best code on: the search goes on behind the generator's blocks, one after the other, and at last in pixels.

GIFD (Fang et al., ICCV 2023, arXiv 2308.04699, Alg. 1): maps stay in a ball around those that each search began with, and of all
depths the one with the lowest loss is taken. GIAS (Jeon et al., NeurIPS 2021, arXiv 2110.14962) leaves the code first.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from leakgauge.attacks.computing import Computed
from leakgauge.attacks.objective import Problem
from leakgauge.attacks.searches.adam import Adam
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.core.abilities import Deepening, conditioned
from leakgauge.core.algorithm import NonNegative, NonNegativeInt, algorithm
from leakgauge.core.protocols import Found, Point, Search
from leakgauge.core.rng import fork
from leakgauge.core.types import Batch, Rng, Tick, part_of


@final
@algorithm
class Refinement:
    """Searches behind each of the first `blocks` blocks, at most all of them, and then in `pixels`, from where the last one ended.

    `radius` bounds how far the numbers of maps move on average. Losses are compared without what a code costs, which maps do not.
    """

    blocks: NonNegativeInt = 2
    pixels: bool = True
    radius: NonNegative = 0.1
    search: Search = Adam(learning_rate=0.01, steps=300, schedule="cosine")

    def refine(self, found: Found, problem: Problem, *, rng: Rng, tick: Tick) -> tuple[Found, Batch]:
        """Return the best of all searches and the batch there; that of the code where its space goes no deeper."""
        with torch.no_grad():
            batch = problem.batch_at(found.point)
        best, chosen, point = found, batch, found.point
        lowest = float(problem.terms.at(point).loss(problem.seen, batch).detach())
        stages = self.blocks + self.pixels if isinstance(problem.space, Deepening) else 0
        for stage in range(stages):
            entered = _pixels(problem, batch) if stage == self.blocks else _deeper(problem, point, self.radius)
            if entered is None:
                continue
            problem, x = entered
            later = self.search.minimize(
                Computed((problem,)),
                {**point, "x": x},
                project=problem.project,
                goal=-math.inf,
                rng=fork(rng),
                tick=part_of(tick, stage, stages),
            )
            point = later.point
            with torch.no_grad():
                batch = problem.batch_at(point)
            if later.loss < lowest:
                best, lowest = later, later.loss
                chosen = batch
        return best, chosen


def _deeper(problem: Problem, point: Point, radius: float) -> tuple[Problem, Tensor] | None:
    """The problem behind the next block, if there is one before the pixels, and the point there."""
    space = conditioned(problem.space, problem.labels_at(point))
    found = space.deeper(point["x"], problem.seen, radius=radius) if isinstance(space, Deepening) else None
    return None if found is None else (replace(problem, space=found[0]), found[1])


def _pixels(problem: Problem, batch: Batch) -> tuple[Problem, Tensor]:
    return replace(problem, space=Pixels()), problem.seen.model.inputs.normalize(batch.x)
