"""ResNet-18 on one image of 224x224: peak memory of a matching step, and its time, a process for each package (Linux only)."""

from __future__ import annotations

import ctypes
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch.nn.functional import interpolate

from benchmarks.cases import Case, Settings, case
from benchmarks.peer import InvertingGradients, equal_variation, import_torchvision, is_installed
from benchmarks.results import Results, Shown, Values
from leakgauge.attacks.inverting_gradients import inverting_gradients
from leakgauge.core.capabilities import INFORMED
from leakgauge.core.protocols import Pool
from leakgauge.core.rng import stream
from leakgauge.core.types import no_tick
from leakgauge.victims.module import Module

SIDE, STEPS, TURNS = 224, 3, 5
GOALS = {"peak, MB": " (goal: at most 0.7)", "step, s": ""}
LARGE = Module(module="torchvision:resnet18")


def run(settings: Settings, results: Results) -> Shown:
    """Measure `--steps` steps of each, in turn, `--images` times."""
    settings.pool()  # says what is missing before a process is started
    steps, ways = settings.steps or STEPS, [name for name in WAYS if name != "breaching" or is_installed()]
    rows = [
        {
            "turn": turn,
            **results.row("large", {"way": way, "steps": steps, "turn": turn}, partial(_apart, way, steps, settings.data)),
        }
        for turn, way in product(range(settings.images or TURNS), ways)
    ]
    told = [f"{name} to breaching, median and range: {_ratios(rows, name)}{goal}" for name, goal in GOALS.items() if is_installed()]
    return Shown(
        f"ResNet-18 of torchvision, one image of {SIDE}x{SIDE}: peak memory above that of model and update, and seconds a step",
        rows,
        {name: name for name in ("turn", "way", "peak, MB", "in all, MB", "step, s")},
        told,
    )


def _ratios(rows: Sequence[Values], name: str) -> str:
    ours, theirs = ([row[name] for row in rows if row["way"] == way] for way in ("leakgauge", "breaching"))
    found = [one / other for one, other in zip(ours, theirs, strict=True)]
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def _apart(way: str, steps: int, data: Path | None) -> Values:
    command = [sys.executable, "-m", "benchmarks.large", way, str(steps), str(data), str(torch.get_num_threads())]
    found: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return found


def main(way: str, steps: str, data: str, threads: str) -> None:
    """Run some steps and print what they took: what a process is started for."""
    torch.set_num_threads(int(threads))
    import_torchvision()
    work = WAYS[way](case(_enlarged(Settings(Path(data)).pool()), 0, LARGE, INFORMED), int(steps))
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # gives back what was freed, which a step would take without being seen
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of what came before
    before = _memory("VmRSS")
    began = time.perf_counter()
    work()
    seconds = (time.perf_counter() - began) / int(steps)
    print(json.dumps({"peak, MB": _memory("VmHWM") - before, "in all, MB": _memory("VmHWM"), "step, s": seconds}))


def _enlarged(pool: Pool) -> Pool:
    """One image of a pool, in the size that networks for photographs take."""
    x = interpolate(pool.x[:1], size=(SIDE, SIDE), mode="bilinear")
    return replace(pool, x=x, y=pool.y[:1], inputs=replace(pool.inputs, shape=(3, SIDE, SIDE)))


def _memory(name: str) -> float:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) / 1024


def _ours(this: Case, steps: int) -> Callable[[], object]:
    attack = inverting_gradients(steps=steps - 1, total_variation=equal_variation(SIDE))  # a last one looks at the result
    return lambda: attack.run(this.seen, rng=stream(0, "attack"), tick=no_tick)


def _theirs(this: Case, steps: int) -> Callable[[], object]:
    peer = InvertingGradients(this.seen, steps=steps)
    return lambda: peer.run(stream(0, "attack"))


def _passes(this: Case, steps: int) -> Callable[[], object]:
    """Forward and backward passes, which nothing that matches gradients can do without."""
    model = this.seen.model

    def work() -> None:
        for _ in range(steps):
            leaves = {name: value.detach().requires_grad_() for name, value in model.params.items()}
            x = this.secret.x.clone().requires_grad_()
            loss = model.loss_of(model.forward(leaves, model.buffers, x, training=False), this.secret.y)
            torch.autograd.grad(loss, [*leaves.values(), x])

    return work


WAYS: Mapping[str, Callable[[Case, int], Callable[[], object]]] = {
    "passes": _passes,
    "leakgauge": _ours,
    "breaching": _theirs,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
