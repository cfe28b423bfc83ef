"""One thread or several: a matching step of small networks and larger ones, in turn, beside what a forward pass has to do."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch

from benchmarks.cases import Settings, case
from benchmarks.results import Results, Shown, Values
from leakgauge.attacks.computing import Computed
from leakgauge.attacks.inverting_gradients import inverting_gradients
from leakgauge.attacks.objective import Problem
from leakgauge.core.capabilities import INFORMED
from leakgauge.core.protocols import Victim
from leakgauge.core.rng import stream
from leakgauge.core.workload import operations
from leakgauge.victims.cnn import CNN
from leakgauge.victims.convnet import ConvNet
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.resnet import resnet18, resnet20
from leakgauge.victims.vit import ViT

TURNS, STEPS = 8, 5


class Setup(NamedTuple):
    """A network, the size of a batch, and how many candidates are computed at once."""

    victim: Victim
    size: int = 1
    candidates: int = 1


SETUPS: Mapping[str, Setup] = {
    "LeNet": Setup(LeNet()),
    "LeNet with 8 restarts": Setup(LeNet(), candidates=8),
    "CNN": Setup(CNN()),
    "ViT": Setup(ViT()),
    "ResNet-20": Setup(resnet20()),
    "LeNet with 8 restarts of 8": Setup(LeNet(), 8, 8),
    "ConvNet-16": Setup(ConvNet(width=16)),
    "ResNet-20 with 8 restarts": Setup(resnet20(), candidates=8),
    "ConvNet-32": Setup(ConvNet(width=32)),
    "ResNet-18": Setup(resnet18()),
    "ConvNet-64": Setup(ConvNet(width=64)),
}


def run(settings: Settings, results: Results) -> Shown:
    """Measure a step on one thread and on `--threads`: `--steps` sets the steps of a turn, `--images` the turns."""
    pool, steps, turns, most = settings.pool(), settings.steps or STEPS, settings.images or TURNS, torch.get_num_threads()

    def measure(name: str) -> Values:
        setup = SETUPS[name]
        this, attack = case(pool, 0, setup.victim, INFORMED, setup.size), inverting_gradients()
        problem = Problem(this.seen, attack.terms, attack.space, this.secret.y, None, stream(0))
        starts = [attack.space.start(this.seen, setup.size, rng=stream(row, "attack")) for row in range(setup.candidates)]
        step = partial(Computed((problem,)).descents, {"x": torch.stack(starts)})
        found = [{count: _seconds(step, count, steps) for count in (1, most)} for _ in range(turns + 1)][1:]  # one warms up
        torch.set_num_threads(most)
        one, several = (1000 * statistics.median(turn[count] for turn in found) for count in (1, most))
        done = setup.candidates * operations(this.seen.model, torch.zeros(setup.size, *pool.inputs.shape))
        return {"operations": done / 1e6, "one": one, "several": several, "ratio": one / several}

    rows = [
        results.row("threads", {"setup": name, "steps": steps, "turns": turns}, partial(measure, name))
        for name in settings.among(SETUPS)
    ]
    return Shown(
        f"A matching step on one thread and on {most}, CIFAR-10",
        rows,
        {
            "setup": "setup",
            "operations": "operations of a forward pass (millions)",
            "one": "one thread (ms)",
            "several": f"{most} threads (ms)",
            "ratio": "ratio",
        },
        ["searches take one thread below 500 million operations"],
    )


def _seconds(step: Callable[[], object], threads: int, steps: int) -> float:
    torch.set_num_threads(threads)
    step()
    began = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - began) / steps
