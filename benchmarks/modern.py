"""The recipe `modern` against Inverting Gradients as published, and against breaching in equal time, on the same gradients."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from benchmarks.cases import Case, Settings, case, psnr
from benchmarks.peer import InvertingGradients, is_installed
from benchmarks.results import Results, Shown, Values
from leakgauge.attacks.inverting_gradients import inverting_gradients
from leakgauge.attacks.modern import modern
from leakgauge.core.capabilities import INFORMED
from leakgauge.core.protocols import Attack, Defense, Victim
from leakgauge.core.rng import stream
from leakgauge.core.statistics import median_interval
from leakgauge.core.types import Batch, no_tick
from leakgauge.defenses.noise import GaussianNoise
from leakgauge.victims.cnn import CNN
from leakgauge.victims.convnet import ConvNet
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.resnet import resnet18, resnet20


class Setup(NamedTuple):
    """A network, and what its clients do to their updates."""

    victim: Victim
    defenses: tuple[Defense, ...] = ()


FIRST, IMAGES, STEPS = 200, 20, 24_000
"""Images from the 200th on: none of those that settings were tried on."""
NETS: Mapping[str, Setup] = {
    "LeNet": Setup(LeNet()),
    "LeNet in noise": Setup(LeNet(), (GaussianNoise(sigma=0.02),)),
    "CNN": Setup(CNN()),
    "ConvNet-16": Setup(ConvNet(width=16)),
    "ResNet-20": Setup(resnet20()),
    "ConvNet-64": Setup(ConvNet(width=64)),
    "ResNet-18": Setup(resnet18()),
}


_TRIED = 50
"""Steps of breaching after which it is known how many of them go into the time that `modern` took."""
_NEAR = 0.95
"""The share of that time from which on it counts as equal; breaching is run again, with more steps, until it took as much."""


class Contest(NamedTuple):
    """One image's rows; of breaching only where it is installed."""

    modern: Values
    faithful: Values
    peer: Values | None


def run(settings: Settings, results: Results) -> Shown:
    """Attack `--images` images of each network; `--steps` are those of the published recipe."""
    pool, steps = settings.pool(), settings.steps or STEPS
    attacks: Mapping[str, Attack] = {"modern": modern(), "faithful": inverting_gradients(steps=steps)}

    def ours(net: str, index: int, name: str) -> Values:
        this = case(pool, index, NETS[net].victim, INFORMED, defenses=NETS[net].defenses)
        return _timed(this, lambda: attacks[name].run(this.seen, rng=stream(index, "attack"), tick=no_tick).batch)

    def theirs(net: str, index: int, seconds: float) -> Values:
        this = case(pool, index, NETS[net].victim, INFORMED, defenses=NETS[net].defenses)
        return _in_equal_time(this, index, seconds)

    def contest(net: str, index: int) -> Contest:
        key = {"net": net, "image": index}
        first, second = (
            results.row("modern", key | {"attack": name, "steps": steps}, partial(ours, net, index, name)) for name in attacks
        )
        seconds = float(first["seconds"])
        peer = partial(theirs, net, index, seconds)
        return Contest(first, second, results.row("modern", key | {"attack": "breaching"}, peer) if is_installed() else None)

    rows = []
    for net in settings.among(NETS):
        contests = [contest(net, index) for index in range(FIRST, FIRST + (settings.images or IMAGES))]
        rows.append({"net": net, "images": len(contests), **_compared(contests)})
    return Shown(
        f"`modern` and Inverting Gradients in {steps} steps: CIFAR-10, batch 1, untrained networks in evaluation mode, known label",
        rows,
        {
            "net": "net",
            "images": "images",
            "modern": "modern, median PSNR (dB)",
            "faithful": "as published (dB)",
            "gain": "difference, median (95% interval)",
            "seconds": "modern (s)",
            "share": "of the published recipe's time",
            "peer": "breaching in modern's time (dB)",
            "ahead": "difference, median (95% interval) ",
        },
        [
            "goal: at most a tenth of the published recipe's time, and a higher PSNR; breaching's + 1 dB in equal time",
            *([] if is_installed() else ["breaching is not installed, see docs/benchmarks.md"]),
        ],
    )


def _timed(this: Case, work: Callable[[], Batch]) -> dict[str, float]:
    began = time.perf_counter()
    guess = work()
    seconds = time.perf_counter() - began
    return {"psnr": psnr(guess, this.secret), "seconds": seconds}


def _in_equal_time(this: Case, index: int, seconds: float) -> Values:
    """What breaching finds, whose schedule is spread over as many steps as go into at least so many seconds, or nearly."""
    steps, found = _TRIED, dict[str, float]()
    while not found or found["seconds"] < _NEAR * seconds:
        steps = steps if not found else math.ceil(steps * seconds / found["seconds"])
        peer = InvertingGradients(this.seen, steps=steps)
        found = _timed(this, partial(peer.run, stream(index, "attack", "breaching")))
    return {**found, "steps": steps}


def _compared(contests: list[Contest]) -> Values:
    def gain(others: Sequence[Values]) -> str:
        gains = [_psnr(one.modern) - _psnr(other) for one, other in zip(contests, others, strict=True)]
        interval = median_interval(gains)
        reach = "" if interval is None else f" ({interval[0]:.1f} to {interval[1]:.1f})"
        return f"{statistics.median(gains):.1f}{reach}"

    peers = [one.peer for one in contests if one.peer is not None]
    return {
        "modern": statistics.median(_psnr(one.modern) for one in contests),
        "faithful": statistics.median(_psnr(one.faithful) for one in contests),
        "gain": gain([one.faithful for one in contests]),
        "seconds": statistics.median(float(one.modern["seconds"]) for one in contests),
        "share": statistics.median(float(one.modern["seconds"]) / float(one.faithful["seconds"]) for one in contests),
        "peer": statistics.median(map(_psnr, peers)) if peers else "",
        "ahead": gain(peers) if peers else "",
    }


def _psnr(row: Values) -> float:
    return float(row["psnr"])
