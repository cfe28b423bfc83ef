"""How a matching step grows: with the batch, the image, the network's width, restarts of one update, and updates of one model."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch.nn.functional import interpolate

from benchmarks.cases import Settings, case
from benchmarks.results import Results, Shown, Values
from leakgauge.attacks.computing import Computed
from leakgauge.attacks.inverting_gradients import inverting_gradients
from leakgauge.attacks.objective import Problem
from leakgauge.core.capabilities import INFORMED
from leakgauge.core.protocols import Pool, Victim
from leakgauge.core.rng import stream
from leakgauge.core.workload import threads_for
from leakgauge.victims.convnet import ConvNet
from leakgauge.victims.lenet import LeNet

TURNS = 9


class Setup(NamedTuple):
    """A step of so many candidates: `restarts` for each of `targets` updates of `size` images with sides of `side`."""

    victim: Victim = LeNet()
    size: int = 1
    side: int = 32
    restarts: int = 1
    targets: int = 1


AXES: Mapping[str, Mapping[int, Setup]] = {
    "images in a batch": {size: Setup(size=size) for size in (1, 2, 4, 8, 16, 32)},
    "pixels along a side": {side: Setup(side=side) for side in (16, 32, 64, 128, 224)},
    "width of a ConvNet": {width: Setup(ConvNet(width=width)) for width in (8, 16, 32, 64)},
    "restarts of one update": {restarts: Setup(restarts=restarts) for restarts in (1, 2, 4, 8, 16, 32)},
    "updates of one model": {targets: Setup(targets=targets) for targets in (1, 2, 4, 8, 16, 32)},
}
_BASE = "LeNet, 32x32, one image, one candidate, unless the axis says otherwise"


def run(settings: Settings, results: Results) -> Shown:
    """Measure a step along every axis, `--images` times each, and draw `scaling.svg` beside the rows."""
    pool, turns = settings.pool(), settings.images or TURNS
    rows = [
        results.row("scaling", {"axis": axis, "value": value, "turns": turns}, partial(_measured, pool, setup, turns))
        for axis, setups in settings.among(AXES).items()
        for value, setup in setups.items()
    ]
    _draw(rows, results.folder / "scaling.svg")
    return Shown(
        f"A matching step of Inverting Gradients: {_BASE}",
        rows,
        {"axis": "axis", "value": "value", "parameters": "parameters", "ms": "ms a step", "each": "ms a candidate"},
        [f"drawn in {results.folder / 'scaling.svg'}"],
    )


def _measured(pool: Pool, setup: Setup, turns: int) -> Values:
    sized = _sized(pool, setup.side)
    cases = [case(sized, row * setup.size, setup.victim, INFORMED, setup.size, weights=0) for row in range(setup.targets)]
    attack = inverting_gradients()
    problems = [
        Problem(one.seen, attack.terms, attack.space, one.secret.y, None, stream(0)) for one in cases for _ in range(setup.restarts)
    ]
    starts = [attack.space.start(one.seen, setup.size, rng=stream(row, "attack")) for row, one in enumerate(problems)]
    step = partial(Computed(tuple(problems)).descents, {"x": torch.stack(starts)})
    with threads_for(len(problems) * problems[0].operations):
        seconds = [_seconds(step) for _ in range(turns + 1)][1:]  # the first one warms up
    ms = 1000 * statistics.median(seconds)
    parameters = sum(value.numel() for value in cases[0].seen.model.params.values())
    return {"parameters": parameters, "ms": ms, "each": ms / len(problems)}


def _sized(pool: Pool, side: int) -> Pool:
    x = interpolate(pool.x[:64], size=(side, side), mode="bilinear", antialias=True)
    return replace(pool, x=x, y=pool.y[:64], inputs=replace(pool.inputs, shape=(pool.inputs.shape[0], side, side)))


def _seconds(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def _draw(rows: Sequence[Values], path: Path) -> None:
    """One panel for each axis, in logarithms: what grows as its axis does runs along the diagonal."""
    axes = list(dict.fromkeys(row["axis"] for row in rows))
    figure = Figure(figsize=(2.8 * len(axes), 2.8), layout="constrained")
    panels = figure.subplots(1, len(axes), squeeze=False, sharey=True)[0]
    for panel, axis in zip(panels, axes, strict=True):
        own = [row for row in rows if row["axis"] == axis]
        values = [row["value"] for row in own]
        panel.loglog(values, [row["ms"] for row in own], "o-", base=2)
        panel.set_xticks(values, labels=map(str, values))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.set(xlabel=axis)
        panel.grid(visible=True, alpha=0.3)
    panels[0].set_ylabel("ms a step")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
