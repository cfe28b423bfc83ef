"""With and without derivatives of what a defense does, at one budget of candidates (GGL, Li et al., CVPR 2022, Table 2)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from leakgauge.auditing.record import ATTACK, FLOOR
from leakgauge.studies.ggl import BASE, DEFENSES, GGL, NONE, SOTERIA, SPARSE
from leakgauge.studies.ggl_settings import SETTINGS, UNTUNED
from leakgauge.studying import Block, Changes, Claim, Level, Results, Statistic, Study, View, levels

BUDGET = 1_000
_UNTUNED = tuple(f"{GGL} under {one}" for one in (NONE, SPARSE, SOTERIA) if f"{GGL} under {one}" in UNTUNED)
_ATTACK = {"name": "ggl"}
SEEDS = range(400, 408)
ADAM, TURBO, CMA = "Adam", "TuRBO", "CMA-ES"
SEARCHES: Mapping[Level, Changes] = {
    ADAM: {"attack.search": {"name": "adam", "learning_rate": 0.1, "steps": BUDGET, "schedule": "step"}},
    TURBO: {"attack.search": {"name": "turbo", "budget": BUDGET}, "controls": []},  # a floor would be another five minutes
    CMA: {"attack.search": {"name": "cma_es", "budget": BUDGET}},
}
FLOORED = (ADAM, CMA)
LONG, PAPER = "25 times as many", "1,000"
BUDGETS: Mapping[Level, Changes] = {PAPER: {}, LONG: {"attack.search.budget": 25 * BUDGET}}


def weighed(point: Mapping[str, Level]) -> Changes:
    """The weight of the regularizer that GGL was tuned to under the defense; whatever searches, it searches the same."""
    return {"attack.weight": SETTINGS[point["defense"]][GGL][0]}


EQUAL = Block(
    name="equal",
    base={**BASE, "attack": _ATTACK, "controls": ["floor"]},
    factors={
        "defense": {name: DEFENSES[name] for name in (NONE, SPARSE, SOTERIA)},
        "search": SEARCHES,
        "seed": levels("seed", SEEDS),
    },
    quick={"defense": (NONE,), "search": (ADAM, CMA), "seed": SEEDS[:1]},
    joint=weighed,
)
LONGER = Block(
    name="budget",
    base={**BASE, "attack": {**_ATTACK, "search": {"name": "cma_es", "budget": BUDGET}}},
    factors={
        "defense": {name: DEFENSES[name] for name in (NONE, SOTERIA)},
        "candidates": BUDGETS,
        "seed": levels("seed", SEEDS),
    },
    quick={"seed": ()},
    joint=weighed,
)


def over(found: Results, *, search: Level, other: Level, defense: Level) -> Statistic:
    """How far one search is above another at one budget: the median over pairs of one image."""
    mine, theirs = (found.of("equal", {"search": one, "defense": defense}) for one in (search, other))
    return mine.minus(theirs)


def gained(found: Results, *, defense: Level) -> Statistic:
    """What a budget 25 times as large gains CMA-ES."""
    long, short = (found.of("budget", {"candidates": one, "defense": defense}) for one in (LONG, PAPER))
    return long.minus(short)


def above_floor(found: Results, *, search: Level, defense: Level) -> Statistic:
    """How far a search is above what its prior alone guesses."""
    return found.of("equal", {"search": search, "defense": defense}).against(FLOOR)


STUDY = Study(
    question="What does a search of a generator's codes lose without derivatives?",
    method=(
        "One seed is one fresh network, one image and one start. Adam, TuRBO and CMA-ES minimize the same objective, that of "
        f"GGL, with {BUDGET:,} candidates each: of every candidate the gradient of the model is compared with the update, and "
        "Adam takes a derivative of that besides, which costs it two to three times the time. The paper gives CMA-ES 800 steps "
        "of 50; its released code, 25,000 candidates, which are the longer run here. The weight of the latent KL is that which "
        "GGL was tuned to for the study ggl. TuRBO, whose Gaussian process takes most of its five minutes, has no floor."
        + (f" Not tuned yet: {', '.join(_UNTUNED)}." if _UNTUNED else "")
    ),
    blocks=(EQUAL, LONGER),
    views=(
        View(title=f"PSNR with {BUDGET:,} candidates", block="equal", x="defense", by="search"),
        View(
            title="Beside what the prior alone guesses",
            block="equal",
            x="defense",
            by="search",
            trials=(ATTACK, FLOOR),
        ),
        View(title="PSNR of CMA-ES by candidates", block="budget", x="candidates", by="defense"),
    ),
    claims=(
        *(
            Claim(
                text=f"{defense}, {BUDGET:,} candidates: Adam is above {other}",
                measure=partial(over, search=ADAM, other=other, defense=defense),
                at_least=0.0,
            )
            for defense in (NONE, SPARSE, SOTERIA)
            for other in (TURBO, CMA)
        ),
        *(
            Claim(
                text=f"{defense}: 25 times as many candidates gain CMA-ES 1 dB",
                measure=partial(gained, defense=defense),
                at_least=1.0,
            )
            for defense in (NONE, SOTERIA)
        ),
        *(
            Claim(
                text=f"{defense}: {search} is above what its prior alone guesses",
                measure=partial(above_floor, search=search, defense=defense),
                at_least=0.0,
            )
            for defense in (NONE, SOTERIA)
            for search in FLOORED
        ),
    ),
)
