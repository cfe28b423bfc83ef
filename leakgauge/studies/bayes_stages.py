"""How long an update leaks while its network trains: no defense, and the strong attack on Soteria, ATS and PRECODE, stage by stage.

Balunović et al. (ICLR 2022, arXiv 2111.04706) find that the three defenses leak most early in training. Settings are those of the
study `broken-defenses`; only the stages are closer, and the images others.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from leakgauge.auditing.record import ATTACK, BLIND
from leakgauge.studies.broken_defenses import (
    AS_TRAINED,
    BASE,
    BRIEFLY,
    NONE,
    POLICIES,
    PRECODE_READ,
    SOTERIA_WITHOUT,
    UNDEFENDED,
    ats,
)
from leakgauge.studying import Block, Claim, Level, Results, Statistic, Study, View, levels

STAGES: Mapping[Level, Mapping[str, int]] = {str(steps): {"training.steps": steps} for steps in (0, 10, 50, 200, 1000)}
"""By words, so that a chart spaces them evenly."""
SEEDS = range(48, 56)
EARLY, LATE = ("0", "10", "50"), ("200", "1000")
FRESH = EARLY[0]
QUICK: dict[str, Any] = {"seed": (SEEDS[0],), "training steps": (FRESH, "50")}

PIXELS = Block(
    name="originals",
    base=BASE,
    factors={
        "defense": {UNDEFENDED: NONE, "Soteria": SOTERIA_WITHOUT, "PRECODE": PRECODE_READ},
        "training steps": STAGES,
        "seed": levels("seed", SEEDS),
    },
    quick=QUICK,
    briefly=BRIEFLY,
)
TRANSFORMED = Block(
    name="transformed",
    base=BASE,
    factors={"defense": {"ATS": ats(POLICIES[0])}, "training steps": STAGES, "seed": levels("seed", SEEDS)},
    quick=QUICK,
    briefly=BRIEFLY,
)
SCORES = {PIXELS.name: "psnr", TRANSFORMED.name: AS_TRAINED}
ARMS = tuple((block.name, str(defense)) for block in (PIXELS, TRANSFORMED) for defense in block.factors["defense"])


def lost(found: Results, *, block: str, defense: str) -> float:
    """How far the median of the early stages is above that of the late ones."""
    early, late = (found.of(block, {"defense": defense, "training steps": stages}) for stages in (EARLY, LATE))
    return early.median(SCORES[block]).value - late.median(SCORES[block]).value


def above_blind(found: Results, *, block: str, defense: str) -> Statistic:
    """How far the attack on a fresh network is above a guess without any update."""
    return found.of(block, {"defense": defense, "training steps": FRESH}).against(BLIND, SCORES[block])


STUDY = Study(
    question="At which stage of its training does a network give its images away, past each defense?",
    method=(
        "One seed is one network, one image and one start of the search, whatever the defense and the stage. The attack is "
        "Inverting Gradients where nothing is defended, and against ATS, where the score is against the image that was trained on; "
        "Soteria's layer is left out of the comparison; PRECODE's noise is read off the decoder's gradient. Victims were trained "
        "at a rate of 0.05, those of PRECODE of 0.01. Settings were chosen on other images."
    ),
    blocks=(PIXELS, TRANSFORMED),
    views=(
        View(title="PSNR by training steps of the victim", block="originals", x="training steps", by="defense"),
        View(
            title="ATS: PSNR against the image that was trained on",
            block="transformed",
            x="training steps",
            by="defense",
            score=AS_TRAINED,
            trials=(ATTACK, BLIND),
        ),
    ),
    claims=(
        *(
            Claim(
                text=f"A fresh network is 3 dB above a blind guess: {defense}",
                measure=partial(above_blind, block=block, defense=defense),
                at_least=3.0,
            )
            for block, defense in ARMS
        ),
        *(
            Claim(
                text=f"Up to {EARLY[-1]} steps, the median is 1 dB above that from {LATE[0]} steps on: {defense}",
                measure=partial(lost, block=block, defense=defense),
                at_least=1.0,
            )
            for block, defense in ARMS
        ),
    ),
)
