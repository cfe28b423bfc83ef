"""What of GGL matters: the distance, the regularizer, and whether the defense is estimated (Li et al., CVPR 2022, Table 1).

And, beyond the paper: what is left of it where an update is of several images.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from leakgauge.studies.ggl import ATTACKS, BASE, CLIPPING, DEFENSES, GGL, GI, NOISE, PAPER, RATE, SOTERIA, SPARSE, STEPS, tuned
from leakgauge.studies.ggl_settings import OBJECTIVES, UNTUNED
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
_ATTACK = {"name": "ggl", "search": {"name": "adam", "steps": STEPS, "schedule": "step"}}
TUNED = ("attack.weight", RATE)
_UNTUNED = tuple(one for one in UNTUNED if one.startswith((f"{GGL} under", f"{GI} under")))


def settings(point: Mapping[str, Level]) -> Changes:
    """The weight and the rate that a distance with a regularizer was tuned to under the defense."""
    return dict(zip(TUNED, OBJECTIVES[point["defense"]][point["distance"]][point["regularizer"]], strict=True))


def as_in_the_table(point: Mapping[str, Level]) -> Changes:
    """The weight and the rate that GGL was tuned to under the defense, for the study ggl."""
    return tuned({**point, "attack": GGL})


OBJECTIVE = Block(
    name="objective",
    base={**BASE, "attack": _ATTACK},
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
    base={**BASE, "attack": _ATTACK},
    factors={
        "defense": {name: DEFENSES[name] for name in PAPER},
        "replay": REPLAYS,
        "seed": levels("seed", SEEDS),
    },
    quick={"defense": (SOTERIA,), "seed": SEEDS[:1]},
    joint=as_in_the_table,
)
SEVERAL = Block(
    name="several",
    base=BASE,
    factors={
        "defense": {name: DEFENSES[name] for name in (NOISE, SOTERIA)},
        "images": levels("batch.size", (1, 2, 4, 8)),
        "attack": {name: {**ATTACKS[name], "attack.labels": "counts"} for name in (GI, GGL)},
        "seed": levels("seed", SEEDS),
    },
    quick={"defense": (NOISE,), "images": (2,), "seed": SEEDS[:1]},
    joint=tuned,
)


def together(found: Results, *, defense: Level, images: Level) -> Statistic:
    """How far GGL is above GradInversion where an update is of several images: the median over pairs of one batch."""
    mine, theirs = (found.of("several", {"attack": one, "defense": defense, "images": images}) for one in (GGL, GI))
    return mine.minus(theirs)


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
        f"One seed is one fresh network, one image and one start. The attack is GGL with {STEPS} steps of Adam. Each distance with "
        "each regularizer was tuned on its own (`python -m benchmarks tuning`): its weight and the rate. With and without the "
        "estimates, GGL is that of the study ggl; without them, the candidate's gradient is compared with the update as it comes. "
        "Of several images the labels are counted (`counts`), and GradInversion stands beside, both as they were tuned to single "
        "images." + (f" Not tuned yet, and so no fair comparison: {'; '.join(_UNTUNED)}." if _UNTUNED else "")
    ),
    blocks=(OBJECTIVE, REPLAY, SEVERAL),
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
        *(
            View(
                title=f"PSNR by the images of an update: {defense}",
                block="several",
                x="images",
                by="attack",
                only={"defense": defense},
            )
            for defense in (NOISE, SOTERIA)
        ),
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
        *(
            Claim(
                text=f"{defense}, {images} images: {GGL} is above {GI}",
                measure=partial(together, defense=defense, images=images),
                at_least=0.0,
            )
            for defense in (NOISE, SOTERIA)
            for images in (2, 4, 8)
        ),
    ),
)
