"""What a key-lock costs, and what attacks find behind it that know of none (FedKL, Ren et al., arXiv 2305.04095).

The paper compares networks with locks, and the BatchNorm that comes with each, with networks that have neither. Here the same
architecture with a BatchNorm, and with scales and shifts that are random but fixed, stands beside both.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from leakgauge.auditing.record import ATTACK, BLIND
from leakgauge.studies import fedkl_adaptive as adaptive
from leakgauge.studying import ROUND, Block, Changes, Claim, Level, Results, Statistic, Study, View, levels

PLAIN, BN, FIXED, LOCKED = "FedAvg", "BatchNorm", "fixed scale and shift", "FedKL"
LENET, RESNET, VGG = "LeNet", "ResNet-20", "VGG-11"
CLASSES = 10
CLIENT: Mapping[str, Any] = {
    "name": "fedavg",
    "batch_size": 64,
    "optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9},
    "batchnorm": "train",
}
BASE: Mapping[str, Any] = {"client": CLIENT, "clients": 3, "server": {"name": "sgd", "learning_rate": 1.0}}
VICTIMS: Mapping[Level, Mapping[str, Any]] = {
    LENET: {"name": "lenet"},
    RESNET: {"name": "resnet20"},
    VGG: {"name": "vgg11", "width": 16},
}
KINDS: Mapping[Level, str | None] = {PLAIN: None, BN: "batchnorm", FIXED: "fixed", LOCKED: "lock"}
ARMS: Mapping[Level, Changes] = {PLAIN: {}, BN: {}, FIXED: {}, LOCKED: {"defenses": ["key_lock"]}}
SEEDS = range(5)


def victim(point: Mapping[str, Level]) -> Changes:
    """The network of a point, with what its arm puts behind the first convolution."""
    own, kind = VICTIMS[point["victim"]], KINDS[point["arm"]]
    return {"victim": own if kind is None else {"name": "key_locked", "victim": own, "kind": kind}}


def differs(point: Mapping[str, Level]) -> bool:
    """A ResNet has its BatchNorm anyway."""
    return not (point["victim"] == RESNET and point["arm"] == BN)


DIGITS = Block(
    name="digits",
    base={**BASE, "data": {"name": "mnist", "part": "train"}, "rounds": 200, "every": 20, "victim": "lenet"},
    factors={
        "data": {"MNIST": {"data": {"name": "mnist", "part": "train"}}},
        "victim": {LENET: {}},
        "arm": ARMS,
        "seed": levels("seed", SEEDS),
    },
    quick={"arm": (PLAIN, LOCKED), "seed": SEEDS[:1]},
    briefly={"rounds": 3, "every": 3},
    joint=victim,
)
COLOR = Block(
    name="color",
    base={**BASE, "data": {"name": "photographs", "size": 32}, "rounds": 20, "every": 5, "victim": "lenet"},
    factors={"victim": {RESNET: {}, VGG: {}}, "arm": ARMS, "seed": levels("seed", SEEDS)},
    quick={"victim": (RESNET,), "arm": (LOCKED,), "seed": SEEDS[:1]},
    briefly={"rounds": 1, "every": 1},
    where=differs,
    joint=victim,
)
GGL = "GGL"
ATTACKED = Block(
    name="attacks",
    base=adaptive.BASE,
    factors={
        "attack": {
            **adaptive.ATTACKS,
            GGL: {
                "attack": {
                    "name": "ggl",
                    "regularizer": "density",
                    "weight": 1e-3,
                    "labels": "known",
                    "search": {"name": "adam", "steps": 300, "learning_rate": 0.1, "schedule": "step"},
                }
            },
        },
        "arm": {PLAIN: adaptive.ADVERSARIES[adaptive.NO_BN], LOCKED: adaptive.ADVERSARIES[adaptive.GUESSED]},
        "seed": levels("seed", range(30)),
    },
    quick={"attack": (adaptive.IG,), "seed": range(2)},
    joint=lambda point: {"victim": {"name": "key_locked", "victim": "lenet"}} if point["arm"] == LOCKED else {},
)
PLACES = ((DIGITS.name, LENET), (COLOR.name, RESNET), (COLOR.name, VGG))


def cost(found: Results, *, block: str, victim: Level, against: Level) -> Statistic:
    """How many points of accuracy FedKL, with the key, is below another arm."""
    mine, other = (found.trained(block, {"victim": victim, "arm": arm}) for arm in (LOCKED, against))
    return other.minus(mine).times(100)


def without_key(found: Results, *, block: str, victim: Level) -> Statistic:
    """The accuracy with a key that is nobody's, in points."""
    return found.trained(block, {"victim": victim, "arm": LOCKED}).mean("stranger_accuracy").times(100)


def above_blind(found: Results, *, arm: Level, attack: Level) -> Statistic:
    """How far an attack is above a mean image, both after a fit of gain and offset."""
    return found.of(ATTACKED.name, {"arm": arm, "attack": attack}).against(BLIND, adaptive.AFFINE)


STUDY = Study(
    question="What does a key-lock cost, and what do attacks find behind it that know of none?",
    method=(
        "FedAvg over three clients with equal shares; everyone trains an epoch of mini-batches of 64 in each round, at a rate "
        "of 0.05 with momentum 0.9. One seed is one split of the data, one network and three keys, whatever the arm. Of the "
        "examples, a fifth is never trained on, and accuracy is that on these. FedKL has a lock behind the first convolution, "
        "in place of the BatchNorm there if there is one; its accuracy is the mean over the clients, each with its own key and "
        "layers. The controls have a BatchNorm in its place, or one whose scale and shift are as random as a lock's, known to "
        "everyone and never trained. ResNet-20 has a BatchNorm there anyway; LeNet and VGG-11 (16 maps in the first stage) have "
        "none at all. A wrong key comes with layers of its own, which nobody has trained. Attacks see the gradient of one image "
        "at a fresh LeNet; behind a lock they take its factors by chance (who searches them: `fedkl-adaptive`), and PSNR is "
        "taken after the best fit of gain and offset, for a blind guess as well."
    ),
    trainings=(DIGITS, COLOR),
    blocks=(ATTACKED,),
    views=(
        *(
            View(
                title=f"{victim}: accuracy by round",
                block=block,
                x=ROUND,
                by="arm",
                only={"victim": victim},
                score=score,
                statistic="mean",
            )
            for block, victim in PLACES
            for score in ("client_accuracy",)
        ),
        *(
            View(title=title, block=block, x="victim", by="arm", score=score, statistic="mean")
            for block in (DIGITS.name, COLOR.name)
            for title, score in (
                ("Accuracy after the last round", "client_accuracy"),
                ("Accuracy by the server's weights", "server_accuracy"),
            )
        ),
        *(
            View(
                title="Accuracy with a wrong key",
                block=block,
                x="victim",
                by="arm",
                only={"arm": LOCKED},
                score="stranger_accuracy",
                statistic="mean",
            )
            for block in (DIGITS.name, COLOR.name)
        ),
        View(
            title="PSNR of attacks after a fit of gain and offset",
            block=ATTACKED.name,
            x="arm",
            by="attack",
            score=adaptive.AFFINE,
            trials=(ATTACK, BLIND),
        ),
    ),
    claims=(
        *(
            Claim(
                text=f"{victim}: with the key, at most {points} points below {arm}",
                measure=partial(cost, block=block, victim=victim, against=arm),
                at_most=points,
                unit="points",
            )
            for (block, victim), points in zip(PLACES, (1.0, 3.0, 3.0), strict=True)
            for arm in (PLAIN, BN)
            if differs({"victim": victim, "arm": arm})
        ),
        *(
            Claim(
                text=f"{victim}: with a wrong key, at most twice the accuracy of chance",
                measure=partial(without_key, block=block, victim=victim),
                at_most=2 * 100 / CLASSES,
                unit="%",
            )
            for block, victim in PLACES
        ),
        *(
            Claim(
                text=f"{attack}, behind a lock: at most 1 dB above a blind guess",
                measure=partial(above_blind, arm=LOCKED, attack=attack),
                at_most=1.0,
            )
            for attack in (*adaptive.ATTACKS, GGL)
        ),
    ),
)
