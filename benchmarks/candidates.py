"""Candidates of a population a minute: their losses at once, one by one, and the network's own forward and backward passes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.cases import NETS, Case, Settings, case
from benchmarks.results import Results, Shown, Values
from leakgauge.attacks.computing import Computed
from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.attacks.objective import Problem
from leakgauge.attacks.replays.one_gradient import OneGradient
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.attacks.terms import Terms
from leakgauge.core.autodiff import loss_gradient
from leakgauge.core.capabilities import INFORMED
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch

POPULATION, TURNS = 50, 5
GOALS = {"LeNet": 20_000, "ResNet-18": 2_000}


def run(settings: Settings, results: Results) -> Shown:
    """Measure on images that nobody looks at: `--images` sets the population, `--steps` the turns."""
    pool, count, turns = settings.pool(), settings.images or POPULATION, settings.steps or TURNS

    def measure(net: str) -> Values:
        this = case(pool, 0, NETS[net], INFORMED)
        ways = _ways(this, count)
        seconds = [[_seconds(way) for way in ways.values()] for _ in range(turns + 1)][1:]  # the first one warms up
        middle = [statistics.median(turn[place] for turn in seconds) for place in range(len(ways))]
        rates = {f"{name} a minute": 60 * count / value for name, value in zip(ways, middle, strict=True)}
        return {**rates, "share": statistics.median(turn[2] / turn[0] for turn in seconds)}

    rows = [results.row("candidates", {"net": net, "population": count, "turns": turns}, partial(measure, net)) for net in GOALS]
    return Shown(
        f"Candidates of a population of {count} a minute, 32x32, batch 1",
        rows,
        {
            "net": "net",
            "at once a minute": "losses at once",
            "one by one a minute": "losses one by one",
            "passes a minute": "forward and backward alone",
            "share": "losses at once, share of what the passes allow",
        },
        [f"{net}: goal {goal:,} a minute, or what forward and backward passes allow" for net, goal in GOALS.items()],
    )


def _ways(this: Case, count: int) -> dict[str, Callable[[], object]]:
    """What is timed, for one population: losses at once, one by one, and the passes that nothing can do without."""
    seen = this.seen
    x = torch.randn(count, 1, *seen.model.inputs.shape, generator=stream(0, "population"))
    problem = Problem(seen, Terms(Gaussian(), (), OneGradient(), None), Pixels(), this.secret.y, None, stream(0))
    batch = Batch(seen.model.inputs.denormalize(x.flatten(0, 1)), this.secret.y.repeat(count))
    parts = [batch[row : row + 16] for row in range(0, count, 16)]
    return {
        "at once": lambda: Computed((problem,)).each({"x": x}),
        "one by one": lambda: [problem({"x": one}) for one in x],
        "passes": lambda: [loss_gradient(seen.model, part) for part in parts],
    }


def _seconds(way: Callable[[], object]) -> float:
    started = time.perf_counter()
    way()
    return time.perf_counter() - started
