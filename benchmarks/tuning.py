"""The settings of studies whose attacks are tuned: every attack with one budget, on images that are not audited."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from benchmarks.cases import Settings
from benchmarks.results import Results, Shown, Values
from leakgauge.core.errors import UsageError
from leakgauge.executor import Runtime, execute, task_of
from leakgauge.results.store import Store
from leakgauge.studies import bayes_optimal, ggl, ggl_ablation
from leakgauge.studying import Block, Case, Changes, Level, Study, cases, nothing
from leakgauge.tuning import Range, best, changed, tried

WORKERS = 2
Ranges = Mapping[str, Range]


@dataclass(frozen=True)
class Tunable:
    """The blocks of a study, what is tuned of an attack and within which ranges, and what images it is rehearsed on."""

    study: str
    blocks: tuple[Block, ...]
    ranges: Callable[[Mapping[str, Level]], Ranges]
    images: Callable[[str], Mapping[Level, Changes]]
    trials: int
    batches: int
    start: Callable[[Mapping[str, Level]], Sequence[float]] | None = None  # of what is tuned; None: the middle of the ranges


_WEIGHTS = {
    bayes_optimal.BAYES: Range(1e2, 1e5),
    bayes_optimal.L2: Range(0.05, 50.0),
    bayes_optimal.L1: Range(3.0, 3e3),
    bayes_optimal.COSINE: Range(1e-3, 1.0),
    bayes_optimal.MASKED: Range(1e-3, 1.0),
    bayes_optimal.FLOW: Range(0.01, 10.0),
}
"""Of the prior: as many decades for everyone, about the size of each likelihood."""
_RATE = Range(0.03, 2.0)
_GGL = {
    ggl.DLG: (Range(0.03, 3.0),),
    ggl.IDLG: (Range(0.03, 3.0),),
    ggl.IG: (Range(1e-3, 1.0), _RATE),
    ggl.GI: (Range(0.01, 50.0), _RATE),
    ggl.GGL: (Range(1e-3, 10.0), _RATE),
    ggl.REFINED: (Range(1e-3, 10.0), Range(1e-3, 0.5)),
    ggl.BAYES: (Range(0.1, 1e3), _RATE),
}
_WIDER: Mapping[tuple[Level, Level], tuple[Range, ...]] = {
    (ggl.NOISE, ggl.DLG): (Range(1e-3, 3.0),),
    (ggl.NOISE, ggl.IDLG): (Range(1e-3, 3.0),),
    (ggl.NOISE, ggl.IG): (Range(1e-2, 100.0), _RATE),
    (ggl.NOISE, ggl.GI): (Range(0.1, 500.0), Range(0.1, 10.0)),
    (ggl.NOISE, ggl.GGL): (Range(0.1, 1e3), _RATE),
    (ggl.SPARSE, ggl.GGL): (Range(0.1, 1e3), _RATE),
    (ggl.NOISE, ggl.REFINED): (Range(0.1, 1e3), Range(1e-4, 0.1)),
    **{(one, ggl.REFINED): (Range(0.1, 1e3), Range(1e-3, 0.5)) for one in (ggl.NONE, ggl.CLIPPING, ggl.SPARSE, ggl.SOTERIA)},
    (ggl.NOISE, ggl.BAYES): (Range(1e-2, 100.0), Range(0.1, 10.0)),
}
"""Where the best of the ranges above lay at an end."""
_FIRST: Mapping[str, Sequence[float]] = {
    ggl.DLG: (1.31,),
    ggl.IDLG: (0.552,),
    ggl.IG: (0.00325, 0.0814),
    ggl.GI: (0.132, 1.0),
    ggl.GGL: (0.1, 0.5),
    ggl.REFINED: (0.1, 0.05),
    ggl.BAYES: (9.88, 0.869),
}
"""Where ten trials without a defense ended: nobody starts in the dark."""
_REGULARIZERS: Mapping[str, Ranges] = {
    ggl_ablation.R0: {},
    ggl_ablation.R1: {ggl_ablation.TUNED[0]: Range(1e-3, 10.0)},
    ggl_ablation.R2: {ggl_ablation.TUNED[0]: Range(1e-8, 1e-4)},
    ggl_ablation.DENSITY: {ggl_ablation.TUNED[0]: Range(3e-5, 0.3)},
}
TUNABLE = (
    Tunable(
        "bayes-optimal",
        (bayes_optimal.NOISE, bayes_optimal.STRENGTH, bayes_optimal.PRIORS),
        lambda point: {bayes_optimal.WEIGHT: _WEIGHTS[str(point["attack"])], bayes_optimal.RATE: Range(0.05, 0.5)},
        lambda data: {
            bayes_optimal.COLOR: {"data": {"name": "npz", "path": data}},
            bayes_optimal.DIGITS: {"data": {"name": "mnist", "part": "train"}},
        },
        trials=12,
        batches=4,
    ),
    Tunable(
        "ggl",
        (ggl.TABLE,),
        lambda point: dict(
            zip(
                ggl.TUNED[point["attack"]],
                _WIDER.get((point["defense"], point["attack"]), _GGL[str(point["attack"])]),
                strict=True,
            )
        ),
        lambda data: {"color": {"data": {"name": "npz", "path": data}}},
        trials=16,
        batches=3,
        start=lambda point: _FIRST[str(point["attack"])],
    ),
    Tunable(
        "ggl-ablation",
        (ggl_ablation.OBJECTIVE,),
        lambda point: {**_REGULARIZERS[str(point["regularizer"])], ggl_ablation.TUNED[1]: _RATE},
        lambda data: {"color": {"data": {"name": "npz", "path": data}}},
        trials=10,
        batches=3,
    ),
)


def run(settings: Settings, results: Results) -> Shown:
    """Tune the attacks of every study; `--data` holds the images to rehearse on, `--images` says how many."""
    rows = [
        results.row(
            "tuning",
            {
                "study": one.study,
                **case.levels,
                "trials": one.trials,
                "batches": settings.images or one.batches,
                "steps": settings.steps,
                "within": {path: [found.low, found.high] for path, found in one.ranges(case.levels).items()},
            },
            partial(_measure, case, one, settings.images or one.batches, results),
        )
        for one in TUNABLE
        for case in _cases(one, settings)
    ]
    return Shown(
        "The settings of the studies whose attacks are tuned",
        rows,
        {
            "study": "study",
            "images": "images",
            "noise": "noise",
            "defense": "defense",
            "attack": "attack",
            "distance": "distance",
            "regularizer": "regularizer",
            "settings": "settings",
            "psnr": "PSNR in rehearsals (dB)",
        },
        [
            f"{len(rows)} attacks; "
            + ", ".join(f"{one.study}: {one.trials} trials of {settings.images or one.batches} rehearsals" for one in TUNABLE)
        ],
    )


def _cases(one: Tunable, settings: Settings) -> Iterator[Case]:
    """Every attack at every point of the study but its seeds, with the settings that its trials start from."""
    if settings.data is None:
        raise UsageError(
            "--data: is missing, expected an .npz file with images of CIFAR-10 (x) and labels (y) that are not audited"
        )
    images = one.images(str(settings.data))
    blocks = tuple(
        replace(
            block,
            factors={
                **{name: found for name, found in block.factors.items() if name not in ("images", "seed")},
                "images": {name: images[name] for name in block.factors.get("images", images)},
                "seed": {0: {"seed": 0}},
            },
            quick={},
            joint=nothing,
        )
        for block in one.blocks
    )
    for case in cases(Study(question="", blocks=blocks, views=(), claims=())):
        ranges = one.ranges(case.levels)
        middle = [math.sqrt(found.low * found.high) for found in ranges.values()]
        start = dict(zip(ranges, one.start(case.levels) if one.start else middle, strict=True))
        steps = {} if settings.steps is None else {"attack.search.steps": settings.steps}
        yield replace(case, spec=changed(case.spec, {**start, **steps}))


def _measure(case: Case, one: Tunable, batches: int, results: Results) -> Values:
    ranges = one.ranges(case.levels)
    store, runtime = Store(results.folder / "rehearsals"), Runtime(workers=WORKERS)
    trials = tried(
        case.spec,
        ranges,
        lambda specs: execute(map(task_of, specs), store, runtime).records,
        trials=one.trials,
        batches=batches,
    )
    found = best(list(trials))
    return {"settings": ", ".join(f"{float(found.settings[path]):.3g}" for path in ranges), "psnr": found.score}
