"""One step of Inverting Gradients, ours against breaching's: the same model, gradient and labels, in one process, in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch

from benchmarks.cases import Case, Settings, case
from benchmarks.peer import InvertingGradients, equal_variation
from benchmarks.results import Results, Shown, Values
from leakgauge.attacks.computing import Computed
from leakgauge.attacks.inverting_gradients import inverting_gradients
from leakgauge.attacks.objective import Problem
from leakgauge.core.capabilities import INFORMED
from leakgauge.core.protocols import Victim
from leakgauge.core.rng import stream
from leakgauge.victims.convnet import ConvNet
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.resnet import resnet18
from leakgauge.victims.vit import ViT

NETS: dict[str, Victim] = {"LeNet": LeNet(), "ConvNet-64": ConvNet(width=64), "ResNet-18": resnet18(), "ViT": ViT()}
STEPS = {"LeNet": 50, "ViT": 20}
"""Steps in a turn, 5 where nothing is said: short enough that whatever else the machine does hits all alike."""
TURNS = 12
SIZES = (1, 8)
COMPILED = 10**6
"""Evaluations that are announced so that a step is compiled."""


class Way(NamedTuple):
    """How long a step takes in one turn, and what it had to do once before."""

    seconds: Callable[[int], float]
    once: float = 0.0


def run(settings: Settings, results: Results) -> Shown:
    """Measure batches of 1 and 8: `--steps` sets the steps of a turn, `--images` the turns."""
    pool, turns = settings.pool(), settings.images or TURNS

    def measure(net: str, size: int, steps: int) -> Values:
        this = case(pool, 0, NETS[net], INFORMED, size)
        peer = InvertingGradients(this.seen, steps=steps)
        plain, compiled = _ours(this, 0), _ours(this, COMPILED)
        ways: dict[str, Callable[[int], float]] = {
            "ours": plain.seconds,
            "compiled": compiled.seconds,
            "breaching": lambda _: _theirs(peer),
            "passes": lambda count: _passes(this, count),
        }
        found = [{name: seconds(steps) for name, seconds in ways.items()} for _ in range(turns + 1)][1:]  # the first one warms up
        times = {name: 1000 * statistics.median(turn[name] for turn in found) for name in ways}
        ratios = {f"{name} to breaching": [turn[name] / turn["breaching"] for turn in found] for name in ("ours", "compiled")}
        return times | {"compiling": compiled.once} | {name: _spread(values) for name, values in ratios.items()}

    rows = [
        results.row("step", {"net": net, "size": size, "steps": steps, "turns": turns}, partial(measure, net, size, steps))
        for size in SIZES
        for net, steps in ((net, settings.steps or STEPS.get(net, 5)) for net in settings.among(NETS))
    ]
    return Shown(
        "One matching step (objective, its gradient, signed Adam, projection), 32x32",
        rows,
        {
            "net": "net",
            "size": "batch",
            "ours": "leakgauge (ms)",
            "compiled": "compiled (ms)",
            "compiling": "compiling, once (s)",
            "breaching": "breaching (ms)",
            "passes": "forward + backward (ms)",
            "ours to breaching": "ours / breaching",
            "compiled to breaching": "compiled / breaching",
        },
        ["ratios: median of turns, and the range of the middle half"],
    )


def _ours(this: Case, evaluations: int) -> Way:
    """Our search, whose objective is compiled where it is told of so many evaluations."""
    attack = inverting_gradients(total_variation=equal_variation(this.secret.x.shape[-1]))
    problem = Problem(this.seen, attack.terms, attack.space, this.secret.y, None, stream(0))
    start = {"x": attack.space.start(this.seen, len(this.secret), rng=stream(0, "attack"))}
    objective = Computed((problem,), evaluations)
    began = time.perf_counter()
    objective.descents({name: value.unsqueeze(0) for name, value in start.items()})
    once = time.perf_counter() - began

    def seconds(steps: int) -> float:
        """Seconds per step: the median between the ends of consecutive steps."""
        ends: list[float] = []
        search = inverting_gradients(steps=steps).search
        search.minimize(
            objective,
            start,
            project=problem.project,
            goal=0.0,
            rng=stream(0),
            tick=lambda _: ends.append(time.perf_counter()),
        )
        return _median_interval(ends)

    return Way(seconds, once)


def _theirs(peer: InvertingGradients) -> float:
    """Seconds per step: the median between the beginnings of consecutive steps."""
    begins: list[float] = []
    peer.run(stream(0, "attack"), on_step=lambda: begins.append(time.perf_counter()))
    return _median_interval(begins)


def _passes(this: Case, count: int) -> float:
    """Seconds of a forward pass, and a backward pass to weights and inputs, which nothing that matches gradients can do without."""
    model = this.seen.model
    leaves = {name: value.detach().requires_grad_() for name, value in model.params.items()}
    x = this.secret.x.clone().requires_grad_()
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        loss = model.loss_of(model.forward(leaves, model.buffers, x, training=False), this.secret.y)
        torch.autograd.grad(loss, [*leaves.values(), x])
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _median_interval(times: list[float]) -> float:
    return statistics.median(later - earlier for earlier, later in pairwise(times))


def _spread(values: list[float]) -> str:
    low, _, high = statistics.quantiles(values, n=4)
    return f"{statistics.median(values):.2f} ({low:.2f} to {high:.2f})"
