"""Whether images of one class come back fused.

Geng et al. (2021, arXiv 2110.09074) find that the images of a batch that share a label come back as a mixture of each other: with
equal labels nothing in the update says which part belongs to which image. A guess that is a mixture is no nearer to its image than
the mean of the batch is; so the yardstick is that mean, which no adversary has.
"""

from __future__ import annotations

from functools import partial
from statistics import median

from leakgauge.core.statistics import median_interval
from leakgauge.spec import AuditSpec
from leakgauge.spec.preparing import draw
from leakgauge.studying import Block, Claim, Results, Statistic, Study, View, levels

SIZES = (2, 4, 8)
DIFFERENT, SAME = "all different", "all the same"
APART = 3.0  # dB nearer to the image than the mean of the batch
BATCHES = Block(
    name="batches",
    base={
        "data": {"name": "photographs", "size": 32},
        "batch": {"size": 4},
        "victim": "lenet",
        "threat": "informed",
        "attack": {"name": "general_deep_leakage", "labels": "known", "search": {"steps": 60}},
        "metrics": {"psnr": "psnr", "ssim": "ssim"},
        "controls": [],
    },
    factors={
        "batch size": levels("batch.size", SIZES),
        "classes": {DIFFERENT: {"batch.labels": "unique"}, SAME: {"batch.labels": "same"}},
        "seed": levels("seed", range(8)),
    },
    quick={"batch size": (4,), "seed": (0, 1)},
    briefly={"attack.search.steps": 40},
)


def mean_scores(spec: AuditSpec) -> list[float]:
    """The PSNR, image by image, of a guess that is the mean of the secret batch."""
    pool = spec.parts.data.load()
    secret = pool.x[draw(spec.parts.batch, pool, spec.parts.seed)]
    errors = (secret - secret.mean(dim=0)).square().flatten(1).mean(dim=1)
    return [float(value) for value in -10 * errors.clamp_min(1e-10).log10()]


def above_mean(found: Results, *, classes: str, size: int) -> Statistic:
    """The median over batches of how much nearer a guess is to its image than the mean of the batch is: near 0 where they fuse."""
    sample = found.of("batches", {"classes": classes, "batch size": size})
    scores = sample.scores()
    values = []
    for number, case in enumerate(sample.cases):
        own = scores[number * size : (number + 1) * size]
        values.append(median(guess - mean for guess, mean in zip(own, mean_scores(case.spec), strict=True)))
    return Statistic(median(values), len(values), median_interval(values))


STUDY = Study(
    question="Do images of one class come back fused into each other?",
    method=(
        "Batches of one class are compared with batches of different classes, under one network and one start of the search for "
        "each seed; the labels are known. Images of one class are nearer to each other, so scores alone prove nothing: every guess "
        "is compared with the mean of its batch, which is what perfectly fused images would be. Measured is how much nearer to its "
        "image a guess is than that mean; guesses count as apart from 3 dB on, which is half the squared error. The attack's "
        "weights were settled on other images."
    ),
    blocks=(BATCHES,),
    views=(
        View(title="PSNR by batch size", block="batches", x="batch size", by="classes", log_x=True),
        View(title="Images of 20 dB or more", block="batches", x="batch size", by="classes", statistic="share", threshold=20.0),
        View(title="SSIM by batch size", block="batches", x="batch size", by="classes", score="ssim", log_x=True),
    ),
    claims=(
        *(
            Claim(
                text=f"{size} images of different classes come back apart",
                measure=partial(above_mean, classes=DIFFERENT, size=size),
                at_least=APART,
            )
            for size in SIZES
        ),
        Claim(
            text="2 images of one class come back apart as well",
            measure=partial(above_mean, classes=SAME, size=2),
            at_least=APART,
        ),
        *(
            Claim(
                text=f"{size} images of one class come back fused",
                measure=partial(above_mean, classes=SAME, size=size),
                at_most=APART,
            )
            for size in SIZES[1:]
        ),
    ),
)
