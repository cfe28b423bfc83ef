"""What a key-lock would need, to resist who searches its factors (beyond FedKL, Ren et al., arXiv 2305.04095).

More locks, more that is not sent, and more images: each beside an attacker who has the key, for what hides as well from who has it
is no merit of the key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from leakgauge.auditing.record import BLIND
from leakgauge.studies.fedkl_adaptive import ADVERSARIES, AFFINE, ALL, ATTACKS, BASE, DLG, IG, KNOWN, LOCKS, SEARCHED, SIGMOID
from leakgauge.studying import Block, Changes, Claim, Level, Results, Statistic, Study, View, levels

SEEDS = range(20)
ONE, EVERY, MANY = "one lock", "a lock behind every convolution", "one lock, eight images"
FRONT, LAST = "one lock, its convolution not sent", "one lock, the last layer alone sent"
SHARED: Mapping[Level, Sequence[str]] = {FRONT: ("2.*", "4.*", "7.*"), LAST: ("7.*",)}
"""What of a LeNet is sent: its convolutions are 0, 2 and 4, its linear layer is 7."""
REMEDIES: Mapping[Level, Changes] = {ONE: {}, EVERY: {}, FRONT: {}, LAST: {}, MANY: {"batch.size": 8}}


def remedied(point: Mapping[str, Level]) -> Changes:
    """The victim of a remedy as an adversary faces it, and the defenses in front of what is sent."""
    lock = LOCKS[ALL if point["remedy"] == EVERY else SIGMOID]
    kind = "fixed" if point["adversary"] == KNOWN else "lock"
    defenses: list[Any] = ["key_lock"] if kind == "lock" else []
    if point["remedy"] in SHARED:
        defenses.append({"name": "partial_sharing", "share": list(SHARED[point["remedy"]])})
    return {"victim": {"name": "key_locked", "victim": "lenet", "kind": kind, **lock}, "defenses": defenses}


RESISTING = Block(
    name="resisting",
    base=BASE,
    factors={
        "attack": ATTACKS,  # before the adversary, which changes its replay
        "adversary": {name: ADVERSARIES[name] for name in (KNOWN, SEARCHED)},
        "remedy": REMEDIES,
        "seed": levels("seed", SEEDS),
    },
    quick={"attack": (IG,), "remedy": (FRONT,), "seed": SEEDS[:1]},
    joint=remedied,
)


def above_blind(found: Results, *, adversary: Level, remedy: Level, attack: Level) -> Statistic:
    """How far an adversary is above a mean image, both after a fit of gain and offset."""
    return found.of(RESISTING.name, {"adversary": adversary, "attack": attack, "remedy": remedy}).against(BLIND, AFFINE)


STUDY = Study(
    question="What would a key-lock need, to resist who searches its factors?",
    method=(
        "As in the study fedkl-adaptive: one seed is one fresh LeNet, one key and one choice of images, gradients in BatchNorm's "
        "training mode, labels known, locks with a sigmoid, which kill no channel. Who has the key knows scale and shift; who "
        "searches moves them with the image. What is not sent stays at the client: the convolution in front of the lock, or all "
        "but the last layer. A remedy that hides as well from who has the key needs no key. PSNR is taken after the best fit of "
        "gain and offset, for the blind guess, a mean image, too; the settings of the attacks are those of fedkl-adaptive."
    ),
    blocks=(RESISTING,),
    views=(
        *(
            View(title=attack, block=RESISTING.name, x="remedy", by="adversary", only={"attack": attack}, score=AFFINE)
            for attack in (DLG, IG)
        ),
        View(
            title="A blind guess",
            block=RESISTING.name,
            x="remedy",
            by="attack",
            only={"adversary": SEARCHED},
            score=AFFINE,
            trials=(BLIND,),
        ),
    ),
    claims=tuple(
        Claim(
            text=f"{attack}, {remedy}: who searches the factors is at most 1 dB above a blind guess",
            measure=partial(above_blind, adversary=SEARCHED, remedy=remedy, attack=attack),
            at_most=1.0,
        )
        for attack in (DLG, IG)
        for remedy in REMEDIES
    )
    + tuple(
        Claim(
            text=f"{attack}, {remedy}: who has the key is 3 dB above a blind guess, so that it is the key which hides",
            measure=partial(above_blind, adversary=KNOWN, remedy=remedy, attack=attack),
            at_least=3.0,
        )
        for attack in (DLG, IG)
        for remedy in REMEDIES
    ),
)
