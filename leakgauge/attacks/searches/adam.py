"""Adam, plain or with the sign of the gradient (Inverting Gradients), with the schedules of the attack papers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, final

import torch
from torch import Tensor

from leakgauge.attacks.engine.descent import descents, each_row
from leakgauge.attacks.searches.best import Bests
from leakgauge.core.abilities import Descending
from leakgauge.core.algorithm import Count, NonNegative, NonNegativeInt, Positive, algorithm
from leakgauge.core.protocols import Found, Objective, Point
from leakgauge.core.rng import normal_like
from leakgauge.core.types import Rng, Tick


@final
@algorithm
class Adam:
    """Adam on the unknowns, projected after each step.

    `signed` steps along the sign of the gradient. `schedule` "step" divides the rate by 10 at 3/8, 5/8 and 7/8 of the steps
    (Geiping et al. 2020), "cosine" lets it fall to 0 after `warmup` linear steps (Yin et al. 2021). `langevin` adds that much
    normal noise per unit of rate to the gradient.
    """

    learning_rate: Positive = 0.1
    steps: Count = 1000
    signed: bool = False
    schedule: Literal["constant", "step", "cosine"] = "constant"
    warmup: NonNegativeInt = 0
    langevin: NonNegative = 0.0

    @property
    def evaluations(self) -> int:
        """A step each, and one at the end."""
        return self.steps + 1

    def minimize(
        self, objective: Objective, start: Point, /, *, project: Callable[[Point], Point], goal: float, rng: Rng, tick: Tick
    ) -> Found:
        """Return the best of `steps` + 1 points."""
        starts = {name: value.unsqueeze(0) for name, value in start.items()}
        return self.minimize_each(objective, starts, project=project, goals=(goal,), targets=(0,), rngs=(rng,), tick=tick)[0]

    def minimize_each(
        self,
        objective: Objective | Descending,
        starts: Point,
        /,
        *,
        project: Callable[[Point], Point],
        goals: Sequence[float],
        targets: Sequence[int],
        rngs: Sequence[Rng],
        tick: Tick,
    ) -> list[Found]:
        """Return the best of `steps` + 1 points from each start.

        Starts of one target end where one of them reaches its goal, or none has a loss that is a number.
        """
        points = {name: value.clone() for name, value in each_row(project, starts).items()}
        optimizer = torch.optim.Adam(points.values(), lr=self.learning_rate)
        bests = Bests(points, goals, targets)
        for step in range(self.steps + 1):
            losses, slopes = descents(objective, points)
            bests.offer(points, losses)
            if step == self.steps or bests.are_over():
                break
            rate = self._rate(step)
            for name, value in points.items():
                slope = self._noisy(slopes[name], rate, rngs)
                value.grad = slope.sign() if self.signed else slope
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
            for name, value in each_row(project, points).items():
                points[name].copy_(value)
            tick((step + 1) / self.steps)
        return bests.found()

    def _noisy(self, slopes: Tensor, rate: float, rngs: Sequence[Rng]) -> Tensor:
        if not self.langevin:
            return slopes
        noise = torch.stack([normal_like(slope, rng) for slope, rng in zip(slopes, rngs, strict=True)])
        return slopes + self.langevin * rate * noise

    def _rate(self, step: int) -> float:
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        if self.schedule == "step":
            return self.learning_rate * 0.1 ** sum(step >= self.steps * eighths // 8 for eighths in (3, 5, 7))
        if self.schedule == "cosine":
            done = (step - self.warmup) / max(1, self.steps - self.warmup)
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
        return self.learning_rate
