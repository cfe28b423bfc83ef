"""What a key-lock hides from whom: attackers with the key, without it, and such as search what the key makes (FedKL).

Ren et al. (arXiv 2305.04095) let attackers search the image with a wrong key. A key does nothing but set two numbers a channel, so
an adaptive attacker searches these; and part of what looks like protection is that of the BatchNorm which comes with a lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from leakgauge.auditing.record import ATTACK, BLIND
from leakgauge.studying import Block, Changes, Claim, Level, Results, Statistic, Study, View, levels

SEEDS = range(50)
AFFINE = "psnr_affine"
DLG, IG = "DLG", "Inverting Gradients"
ATTACKS: Mapping[Level, Changes] = {
    DLG: {
        "attack": {
            "name": "matching",
            "likelihood": "gaussian",
            "space": {"name": "pixels", "start_from": "pink", "boxed": False},
            "replay": "one_gradient",
            "labels": "known",
            "search": {"name": "lbfgs", "steps": 50, "inner": 20},
            "enough": 1e-7,
        }
    },
    IG: {
        "attack": {
            "name": "matching",
            "likelihood": "cosine",
            "priors": [{"name": "total_variation", "weight": 0.002}],
            "space": {"name": "pixels", "start_from": "pink"},
            "replay": "one_gradient",
            "labels": "known",
            "search": {"name": "adam", "steps": 1000, "learning_rate": 0.1, "schedule": "step", "signed": True},
        }
    },
}
NO_BN, BN, KNOWN, GUESSED, SEARCHED, FORGED, BOTH = (
    "no BatchNorm",
    "BatchNorm alone",
    "key known",
    "key unknown, factors guessed",
    "key unknown, factors searched",
    "key unknown, factors forged",
    "key unknown, factors forged, then searched",
)
RELU, SIGMOID, ALL = "first layer, ReLU", "first layer, sigmoid", "all layers, sigmoid"
LOCKS: Mapping[Level, Mapping[str, Any]] = {
    RELU: {},
    SIGMOID: {"activation": "sigmoid"},
    ALL: {"activation": "sigmoid", "layers": ["all"]},
}
_TRAIN: Changes = {"client": {"name": "fedsgd", "batchnorm": "train"}}
_SEEN: Changes = {**_TRAIN, "attack.replay": {"name": "one_gradient", "batchnorm": "train"}}
_UNSEEN: Changes = {**_TRAIN, "defenses": ["key_lock"]}


def _unlocking(**settings: object) -> Changes:
    return {**_UNSEEN, "attack.replay": {"name": "unlocking", **settings}}


ADVERSARIES: Mapping[Level, Changes] = {
    NO_BN: {},
    BN: _SEEN,
    KNOWN: _SEEN,
    GUESSED: _unlocking(searched=False),
    SEARCHED: _unlocking(),
    FORGED: _unlocking(searched=False, forging={}),
    BOTH: _unlocking(forging={}),
}
_KINDS: Mapping[Level, str] = {BN: "batchnorm", KNOWN: "fixed"}
BASE: Mapping[str, Any] = {
    "data": {"name": "photographs", "size": 32},
    "batch": {"size": 1},
    "victim": "lenet",
    "threat": "informed",
    "metrics": {"psnr": "psnr", AFFINE: {"name": "affine", "metric": "psnr"}, "ssim": "ssim"},
    "controls": ["blind"],
}


def locked(point: Mapping[str, Level]) -> Changes:
    """The victim of a point: a lock of its kind, or what stands in its place."""
    if point["adversary"] == NO_BN:
        return {}
    is_fresh = "lock" in point
    kind = _KINDS.get(point["adversary"], "lock") if is_fresh else "lock"  # what has learned has learned its factors, too
    own = LOCKS[point["lock"]] if is_fresh else LOCKS[RELU]
    return {"victim": {"name": "key_locked", "victim": "lenet", "kind": kind, **own}}


def belongs(point: Mapping[str, Level]) -> bool:
    """Fresh networks have nothing that factors could be forged from; what has no lock is looked at once."""
    return point["lock"] == RELU or point["adversary"] in (KNOWN, GUESSED, SEARCHED)


FRESH = Block(
    name="fresh",
    base=BASE,
    factors={
        "attack": ATTACKS,  # before the adversary, which changes its replay
        "adversary": {name: ADVERSARIES[name] for name in (NO_BN, BN, KNOWN, GUESSED, SEARCHED)},
        "lock": {name: {} for name in LOCKS},
        "seed": levels("seed", SEEDS),
    },
    quick={"adversary": (KNOWN, SEARCHED), "attack": (IG,), "lock": (SIGMOID,), "seed": SEEDS[:2]},
    where=belongs,
    joint=locked,
)
TRAINED = Block(
    name="trained",
    base={**BASE, "training": {"steps": 300, "learning_rate": 0.1}},
    factors={
        "attack": ATTACKS,
        "adversary": {name: ADVERSARIES[name] for name in (KNOWN, GUESSED, SEARCHED, FORGED, BOTH)},
        "seed": levels("seed", SEEDS[:20]),
    },
    quick={"adversary": (FORGED,), "attack": (IG,), "seed": SEEDS[:2]},
    joint=locked,
)


def over(
    found: Results, *, block: str, one: Level, other: Level, attack: Level, lock: Level = RELU, score: str = AFFINE
) -> Statistic:
    """How far one adversary is above another: the median over pairs of one image."""
    fixed = {"attack": attack} | ({"lock": lock} if block == FRESH.name else {})
    mine, theirs = (found.of(block, {**fixed, "adversary": name}) for name in (one, other))
    return mine.minus(theirs, score)


def above_blind(found: Results, *, adversary: Level, attack: Level, lock: Level) -> Statistic:
    """How far an adversary is above a mean image, both after a fit of gain and offset."""
    return found.of(FRESH.name, {"adversary": adversary, "attack": attack, "lock": lock}).against(BLIND, AFFINE)


def gamma_off(found: Results, *, attack: Level, lock: Level) -> Statistic:
    """How far off the scales are that were searched, as a share of their norm."""
    return found.of(FRESH.name, {"adversary": SEARCHED, "attack": attack, "lock": lock}).error("KeyLock.gamma")


STUDY = Study(
    question="What does a key-lock hide, and from whom?",
    method=(
        "One seed is one LeNet, one key and one image, whoever attacks. Updates are gradients of one image, in BatchNorm's "
        "training mode; the label is known, as the last layer gives it away. With the key known, scale and shift are those that "
        "the lock would have, known and never trained; in trained networks, the lock's layers are known and part of the update. "
        "A BatchNorm alone has a scale and a shift that are trained and sent. Who guesses takes factors by chance; who searches "
        "starts from 1 and 0.1 in every channel and moves the factors with the image, two numbers a channel and no key. Every "
        "attacker sees one round only, so that a key which is new in every round is no other case. Trained networks have taken "
        "300 steps, with the key and its layers; factors are forged from the public images, whose labels are known. A BatchNorm "
        "on one image makes its gain invisible: PSNR is taken after the best fit of gain and offset as well (affine), for the "
        "blind guess, a mean image, too."
    ),
    blocks=(FRESH, TRAINED),
    views=(
        *(
            View(title=f"{title}: {attack}", block=FRESH.name, x="adversary", by="lock", only={"attack": attack}, score=score)
            for attack in (DLG, IG)
            for title, score in (("PSNR after a fit of gain and offset", AFFINE), ("PSNR", "psnr"))
        ),
        View(
            title="Beside a blind guess, after a fit of gain and offset",
            block=FRESH.name,
            x="adversary",
            by="attack",
            only={"lock": RELU},
            score=AFFINE,
            trials=(ATTACK, BLIND),
        ),
        View(
            title="Trained networks, after a fit of gain and offset", block=TRAINED.name, x="adversary", by="attack", score=AFFINE
        ),
    ),
    claims=(
        *(
            Claim(
                text=f"{attack}, {lock}: who guesses the factors is at most 1 dB above a blind guess",
                measure=partial(above_blind, adversary=GUESSED, attack=attack, lock=lock),
                at_most=1.0,
            )
            for attack in (DLG, IG)
            for lock in LOCKS
        ),
        *(
            Claim(
                text=f"{attack}: a BatchNorm alone costs 5 dB",
                measure=partial(over, block=FRESH.name, one=NO_BN, other=BN, attack=attack, score="psnr"),
                at_least=5.0,
            )
            for attack in (DLG, IG)
        ),
        *(
            Claim(
                text=f"{attack}, {lock}: who searches the factors is within 3 dB of who has the key",
                measure=partial(over, block=FRESH.name, one=SEARCHED, other=KNOWN, attack=attack, lock=lock),
                at_least=-3.0,
            )
            for attack in (DLG, IG)
            for lock in LOCKS
        ),
        *(
            Claim(
                text=f"{attack}, {lock}: who searches them finds the scales to 5%",
                measure=partial(gamma_off, attack=attack, lock=lock),
                at_most=0.05,
                unit="",
            )
            for attack in (DLG, IG)
            for lock in LOCKS
        ),
        *(
            Claim(
                text=f"{attack}, trained networks: forging is 3 dB better than guessing",
                measure=partial(over, block=TRAINED.name, one=FORGED, other=GUESSED, attack=attack),
                at_least=3.0,
            )
            for attack in (DLG, IG)
        ),
    ),
)
