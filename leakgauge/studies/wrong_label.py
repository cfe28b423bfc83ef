"""What one wrong label does to the rest of the batch.

Geng et al. (2021, arXiv 2110.09074) find that a batch is not restored if even one of its labels is wrong. Here the labels are
known but for some that are replaced by other classes, drawn by chance, and the other images are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import inf
from statistics import median

from leakgauge.auditing.record import ATTACK, BLIND
from leakgauge.core.statistics import median_interval
from leakgauge.studying import Block, Claim, Results, Sample, Statistic, Study, View, levels

MISTAKES = (0, 1, 2, 4)
BASE = {
    "data": {"name": "photographs", "size": 32},
    "batch": {"size": 4, "labels": "unique"},
    "victim": "lenet",
    "threat": "informed",
    "attack": {"name": "general_deep_leakage", "labels": {"name": "corrupted", "wrong": 0}, "search": {"steps": 60}},
    "metrics": {"psnr": "psnr", "ssim": "ssim"},
    "controls": ["blind"],
}

FOUR = Block(
    name="four",
    base=BASE,
    factors={"wrong labels": levels("attack.labels.wrong", MISTAKES), "seed": levels("seed", range(8))},
    quick={"wrong labels": (0, 1), "seed": (0, 1)},
    briefly={"attack.search.steps": 40},
)
EIGHT = Block(
    name="eight",
    base={**BASE, "batch": {"size": 8, "labels": "unique"}},
    factors={"wrong labels": levels("attack.labels.wrong", (0, 1)), "seed": levels("seed", range(6))},
    quick={"seed": ()},
)


def losses(found: Results, block: str, wrong: int, size: int) -> Iterator[list[float]]:
    """What mistakes cost each image of each batch, in dB, batch by batch; the largest loss comes last."""
    right, mistaken = (found.of(block, {"wrong labels": count}).scores() for count in (0, wrong))
    for first in range(0, len(right), size):
        pairs = zip(right[first : first + size], mistaken[first : first + size], strict=True)
        yield sorted(before - after for before, after in pairs)


def others(found: Results, *, block: str, wrong: int, size: int) -> Statistic:
    """The median over batches of what the median image beside the mistaken ones loses, at least.

    Which labels are wrong is not recorded, so as many images as there are mistakes are left out, those that lost most: whichever
    were mistaken, the others lost no less than this.
    """
    values = [median(one[: size - wrong]) for one in losses(found, block, wrong, size)]
    return Statistic(median(values), len(values), median_interval(values))


def above_blind(found: Results, *, wrong: int) -> Statistic:
    """How far the guesses are above one that no update helped."""
    return found.of("four", {"wrong labels": wrong}).against(BLIND)


def end_losses(sample: Sample) -> list[float]:
    """The attack's own loss in each audit; infinite where it is no number."""
    trials = [sample.records[case.key].trials[ATTACK] for case in sample.cases]
    return [min((inf if loss is None else loss for loss in trial.losses), default=inf) for trial in trials]


def louder(found: Results) -> float:
    """The smallest loss that a search with a mistake ends at, over the largest without one: what the adversary itself sees."""
    right, mistaken = (end_losses(found.of("four", {"wrong labels": wrong})) for wrong in (0, 1))
    return min(mistaken) / max(right)


def restored(found: Results, *, wrong: int) -> Statistic:
    """The share of images that reach 20 dB."""
    return found.of("four", {"wrong labels": wrong}).share(20.0)


STUDY = Study(
    question="What does one wrong label do to the other images of its batch?",
    method=(
        "One seed is one network, one batch and one start of the search, whatever the labels, so the same image is compared with "
        "right labels and with mistakes. “The other images” are those that are left when, in each batch, the images that lost most "
        "are taken away, one for each mistake: their loss is a lower bound, whichever label was the wrong one. The attack's "
        "weights were settled on other images."
    ),
    blocks=(FOUR, EIGHT),
    views=(
        View(title="PSNR by the number of wrong labels, batch of 4", block="four", x="wrong labels", trials=(ATTACK, BLIND)),
        View(title="Images of 20 dB or more, batch of 4", block="four", x="wrong labels", statistic="share", threshold=20.0),
        View(title="PSNR by the number of wrong labels, batch of 8", block="eight", x="wrong labels", trials=(ATTACK, BLIND)),
    ),
    claims=(
        Claim(
            text="With right labels, at least half of the images of a batch of four are restored (20 dB)",
            measure=partial(restored, wrong=0),
            at_least=0.5,
            unit="",
        ),
        Claim(
            text="One wrong label in a batch of four costs the other images at least 6 dB",
            measure=partial(others, block="four", wrong=1, size=4),
            at_least=6.0,
        ),
        Claim(
            text="With one wrong label, at most one image in ten is restored",
            measure=partial(restored, wrong=1),
            at_most=0.1,
            unit="",
        ),
        Claim(
            text="With one wrong label, the guesses are no better than one without any update",
            measure=partial(above_blind, wrong=1),
            at_most=0.0,
        ),
        Claim(
            text="The adversary can tell: every search with a mistake ends at ten times the loss of any without one",
            measure=louder,
            at_least=10.0,
            unit="times",
        ),
        Claim(
            text="One wrong label in a batch of eight costs the other images at least 3 dB",
            measure=partial(others, block="eight", wrong=1, size=8),
            at_least=3.0,
        ),
    ),
)
