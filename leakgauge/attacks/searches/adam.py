"""Adam, plain or with the sign of the gradient (Inverting Gradients), with the schedules of the attack papers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, final

import torch

from leakgauge.attacks.searches.best import Best
from leakgauge.core.algorithm import Count, NonNegative, NonNegativeInt, Positive, algorithm
from leakgauge.core.autodiff import slopes
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

    def minimize(
        self, objective: Objective, start: Point, /, *, project: Callable[[Point], Point], goal: float, rng: Rng, tick: Tick
    ) -> Found:
        """Return the best of `steps` + 1 points."""
        point = {name: value.detach().clone().requires_grad_() for name, value in project(start).items()}
        optimizer = torch.optim.Adam(point.values(), lr=self.learning_rate)
        best = Best(point)
        for step in range(self.steps + 1):
            loss = objective(point)
            best.offer(point, float(loss.detach()))
            if step == self.steps or best.loss <= goal or not math.isfinite(best.trace[-1]):
                break
            rate = self._rate(step)
            for value, slope in zip(point.values(), slopes(loss, list(point.values())), strict=True):
                noisy = slope + self.langevin * rate * normal_like(slope, rng) if self.langevin else slope
                value.grad = noisy.sign() if self.signed else noisy
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
            with torch.no_grad():
                for name, value in project(point).items():
                    point[name].copy_(value)
            tick((step + 1) / self.steps)
        return best.found()

    def _rate(self, step: int) -> float:
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        if self.schedule == "step":
            return self.learning_rate * 0.1 ** sum(step >= self.steps * eighths // 8 for eighths in (3, 5, 7))
        if self.schedule == "cosine":
            done = (step - self.warmup) / max(1, self.steps - self.warmup)
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
        return self.learning_rate
