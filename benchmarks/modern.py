"""The recipe `modern` against Inverting Gradients as published: what each finds of the same gradients, and in what time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from benchmarks.cases import Settings, case, psnr
from benchmarks.results import Results, Shown, Values
from leakgauge.attacks.inverting_gradients import inverting_gradients
from leakgauge.attacks.modern import modern
from leakgauge.core.capabilities import INFORMED
from leakgauge.core.protocols import Attack, Victim
from leakgauge.core.rng import stream
from leakgauge.core.statistics import median_interval
from leakgauge.core.types import no_tick
from leakgauge.victims.convnet import ConvNet
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.resnet import resnet18, resnet20

FIRST, IMAGES, STEPS = 200, 20, 24_000
"""Images from the 200th on: none of those that settings were tried on."""
NETS: Mapping[str, Victim] = {
    "LeNet": LeNet(),
    "ConvNet-16": ConvNet(width=16),
    "ResNet-20": resnet20(),
    "ConvNet-64": ConvNet(width=64),
    "ResNet-18": resnet18(),
}


class Pair(NamedTuple):
    """One image's rows."""

    modern: Values
    faithful: Values


def run(settings: Settings, results: Results) -> Shown:
    """Attack `--images` images of each network; `--steps` are those of the published recipe."""
    pool, steps = settings.pool(), settings.steps or STEPS
    attacks: Mapping[str, Attack] = {"modern": modern(), "faithful": inverting_gradients(steps=steps)}

    def measure(net: str, index: int, name: str) -> Values:
        this = case(pool, index, NETS[net], INFORMED)
        began = time.perf_counter()
        guess = attacks[name].run(this.seen, rng=stream(index, "attack"), tick=no_tick).batch
        return {"psnr": psnr(guess, this.secret), "seconds": time.perf_counter() - began}

    rows = []
    for net in settings.among(NETS):
        pairs = [
            Pair(
                *(
                    results.row(
                        "modern", {"net": net, "image": index, "attack": name, "steps": steps}, partial(measure, net, index, name)
                    )
                    for name in Pair._fields
                )
            )
            for index in range(FIRST, FIRST + (settings.images or IMAGES))
        ]
        rows.append({"net": net, "images": len(pairs), **_compared(pairs)})
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
        },
        ["goal: at most a tenth of the time, and a higher PSNR"],
    )


def _compared(pairs: list[Pair]) -> Values:
    gains = [float(pair.modern["psnr"]) - float(pair.faithful["psnr"]) for pair in pairs]
    interval = median_interval(gains)
    reach = "" if interval is None else f" ({interval[0]:.1f} to {interval[1]:.1f})"
    seconds = {name: [float(pair._asdict()[name]["seconds"]) for pair in pairs] for name in Pair._fields}
    return {name: statistics.median(float(pair._asdict()[name]["psnr"]) for pair in pairs) for name in Pair._fields} | {
        "gain": f"{statistics.median(gains):.1f}{reach}",
        "seconds": statistics.median(seconds["modern"]),
        "share": statistics.median(mine / other for mine, other in zip(seconds["modern"], seconds["faithful"], strict=True)),
    }
