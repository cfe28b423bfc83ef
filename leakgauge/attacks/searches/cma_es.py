"""CMA-ES (Hansen and Ostermeier, Evolutionary Computation 9(2), 2001), on the package `cma` of its first author."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from leakgauge.attacks.searches.budgeted import Info, Losses, search
from leakgauge.core.algorithm import Count, Positive, algorithm
from leakgauge.core.errors import MissingExtra
from leakgauge.core.protocols import Found, Objective, Point
from leakgauge.core.types import Rng, Tick


@final
@dataclass(frozen=True)
class State:
    """The distribution that candidates are drawn from, as `cma` keeps it, and what draws."""

    strategy: Any


@final
@algorithm
class CMAES:
    """Draws `population` candidates a step from a normal distribution that adapts to those of low loss; no gradients.

    It starts with a standard deviation of `deviation` around the start. GGL takes 800 steps of 50; its released code, 500. The
    budget is in candidates; a last step that has fewer left than a population adapts nothing. Needs the extra `search`.
    """

    budget: Count = 25_000
    population: Count = 50
    deviation: Positive = 1.0

    def minimize(
        self, objective: Objective, start: Point, /, *, project: Callable[[Point], Point], goal: float, rng: Rng, tick: Tick
    ) -> Found:
        """Return the best candidate. Raises MissingExtra without `cma`."""
        return search(self, objective, start, project=project, goal=goal, rng=rng, tick=tick)

    def init(self, start: Tensor, /, *, rng: Rng) -> State:
        """Return the distribution around a vector."""
        try:
            import cma
        except ImportError as error:
            raise MissingExtra("the search cma_es", "search") from error

        def draws(*shape: int) -> np.ndarray:
            return torch.randn(*(int(side) for side in shape), generator=rng, dtype=torch.float64).numpy()

        options = {
            "popsize": self.population,
            "randn": draws,
            "seed": math.nan,  # it must not seed NumPy's global generator
            "verbose": -9,
            "verb_log": 0,
        }
        return State(cma.CMAEvolutionStrategy(start.double().numpy(), self.deviation, options))

    def step(self, state: State, losses: Losses, /, *, left: int) -> tuple[State, Info]:
        """Draw a population, and adapt; fewer than `population` are left at the end, and adapt nothing."""
        drawn = np.stack(state.strategy.ask())
        candidates = torch.from_numpy(drawn[:left])
        found = losses(candidates)
        if len(candidates) == len(drawn):
            state.strategy.tell(list(drawn), found.tolist())
        return state, Info(candidates, found)
