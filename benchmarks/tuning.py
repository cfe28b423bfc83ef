"""The settings of the study bayes-optimal: every attack tuned with one budget, on training images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from benchmarks.cases import Settings
from benchmarks.results import Results, Shown, Values
from leakgauge.core.errors import UsageError
from leakgauge.executor import Runtime, execute, task_of
from leakgauge.results.store import Store
from leakgauge.studies.bayes_optimal import (
    BAYES,
    COLOR,
    COSINE,
    DIGITS,
    FLOW,
    L1,
    L2,
    MASKED,
    NOISE,
    PRIORS,
    RATE,
    STRENGTH,
    WEIGHT,
)
from leakgauge.studying import Case, Changes, Level, Study, cases, nothing
from leakgauge.tuning import Range, best, changed, tried

TRIALS, BATCHES, WORKERS = 12, 4, 2
RATES = Range(0.05, 0.5)
WEIGHTS = {
    BAYES: Range(1e2, 1e5),
    L2: Range(0.05, 50.0),
    L1: Range(3.0, 3e3),
    COSINE: Range(1e-3, 1.0),
    MASKED: Range(1e-3, 1.0),
    FLOW: Range(0.01, 10.0),
}
"""Of the prior: as many decades for everyone, about the size of each likelihood."""


def run(settings: Settings, results: Results) -> Shown:
    batches = settings.images or BATCHES
    rows = [
        results.row(
            "tuning",
            {**case.levels, "trials": TRIALS, "batches": batches, "steps": settings.steps},
            partial(_measure, case, batches, results),
        )
        for case in _cases(settings)
    ]
    return Shown(
        "The settings of the study bayes-optimal",
        rows,
        {
            "images": "images",
            "noise": "noise",
            "attack": "attack",
            "weight": "weight of the prior",
            "rate": "learning rate",
            "psnr": "PSNR in rehearsals (dB)",
        },
        [f"{len(rows)} attacks with {TRIALS} trials of {batches} rehearsals each"],
    )


def _cases(settings: Settings) -> Iterator[Case]:
    """Every attack under every noise on training images, with settings in the middle of their ranges."""
    if settings.data is None:
        raise UsageError("--data: is missing, expected an .npz file with training images of CIFAR-10 (x) and labels (y)")
    images: dict[Level, Changes] = {
        COLOR: {"data": {"name": "npz", "path": str(settings.data)}},
        DIGITS: {"data": {"name": "mnist", "part": "train"}},
    }
    blocks = tuple(
        replace(
            block,
            factors={
                **block.factors,
                "images": {name: images[name] for name in block.factors["images"]},
                "seed": {0: {"seed": 0}},
            },
            quick={},
            joint=nothing,
        )
        for block in (NOISE, STRENGTH, PRIORS)
    )
    for case in cases(Study(question="", blocks=blocks, views=(), claims=())):
        middle = {path: math.sqrt(one.low * one.high) for path, one in _ranges(case).items()}
        steps = {} if settings.steps is None else {"attack.search.steps": settings.steps}
        yield replace(case, spec=changed(case.spec, {**middle, **steps}))


def _measure(case: Case, batches: int, results: Results) -> Values:
    store, runtime = Store(results.folder / "rehearsals"), Runtime(workers=WORKERS)
    trials = tried(
        case.spec,
        _ranges(case),
        lambda specs: execute(map(task_of, specs), store, runtime).records,
        trials=TRIALS,
        batches=batches,
    )
    found = best(list(trials))
    return {"weight": found.settings[WEIGHT], "rate": found.settings[RATE], "psnr": found.score}


def _ranges(case: Case) -> dict[str, Range]:
    return {WEIGHT: WEIGHTS[str(case.levels["attack"])], RATE: RATES}
