"""A step of eight restarts of Inverting Gradients: one after the other, and side by side, in one process, in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.cases import NETS, Settings, case
from benchmarks.results import Results, Shown, Values
from leakgauge.attacks.computing import Computed
from leakgauge.attacks.engine.descent import one_by_one
from leakgauge.attacks.inverting_gradients import inverting_gradients
from leakgauge.attacks.objective import Problem
from leakgauge.core.capabilities import INFORMED
from leakgauge.core.rng import stream

RESTARTS, TURNS = 8, 8
GOALS = {"LeNet": 0.3, "ResNet-18": 0.45}


def run(settings: Settings, results: Results) -> Shown:
    """Measure losses and slopes: `--images` sets the restarts, `--steps` the turns."""
    pool, count, turns = settings.pool(), settings.images or RESTARTS, settings.steps or TURNS

    def measure(net: str) -> Values:
        this, attack = case(pool, 0, NETS[net], INFORMED), inverting_gradients()
        problem = Problem(this.seen, attack.terms, attack.space, this.secret.y, None, stream(0))
        points = {"x": torch.stack([attack.space.start(this.seen, 1, rng=stream(row)) for row in range(count)])}
        together = Computed((problem,))
        ways = {"alone": lambda: one_by_one(problem, points), "together": lambda: together.descents(points)}
        seconds = [{name: _seconds(way) for name, way in ways.items()} for _ in range(turns + 1)][1:]  # the first one warms up
        ratios = [turn["together"] / turn["alone"] for turn in seconds]
        low, _, high = statistics.quantiles(ratios, n=4)
        return {name: 1000 * statistics.median(turn[name] for turn in seconds) / count for name in ways} | {
            "ratio": f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})"
        }

    rows = [
        results.row("restarts", {"net": net, "restarts": count, "turns": turns}, partial(measure, net))
        for net in settings.among(NETS)
    ]
    return Shown(
        f"Losses and slopes of {count} restarts, 32x32, batch 1",
        rows,
        {
            "net": "net",
            "alone": "one by one (ms each)",
            "together": "side by side (ms each)",
            "ratio": "side by side / one by one, median of turns",
        },
        [f"{net}: goal {goal}" for net, goal in GOALS.items()],
    )


def _seconds(way: Callable[[], object]) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began
