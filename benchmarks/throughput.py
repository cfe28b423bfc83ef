"""Reconstructions a second: many updates of one victim attacked at once, one after the other, and by breaching in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.cases import Case, Settings, case, psnr
from benchmarks.peer import InvertingGradients, equal_variation, is_installed
from benchmarks.results import Results, Shown, Values
from leakgauge.attacks.inverting_gradients import inverting_gradients
from leakgauge.core.capabilities import INFORMED
from leakgauge.core.devices import device_named
from leakgauge.core.protocols import Victim
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, no_tick
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.resnet import resnet18

NETS: dict[str, Victim] = {"LeNet": LeNet(), "ResNet-18": resnet18()}
FIRST, IMAGES, STEPS = 300, 32, 200
PEERS = 4
"""Images that breaching is given: it attacks one after the other, each in the same time."""


def run(settings: Settings, results: Results) -> Shown:
    """Attack `--images` images on the same weights with `--steps` steps each, on a GPU if there is one."""
    pool, device = settings.pool(), device_named("auto")
    images, steps = settings.images or IMAGES, settings.steps or STEPS

    def measure(net: str) -> Values:
        cases = [case(pool, index, NETS[net], INFORMED, weights=FIRST, device=device) for index in range(FIRST, FIRST + images)]
        attack = inverting_gradients(steps=steps, total_variation=equal_variation(pool.inputs.shape[-1]))
        rngs = [stream(index, "attack") for index in range(images)]

        def each(some: Sequence[Case]) -> list[Batch]:
            found = attack.run_each([one.seen for one in some], rngs=rngs[: len(some)], tick=no_tick)
            return [one.batch for one in found]

        ways: dict[str, Callable[[], list[Batch]]] = {
            "at once": lambda: each(cases),
            "in turn": lambda: [guess for one in cases[:PEERS] for guess in each([one])],
        }
        if is_installed():
            ways["breaching"] = lambda: [
                InvertingGradients(one.seen, steps=steps).run(stream(row, "attack")) for row, one in enumerate(cases[:PEERS])
            ]
        found: dict[str, float] = {}
        for name, work in ways.items():
            began = time.perf_counter()
            guesses = work()
            found[f"{name}, s"] = (time.perf_counter() - began) / len(guesses)
            found[f"{name}, dB"] = statistics.median(psnr(guess, one.secret) for guess, one in zip(guesses, cases, strict=False))
        return found | {f"{name} / at once": found[f"{name}, s"] / found["at once, s"] for name in ways if name != "at once"}

    rows = [
        results.row("throughput", {"net": net, "images": images, "steps": steps, "device": str(device)}, partial(measure, net))
        for net in settings.among(NETS)
    ]
    columns = ("net", "images", *(f"{way}, {unit}" for way in ("at once", "in turn", "breaching") for unit in ("s", "dB")))
    return Shown(
        f"Inverting Gradients in {steps} steps on {device}: seconds an image, and median PSNR",
        rows,
        {name: name for name in (*columns, "in turn / at once", "breaching / at once")},
        ["goals on a GPU: breaching takes at least 20 times as long on LeNet, 5 times on ResNet-18"],
    )
