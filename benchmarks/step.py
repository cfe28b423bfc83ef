"""One step of Inverting Gradients, ours against breaching's: the same model, gradient and label, in one process, in turn."""

from __future__ import annotations

import statistics
import time
from functools import partial
from itertools import pairwise

from benchmarks.cases import NETS, Case, Settings, case
from benchmarks.peer import InvertingGradients, equal_variation
from benchmarks.results import Results, Shown, Values
from leakgauge.attacks.inverting_gradients import inverting_gradients
from leakgauge.core.rng import stream
from leakgauge.core.threat import INFORMED

STEPS = {"LeNet": 50, "ConvNet-64": 5, "ResNet-18": 5}
"""Steps in a turn: short enough that whatever else the machine does hits both alike."""
TURNS = 12


def run(settings: Settings, results: Results) -> Shown:
    pool = settings.pool()

    def measure(net: str, steps: int) -> Values:
        this = case(pool, 0, NETS[net], INFORMED)
        peer = InvertingGradients(this.seen, steps=steps)
        turns = [(_ours(this, steps), _theirs(peer)) for _ in range(TURNS + 1)][1:]  # the first one warms up
        ours, theirs = (statistics.median(turn[side] for turn in turns) for side in (0, 1))
        ratio = statistics.median(mine / other for mine, other in turns)
        return {"ours": 1000 * ours, "breaching": 1000 * theirs, "ratio": ratio}

    rows = [
        results.row("step", {"net": net, "steps": steps, "turns": TURNS}, partial(measure, net, steps))
        for net, steps in ((net, settings.steps or STEPS[net]) for net in NETS)
    ]
    return Shown(
        "One matching step (objective, its gradient, signed Adam, projection), 32x32, batch 1",
        rows,
        {"net": "net", "ours": "leakgauge (ms)", "breaching": "breaching (ms)", "ratio": "ratio, median of turns"},
        [],
    )


def _ours(this: Case, steps: int) -> float:
    """Seconds per step: the median between the ends of consecutive steps."""
    ends: list[float] = []
    attack = inverting_gradients(steps=steps, total_variation=equal_variation(this.secret.x.shape[-1]))
    attack.run(this.seen, rng=stream(0, "attack"), tick=lambda _: ends.append(time.perf_counter()))
    return _median_interval(ends[:steps])


def _theirs(peer: InvertingGradients) -> float:
    """Seconds per step: the median between the beginnings of consecutive steps."""
    begins: list[float] = []
    peer.run(stream(0, "attack"), on_step=lambda: begins.append(time.perf_counter()))
    return _median_interval(begins)


def _median_interval(times: list[float]) -> float:
    return statistics.median(later - earlier for earlier, later in pairwise(times))
