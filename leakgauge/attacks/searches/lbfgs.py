"""L-BFGS (Liu and Nocedal 1989), the search of DLG."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, final

import torch
from torch import Tensor

from leakgauge.algorithm import Count, Positive, algorithm
from leakgauge.attacks.searches.best import Best
from leakgauge.protocols import Found, Objective, Point
from leakgauge.types import Rng, Tick


@final
@algorithm
class LBFGS:
    """`torch.optim.LBFGS` with `steps` outer iterations of up to `inner` evaluations each.

    It stops after `patience` outer iterations without a new best.
    """

    learning_rate: Positive = 1.0
    steps: Count = 300
    inner: Count = 20
    line_search: Literal["strong_wolfe"] | None = None
    patience: Count = 20

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
        """Return the best point evaluated; it is projected after each outer iteration."""
        point = {name: value.detach().clone().requires_grad_() for name, value in start.items()}
        unknowns = list(point.values())
        optimizer = torch.optim.LBFGS(
            unknowns,
            lr=self.learning_rate,
            max_iter=self.inner,
            tolerance_grad=0,
            tolerance_change=0,
            line_search_fn=self.line_search,
        )
        best = Best(start)

        def evaluate() -> Tensor:
            loss = objective(point)
            best.offer(point, float(loss.detach()))
            for value, slope in zip(unknowns, torch.autograd.grad(loss, unknowns), strict=True):
                value.grad = slope
            return loss

        stale = 0
        for step in range(self.steps):
            before = best.loss
            optimizer.step(evaluate)  # type: ignore[no-untyped-call]
            with torch.no_grad():
                for name, value in project(point).items():
                    point[name].copy_(value)
            stale = 0 if best.loss < before else stale + 1
            tick((step + 1) / self.steps)
            if stale >= self.patience or best.loss <= goal or not math.isfinite(best.trace[-1]):
                break
        if math.isfinite(best.trace[-1]):
            best.offer(point, float(objective(point).detach()))
        return best.found()
