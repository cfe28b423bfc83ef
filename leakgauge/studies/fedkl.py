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

PLAIN, BN, FIXED, LOCKED, SIGMOID = "FedAvg", "BatchNorm", "fixed scale and shift", "FedKL", "FedKL, sigmoid"
LENET, RESNET, VGG = "LeNet, digits", "ResNet-20, color", "VGG-11, color"
CLASSES = 10
BASE: Mapping[str, Any] = {
    "data": {"name": "photographs", "size": 32},
    "victim": "lenet",
    "clients": 3,
    "client": {
        "name": "fedavg",
        "batch_size": 64,
        "optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9},
        "batchnorm": "train",
    },
    "server": {"name": "sgd", "learning_rate": 1.0},
    "rounds": 200,
    "every": 20,
}
NETWORKS: Mapping[Level, Mapping[str, Any]] = {
    LENET: {"name": "lenet"},
    RESNET: {"name": "resnet20"},
    VGG: {"name": "vgg11", "width": 16, "batchnorm": True},
}
KINDS: Mapping[Level, Mapping[str, Any] | None] = {
    PLAIN: None,
    BN: {"kind": "batchnorm"},
    FIXED: {"kind": "fixed"},
    LOCKED: {"kind": "lock"},
    SIGMOID: {"kind": "lock", "activation": "sigmoid"},
}
LOCKS = (LOCKED, SIGMOID)
SEEDS: Mapping[Level, int] = {LENET: 10, RESNET: 5, VGG: 5}
POINTS: Mapping[Level, float] = {LENET: 1.0, RESNET: 3.0, VGG: 3.0}
"""How many points of accuracy a lock may cost."""


def victim(point: Mapping[str, Level]) -> Changes:
    """The network of a point, with what its arm puts behind the first convolution."""
    own, kind = NETWORKS[point["network"]], KINDS[point["arm"]]
    return {"victim": own if kind is None else {"name": "key_locked", "victim": own, **kind}}


def differs(point: Mapping[str, Level]) -> bool:
    """The networks of color images have a BatchNorm there anyway, and take longer."""
    return not (point["network"] != LENET and point["arm"] == BN) and int(point.get("seed", 0)) < SEEDS[point["network"]]


TRAINING = Block(
    name="training",
    base=BASE,
    factors={
        "network": {
            LENET: {"data": {"name": "mnist", "part": "train"}},
            RESNET: {"rounds": 20, "every": 2},
            VGG: {"rounds": 20, "every": 2},
        },
        "arm": {PLAIN: {}, BN: {}, FIXED: {}, **{lock: {"defenses": ["key_lock"]} for lock in LOCKS}},
        "seed": levels("seed", range(max(SEEDS.values()))),
    },
    quick={"network": (LENET,), "arm": (PLAIN, LOCKED), "seed": (0,)},
    briefly={"rounds": 4, "every": 2},
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


def cost(found: Results, *, network: Level, lock: Level, against: Level) -> Statistic:
    """How many points of accuracy FedKL, with the key, is below another arm."""
    mine, other = (found.trained(TRAINING.name, {"network": network, "arm": arm}) for arm in (lock, against))
    return other.minus(mine).times(100)


def without_key(found: Results, *, network: Level, lock: Level) -> Statistic:
    """The accuracy with a key that is nobody's, in percent."""
    return found.trained(TRAINING.name, {"network": network, "arm": lock}).mean("stranger_accuracy").times(100)


def above_blind(found: Results, *, arm: Level, attack: Level) -> Statistic:
    """How far an attack is above a mean image, both after a fit of gain and offset."""
    return found.of(ATTACKED.name, {"arm": arm, "attack": attack}).against(BLIND, adaptive.AFFINE)


STUDY = Study(
    question="What does a key-lock cost, and what do attacks find behind it that know of none?",
    method=(
        "FedAvg over three clients with equal shares; everyone trains an epoch of mini-batches of 64 in each round, at a rate "
        "of 0.05 with momentum 0.9. One seed is one split of the data, one network and three keys, whatever the arm. Of the "
        "examples, a fifth is never trained on, and accuracy is that on these. FedKL has a lock behind the first convolution, "
        "in place of the BatchNorm there if there is one, with the paper's ReLU or a sigmoid; its accuracy is the mean over the "
        "clients, each with its own key and layers. The controls have a BatchNorm in its place, or one whose scale and shift are "
        "as random as a lock's, known to everyone and never trained. ResNet-20 and VGG-11 (16 maps in the first stage) have a "
        "BatchNorm there anyway, and behind every other convolution; LeNet has none at all. A wrong key comes with layers of its "
        "own, which nobody has trained. Attacks see the gradient of one image at a fresh LeNet; behind a lock they take its "
        "factors by chance (who searches them: `fedkl-adaptive`), and PSNR is taken after the best fit of gain and offset, for a "
        "blind guess as well."
    ),
    trainings=(TRAINING,),
    blocks=(ATTACKED,),
    views=(
        *(
            View(
                title=f"{network}: accuracy by round",
                block=TRAINING.name,
                x=ROUND,
                by="arm",
                only={"network": network},
                score="client_accuracy",
                statistic="mean",
            )
            for network in NETWORKS
        ),
        *(
            View(title=title, block=TRAINING.name, x="network", by="arm", only=only, score=score, statistic="mean")
            for title, score, only in (
                ("Accuracy after the last round", "client_accuracy", {}),
                *((f"Accuracy with a wrong key: {lock}", "stranger_accuracy", {"arm": lock}) for lock in LOCKS),
            )
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
                text=f"{network}: {lock}, with the key, at most {points:g} point{'s' if points > 1 else ''} below {arm}",
                measure=partial(cost, network=network, lock=lock, against=arm),
                at_most=points,
                unit="points",
            )
            for network, points in POINTS.items()
            for lock in LOCKS
            for arm in (PLAIN, BN)
            if differs({"network": network, "arm": arm})
        ),
        *(
            Claim(
                text=f"{network}: {lock}, with a wrong key, at most twice the accuracy of chance",
                measure=partial(without_key, network=network, lock=lock),
                at_most=2 * 100 / CLASSES,
                unit="%",
            )
            for network in NETWORKS
            for lock in LOCKS
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
