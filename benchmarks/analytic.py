"""Analytic inversion of an MLP: the image stands in the gradient of the first layer."""

from __future__ import annotations

import time
from functools import partial

from benchmarks.cases import Settings, case, psnr
from benchmarks.results import Results, Shown, Values
from leakgauge.attacks.analytic import Analytic
from leakgauge.core.capabilities import SERVER
from leakgauge.core.rng import stream
from leakgauge.core.types import no_tick
from leakgauge.victims.mlp import MLP

GOAL = 60.0


def run(settings: Settings, results: Results) -> Shown:
    pool = settings.pool()

    def measure(index: int) -> Values:
        secret, seen = case(pool, index, MLP(), SERVER)
        started = time.perf_counter()
        guess = Analytic().run(seen, rng=stream(index, "attack"), tick=no_tick)
        return {"psnr": psnr(guess.batch, secret), "milliseconds": 1000 * (time.perf_counter() - started)}

    rows = [
        results.row("analytic", {"image": index, "victim": repr(MLP())}, partial(measure, index))
        for index in range(settings.images or 10)
    ]
    worst = min(row["psnr"] for row in rows)
    return Shown(
        "Analytic inversion of an MLP, CIFAR-10, batch 1",
        rows,
        {"image": "image", "psnr": "PSNR (dB)", "milliseconds": "milliseconds"},
        [f"worst PSNR {worst:.1f} dB (goal: at least {GOAL:.0f} dB); 120 dB is the most that is measured"],
    )
