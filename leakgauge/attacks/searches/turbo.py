"""TuRBO-1: Bayesian optimization in a trust region (Eriksson et al., NeurIPS 2019, arXiv 1910.01739), on BoTorch's parts."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from leakgauge.attacks.searches.budgeted import Info, Losses, search
from leakgauge.core.algorithm import Count, Positive, algorithm
from leakgauge.core.errors import MissingExtra
from leakgauge.core.protocols import Found, Objective, Point
from leakgauge.core.rng import fork
from leakgauge.core.types import Rng, Tick

_LENGTH, _LEAST, _MOST = 0.8, 0.5**7, 1.6
"""Of the trust region's sides: at first, where it is given up, at most (App. A)."""
_SUCCESSES = 3
"""Steps in a row that improve, after which the region doubles."""
_PERTURBED = 20
"""Coordinates of the best point that a candidate changes, on average, at most."""
_BETTER = 1e-3
"""By which share of its size the best loss has to fall for a step to count as an improvement."""


@final
@dataclass(frozen=True)
class State:
    """The box in the unit cube, all that was evaluated in it since it was last begun anew, and how steps went."""

    rng: Rng
    x: Tensor  # [n, d] in [0, 1]
    losses: Tensor  # [n]
    length: float = _LENGTH
    successes: int = 0
    failures: int = 0


@final
@algorithm
class TuRBO:
    """A Gaussian process of the losses (Matérn 5/2, a length for each number) proposes `batch` candidates a step by its samples.

    The trust region is a box around the best candidate, wider along numbers that matter less; it doubles after three steps
    that improve, halves after as many as there are numbers per `batch` that do not, and is begun anew when it is too small. Each
    region begins with `initial` candidates all over the bounds, from `low` to `high` for every number. GGL takes 1,000 candidates.
    Needs the extra `search`.
    """

    budget: Count = 1_000
    initial: Count = 256
    batch: Count = 10
    low: float = -2.0
    high: float = 2.0
    fitting_steps: Count = 50
    proposals: Count = 1_000
    learning_rate: Positive = 0.1

    def minimize(
        self, objective: Objective, start: Point, /, *, project: Callable[[Point], Point], goal: float, rng: Rng, tick: Tick
    ) -> Found:
        """Return the best candidate. Raises MissingExtra without BoTorch."""
        return search(self, objective, start, project=project, goal=goal, rng=rng, tick=tick)

    def init(self, start: Tensor, /, *, rng: Rng) -> State:
        """Return an empty region; of the start, only how many numbers it has matters."""
        _botorch()
        return State(rng, torch.empty(0, start.numel(), dtype=torch.float64), torch.empty(0, dtype=torch.float64))

    def step(self, state: State, losses: Losses, /, *, left: int) -> tuple[State, Info]:
        """Ask for the first candidates of a region, or for those that the process proposes, and resize the region."""
        is_new = not len(state.x)
        x = (_scattered(self.initial, state.x.shape[1], state.rng) if is_new else self._proposed(state))[:left]
        candidates = self.low + (self.high - self.low) * x
        found = losses(candidates)
        return self._after(state, x, found), Info(candidates, found)

    def _after(self, state: State, x: Tensor, found: Tensor) -> State:
        grown = replace(state, x=torch.cat([state.x, x]), losses=torch.cat([state.losses, found]))
        if not len(state.x):
            return grown
        before = float(state.losses.min())
        is_better = float(found.min()) < before - _BETTER * abs(before)
        successes, failures = (state.successes + 1, 0) if is_better else (0, state.failures + 1)
        length = state.length
        if successes == _SUCCESSES:
            length, successes = min(2 * length, _MOST), 0
        if failures >= math.ceil(max(4, x.shape[1]) / self.batch):
            length, failures = length / 2, 0
        if length < _LEAST:
            return State(state.rng, state.x[:0], state.losses[:0])
        return replace(grown, length=length, successes=successes, failures=failures)

    def _proposed(self, state: State) -> Tensor:
        """The best of samples of the process, among points of the region: [batch, d]."""
        finite = state.losses.isfinite()
        x, losses = state.x[finite], state.losses[finite]
        deviation = float(losses.std()) if len(losses) > 1 else 0.0
        process = self._fitted(x, -(losses - losses.mean()) / (deviation or 1.0))
        lengths = process.covar_module.base_kernel.lengthscale.detach().flatten()
        widths = state.length * lengths / lengths.log().mean().exp()
        center = x[losses.argmin()]
        low, high = (center - widths / 2).clamp(0, 1), (center + widths / 2).clamp(0, 1)
        points = low + (high - low) * _scattered(self.proposals, len(center), state.rng)
        chance = torch.rand(points.shape, generator=state.rng)
        changed = chance < min(1.0, _PERTURBED / len(center))
        changed |= chance == chance.amin(dim=1, keepdim=True)  # at least one number
        points = torch.where(changed, points, center)
        with torch.no_grad():
            posterior = process.posterior(points)
            mean, covariance = posterior.mean.squeeze(-1), posterior.distribution.covariance_matrix
            draws = torch.randn(self.batch, len(points), generator=state.rng, dtype=torch.float64)
            samples = mean + draws @ _root(covariance).mT
        chosen: Tensor = points[samples.argmax(dim=1)]
        return chosen

    def _fitted(self, x: Tensor, values: Tensor) -> Any:
        """The process whose parameters Adam has made likelier."""
        single_task, kernels, constraints, likelihoods, marginal = _botorch()
        kernel = kernels.ScaleKernel(
            kernels.MaternKernel(nu=2.5, ard_num_dims=x.shape[1], lengthscale_constraint=constraints.Interval(0.005, 2.0)),
            outputscale_constraint=constraints.Interval(0.05, 20.0),
        )
        noise = likelihoods.GaussianLikelihood(noise_constraint=constraints.Interval(5e-4, 0.2))
        process = single_task(x, values.unsqueeze(-1), likelihood=noise, covar_module=kernel, outcome_transform=None).double()
        process.covar_module.base_kernel.lengthscale, process.covar_module.outputscale, noise.noise = 0.5, 1.0, 5e-3
        evidence = marginal(noise, process)
        optimizer = torch.optim.Adam(process.parameters(), lr=self.learning_rate)
        process.train()
        for _ in range(self.fitting_steps):
            optimizer.zero_grad()
            with torch.enable_grad():
                loss = -evidence(process(x), values)
            loss.backward()
            optimizer.step()
        process.eval()
        return process


def _root(covariance: Tensor) -> Tensor:
    """A root of a covariance that rounding may have made slightly indefinite."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = vectors * values.clamp(min=0).sqrt()
    return root


def _scattered(count: int, numbers: int, rng: Rng) -> Tensor:
    """Points all over the unit cube: a scrambled Sobol sequence."""
    seed = int(torch.randint(0, 2**31, (), generator=fork(rng)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        points: Tensor = torch.quasirandom.SobolEngine(numbers, scramble=True, seed=seed).draw(count, dtype=torch.float64)
    return points


def _botorch() -> tuple[Any, ...]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of torch, by its imports
            from botorch.models import SingleTaskGP
            from gpytorch import constraints, kernels, likelihoods
            from gpytorch.mlls import ExactMarginalLogLikelihood
    except ImportError as error:
        raise MissingExtra("the search turbo", "search") from error
    return SingleTaskGP, kernels, constraints, likelihoods, ExactMarginalLogLikelihood
