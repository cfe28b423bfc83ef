"""L-BFGS (Liu and Nocedal 1989), the search of DLG."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, final

import torch
from torch import Tensor

from leakgauge.attacks.engine.descent import descents
from leakgauge.attacks.searches.best import Best
from leakgauge.core.algorithm import Count, NonNegative, Positive, Share, algorithm
from leakgauge.core.protocols import Found, Objective, Point
from leakgauge.core.types import Rng, Tick


@final
@algorithm
class LBFGS:
    """`torch.optim.LBFGS` with `steps` outer iterations of up to `inner` evaluations each.

    Torch's L-BFGS forgets curvature that is small in absolute numbers, and with it the updates of small learning rates: slopes
    that sum to less than `slope` at the start are scaled up to it, which moves no minimum. It stops when `patience` outer
    iterations have not brought the best loss down to `progress` of what it was: starts that fail creep on for thousands of
    evaluations, starts that succeed halve their loss every few iterations.
    """

    learning_rate: Positive = 1.0
    steps: Count = 300
    inner: Count = 20
    line_search: Literal["strong_wolfe"] | None = None
    patience: Count = 20
    progress: Share = 0.8
    slope: NonNegative = 1000.0

    def minimize(
        self,
        objective: Objective,
        start: Point,
        /,
        *,
        project: Callable[[Point], Point],
        goal: float,
        rng: Rng,
        tick: Tick,
    ) -> Found:
        """Return the best allowed point evaluated; each outer iteration starts from a projected one."""
        point = {name: value.detach().clone().requires_grad_() for name, value in project(start).items()}
        unknowns = list(point.values())
        optimizer = torch.optim.LBFGS(
            unknowns,
            lr=self.learning_rate,
            max_iter=self.inner,
            tolerance_grad=0,
            tolerance_change=0,
            line_search_fn=self.line_search,
        )
        best = Best(point)
        gain: list[float] = []  # set by the first slopes

        def evaluate() -> Tensor:
            found = descents(objective, {name: value.unsqueeze(0) for name, value in point.items()})
            loss, descent = found.losses[0], [slope[0] for slope in found.slopes.values()]
            if _is_allowed(point, project):
                best.offer(point, float(loss))
            else:
                best.trace.append(float(loss))
            if not gain:
                total = float(torch.stack([slope.abs().sum() for slope in descent]).sum())
                gain.append(max(1.0, self.slope / total) if total > 0 else 1.0)
            for value, slope in zip(unknowns, descent, strict=True):
                value.grad = (gain[0] * slope).contiguous()  # torch flattens it as it lies in memory
            return gain[0] * loss

        bests: list[float] = []
        for step in range(self.steps):
            optimizer.step(evaluate)
            with torch.no_grad():
                for name, value in project(point).items():
                    point[name].copy_(value)
            bests.append(best.loss)
            tick((step + 1) / self.steps)
            if best.loss <= goal or not math.isfinite(best.trace[-1]) or self._is_stuck(bests):
                break
        if math.isfinite(best.trace[-1]):
            best.offer(point, float(objective(point).detach()))
        return best.found()

    def _is_stuck(self, bests: list[float]) -> bool:
        return len(bests) > self.patience and bests[-1] > self.progress * bests[-1 - self.patience]


def _is_allowed(point: Point, project: Callable[[Point], Point]) -> bool:
    # Up to rounding: a projection may take a point to other coordinates and back.
    return all(torch.allclose(value, point[name], atol=1e-6) for name, value in project(point).items())
