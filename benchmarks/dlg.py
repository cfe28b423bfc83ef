"""DLG on its own ground: LeNet, one CIFAR-10 image, known model, four restarts."""

from __future__ import annotations

import statistics
import time
from functools import partial

from benchmarks.cases import Settings, case, psnr
from benchmarks.results import Results, Shown, Values
from leakgauge.attacks.dlg import dlg
from leakgauge.attacks.searches.lbfgs import LBFGS
from leakgauge.core.capabilities import SERVER
from leakgauge.core.rng import stream
from leakgauge.core.types import no_tick
from leakgauge.victims.lenet import LeNet

RECOVERED = 25.0


def run(settings: Settings, results: Results) -> Shown:
    pool = settings.pool()
    attack = dlg(restarts=4) if settings.steps is None else dlg(restarts=4, search=LBFGS(steps=settings.steps))

    def measure(index: int) -> Values:
        secret, seen = case(pool, index, LeNet(), SERVER)
        started = time.perf_counter()
        guess = attack.run(seen, rng=stream(index, "attack"), tick=no_tick)
        return {
            "psnr": psnr(guess.batch, secret),
            "loss": float(guess.losses.min()),
            "restarts": len(guess.losses),
            "seconds": time.perf_counter() - started,
        }

    rows = [
        results.row("dlg", {"image": index, "attack": repr(attack)}, partial(measure, index))
        for index in range(settings.images or 10)
    ]
    scores = [row["psnr"] for row in rows]
    recovered = sum(score >= RECOVERED for score in scores)
    return Shown(
        "DLG on LeNet, CIFAR-10, batch 1, known model, up to 4 restarts",
        rows,
        {"image": "image", "psnr": "PSNR (dB)", "loss": "loss", "restarts": "restarts used", "seconds": "seconds"},
        [
            f"{recovered} of {len(rows)} images at >= {RECOVERED:.0f} dB; median PSNR {statistics.median(scores):.1f} dB; "
            f"median time per image {statistics.median(row['seconds'] for row in rows):.1f} s"
        ],
    )
