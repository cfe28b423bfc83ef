"""What of GGL matters: the distance, the regularizer, and whether the defense is estimated (Li et al., CVPR 2022, Table 1)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from leakgauge.studies.ggl import BASE, CLIPPING, DEFENSES, GGL, NOISE, PAPER, SOTERIA, SPARSE, STEPS
from leakgauge.studies.ggl_settings import SETTINGS
from leakgauge.studying import Block, Changes, Claim, Level, Results, Statistic, Study, View, levels

SEEDS = range(440, 452)
D1, D2 = "D1, squared distance", "D2, cosine"
DISTANCES: Mapping[Level, Changes] = {D1: {"attack.likelihood": "gaussian"}, D2: {"attack.likelihood": "cosine"}}
R0, R1, R2, DENSITY = "none", "R1, latent KL", "R2, norm", "density"
REGULARIZERS: Mapping[Level, Changes] = {
    R0: {"attack.regularizer": "none"},
    R1: {"attack.regularizer": "kl"},
    R2: {"attack.regularizer": "norm"},
    DENSITY: {"attack.regularizer": "density"},
}
ADAPTIVE, PLAIN = "defense estimated", "update taken as it comes"
REPLAYS: Mapping[Level, Changes] = {ADAPTIVE: {"attack.replay": "estimated"}, PLAIN: {"attack.replay": "one_gradient"}}
_CODE = 128
"""Numbers of a code, by whose square R2 is larger than R1."""
_ATTACK = {"name": "ggl", "search": {"name": "adam", "steps": STEPS, "schedule": "step"}}


def settings(point: Mapping[str, Level]) -> Changes:
    """The rate and the weight that GGL was tuned to under the defense; of R2 as much less as it is larger."""
    weight, rate = SETTINGS[point["defense"]][GGL]
    is_norm = point.get("regularizer") == R2
    return {"attack.weight": weight / _CODE**2 if is_norm else weight, "attack.search.learning_rate": rate}


OBJECTIVE = Block(
    name="objective",
    base={**BASE, "attack": _ATTACK, "controls": []},
    factors={
        "defense": {name: DEFENSES[name] for name in (NOISE, SOTERIA)},
        "distance": DISTANCES,
        "regularizer": REGULARIZERS,
        "seed": levels("seed", SEEDS),
    },
    quick={"defense": (NOISE,), "regularizer": (R1,), "seed": SEEDS[:1]},
    joint=settings,
)
REPLAY = Block(
    name="replay",
    base={**BASE, "attack": _ATTACK, "controls": []},
    factors={
        "defense": {name: DEFENSES[name] for name in PAPER},
        "replay": REPLAYS,
        "seed": levels("seed", SEEDS),
    },
    quick={"defense": (SOTERIA,), "seed": SEEDS[:1]},
    joint=settings,
)


def adapted(found: Results, *, defense: Level) -> Statistic:
    """What it gains to estimate the defense, and to replay it."""
    mine, theirs = (found.of("replay", {"replay": one, "defense": defense}) for one in (ADAPTIVE, PLAIN))
    return mine.minus(theirs)


def regularized(found: Results, *, regularizer: Level, defense: Level) -> Statistic:
    """What a regularizer gains over none, under the squared distance."""
    mine, theirs = (found.of("objective", {"regularizer": one, "distance": D1, "defense": defense}) for one in (regularizer, R0))
    return mine.minus(theirs)


STUDY = Study(
    question="What of GGL matters: the distance, the regularizer, or that it estimates the defense?",
    method=(
        f"One seed is one fresh network, one image and one start. The attack is GGL with {STEPS} steps of Adam, at the rate and "
        "the weight that it was tuned to under the defense. R2 is larger than R1 by about the square of the numbers of a code, "
        "and its weight smaller by as much. Without the estimates the candidate's gradient is compared with the update as it "
        "comes."
    ),
    blocks=(OBJECTIVE, REPLAY),
    views=(
        *(
            View(
                title=f"PSNR by distance and regularizer: {defense}",
                block="objective",
                x="regularizer",
                by="distance",
                only={"defense": defense},
            )
            for defense in (NOISE, SOTERIA)
        ),
        View(title="PSNR with and without the estimates", block="replay", x="defense", by="replay"),
    ),
    claims=(
        *(
            Claim(
                text=f"{defense}: to estimate the defense and replay it gains 1 dB",
                measure=partial(adapted, defense=defense),
                at_least=1.0,
            )
            for defense in (CLIPPING, SPARSE, SOTERIA)
        ),
        Claim(
            text=f"{NOISE}: there is nothing to replay, so to estimate it changes less than 0.3 dB",
            measure=partial(adapted, defense=NOISE),
            at_least=-0.3,
            at_most=0.3,
        ),
        *(
            Claim(
                text=f"{defense}: {regularizer} is above no regularizer",
                measure=partial(regularized, regularizer=regularizer, defense=defense),
                at_least=0.0,
            )
            for defense in (NOISE, SOTERIA)
            for regularizer in (R1, R2, DENSITY)
        ),
    ),
)
