"""Inverting Gradients against breaching 0.1.2: the same weights, images, labels, gradients, steps and prior."""

from __future__ import annotations

import statistics
import time
from functools import partial

from benchmarks.cases import NETS, Case, Settings, case, psnr
from benchmarks.peer import InvertingGradients, equal_variation
from benchmarks.results import Results, Shown, Values
from leakgauge.attacks.inverting_gradients import inverting_gradients
from leakgauge.attacks.matching import Matching
from leakgauge.core.capabilities import INFORMED
from leakgauge.core.rng import stream
from leakgauge.core.statistics import median_interval
from leakgauge.core.types import Batch, no_tick

PACKAGES = ("leakgauge", "breaching")
FIRST = 10


def run(settings: Settings, results: Results) -> Shown:
    pool = settings.pool()
    nets, steps = settings.among(NETS), settings.steps or 1000
    attack = inverting_gradients(steps=steps, total_variation=equal_variation(pool.inputs.shape[-1]))

    def measure(index: int, net: str, package: str) -> Values:
        this = case(pool, index, NETS[net], INFORMED)
        started = time.perf_counter()
        guess, mismatch = _ours(this, attack, index) if package == "leakgauge" else _theirs(this, steps, index)
        return {"psnr": psnr(guess, this.secret), "mismatch_at_truth": mismatch, "seconds": time.perf_counter() - started}

    rows = [
        results.row(
            "inverting",
            {"net": net, "image": index, "package": package, "steps": steps},
            partial(measure, index, net, package),
        )
        for net in nets
        for index in range(FIRST, FIRST + (settings.images or 4))
        for package in PACKAGES
    ]
    return Shown(
        f"Inverting Gradients, {steps} steps, CIFAR-10, batch 1, untrained nets in evaluation mode, known label",
        rows,
        {"net": "net", "image": "image", "package": "package", "psnr": "PSNR (dB)", "mismatch_at_truth": "1 - cos at the truth"}
        | {"seconds": "seconds"},
        [_medians(net, [row for row in rows if row["net"] == net]) for net in nets],
    )


def _ours(this: Case, attack: Matching, index: int) -> tuple[Batch, float]:
    guess = attack.run(this.seen, rng=stream(index, "attack"), tick=no_tick).batch
    replayed = attack.replay(this.seen, this.secret)
    return guess, float(attack.likelihood(replayed, this.seen.update.delta))


def _theirs(this: Case, steps: int, index: int) -> tuple[Batch, float]:
    peer = InvertingGradients(this.seen, steps=steps)
    return peer.run(stream(index, "attack", "breaching")), peer.mismatch(this.secret)


def _medians(net: str, rows: list[Values]) -> str:
    found = {package: [float(row["psnr"]) for row in rows if row["package"] == package] for package in PACKAGES}
    medians = ", ".join(f"{package} {statistics.median(values):.2f} dB" for package, values in found.items())
    apart = [ours - theirs for ours, theirs in zip(*found.values(), strict=True)]
    interval = median_interval(apart)
    told = "too few for an interval" if interval is None else f"95% interval {interval[0]:.2f} to {interval[1]:.2f}"
    return f"{net}: median PSNR {medians}; by image, ours is {statistics.median(apart):+.2f} dB ahead ({told}, n = {len(apart)})"
