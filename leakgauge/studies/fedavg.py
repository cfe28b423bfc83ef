"""What several local steps hide: recovery against steps, rate, epochs, batch size and optimizer of a FedAvg client.

An adversary who knows the procedure replays it (Geng et al. 2021, arXiv 2110.09074); one who does not assumes some steps and
searches the rate along (after Dimitrov et al., TMLR 2022, arXiv 2206.12395), or takes one gradient on the way (Zhu et al., ICML
2023, arXiv 2306.00127).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from leakgauge.auditing.record import ATTACK, BLIND, FLOOR
from leakgauge.studying import Block, Claim, Level, Results, Statistic, Study, View, levels

RATES = (0.01, 0.1)
BASE: dict[str, Any] = {
    "data": {"name": "photographs", "size": 32},
    "batch": {"size": 8},
    "victim": "lenet",
    "client": {"name": "fedavg", "epochs": 10, "optimizer": {"name": "sgd", "learning_rate": 0.01}},
    "threat": {"name": "weights and labels", "grants": ["count", "labels"]},
    "attack": {
        "name": "scale_free",
        "labels": "known",
        "restarts": 1,
        "search": {"name": "lbfgs", "steps": 60, "line_search": "strong_wolfe"},
    },
    "metrics": {"psnr": "psnr", "ssim": "ssim"},
    "controls": ["blind"],
}
KNOWN, UNROLLED, SURROGATE, ONE = "procedure known", "rate unknown, unrolled", "rate unknown, surrogate", "rate unknown, one step"
ATTACKS: dict[Level, dict[str, Any]] = {
    KNOWN: {"attack.replay": "granted", "threat": "informed"},
    UNROLLED: {"attack.replay": {"name": "unrolled", "steps": 10}},
    SURROGATE: {"attack.replay": {"name": "surrogate", "pace": 0.1}},
    ONE: {"attack.replay": {"name": "one_gradient", "scaled": False}},
}
SIGNS = {
    "name": "scale_free",
    "likelihood": "sign_agreement",
    "total_variation": 0.01,
    "replay": {"name": "one_gradient", "scaled": False},
    "search": {"name": "adam", "learning_rate": 0.05, "steps": 600, "schedule": "cosine"},
    "restarts": 1,
}
IN_ORDER, COPIES = "4 epochs of 2, in one order", "4 epochs of 2, a copy each"
ASSUMED: dict[Level, dict[str, Any]] = {
    IN_ORDER: {"attack.replay": {"name": "unrolled", "epochs": 4, "batch_size": 2}},
    COPIES: {"attack": {**BASE["attack"], "name": "epoch_copies", "epochs": 4, "batch_size": 2}},
}
TOLD = (
    *(("scale-free", optimizer, steps) for optimizer in ("momentum 0.9", "weight decay 0.01") for steps in (1, 10)),
    ("Adam undone", "Adam", 1),
    ("signs", "Adam", 10),
)
"""Which attack is to tell what, settled on training images."""
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "momentum 0.9": {"name": "sgd", "learning_rate": 0.001, "momentum": 0.9},
    "weight decay 0.01": {"name": "sgd", "learning_rate": 0.01, "weight_decay": 0.01},
    "Adam": {"name": "adam", "learning_rate": 0.001},
}


def assumes_well(point: Mapping[str, Level]) -> bool:
    """Who assumes four epochs of pairs is measured where that is so."""
    return point["attack"] not in ASSUMED or (point["epochs"], point["batch size"]) == (4, 2)


def fits(point: Mapping[str, Level]) -> bool:
    """Signs, and sizes that are read off Adam's epsilon, are for Adam."""
    return point["attack"] == "scale-free" or point["optimizer"] == "Adam"


RATE = Block(
    name="rates",
    base=BASE,
    factors={
        "attack": ATTACKS,
        "learning rate": levels("client.optimizer.learning_rate", RATES),
        "seed": levels("seed", range(20, 23)),
    },
    quick={"attack": (SURROGATE, ONE), "learning rate": (0.01,), "seed": (20,)},
    briefly={"attack.search.steps": 20, "batch.size": 4},
)
EPOCHS = Block(
    name="mini-batches",
    base={**BASE, "client": {"name": "fedavg", "epochs": 1, "optimizer": {"name": "sgd", "learning_rate": 0.01}}},
    factors={
        "attack": {
            "5 steps unrolled": {"attack.replay": {"name": "unrolled", "steps": 5}},
            SURROGATE: ATTACKS[SURROGATE],
            **ASSUMED,
        },
        "epochs": levels("client.epochs", (1, 4)),
        "batch size": levels("client.batch_size", (2, 8)),
        "seed": levels("seed", range(20, 22)),
    },
    where=assumes_well,
    quick={"seed": ()},
)
NETWORK = Block(
    name="convnet",
    base={
        **BASE,
        "victim": {"name": "convnet", "width": 8},
        "attack": {**BASE["attack"], "search": {**BASE["attack"]["search"], "steps": 15}},
    },
    factors={"attack": {KNOWN: ATTACKS[KNOWN], UNROLLED: ATTACKS[UNROLLED]}, "seed": levels("seed", range(20, 22))},
    quick={"seed": ()},
)
OPTIMIZER = Block(
    name="optimizers",
    base={**BASE, "batch": {"size": 1}, "threat": "weights", "controls": ["floor", "blind"]},
    factors={
        "attack": {
            "scale-free": {"attack": {"name": "scale_free", "replay": {"name": "unrolled", "steps": 5}}},
            "signs": {"attack": SIGNS},
            "Adam undone": {"attack": "adam_inversion"},
        },
        "optimizer": {name: {"client.optimizer": optimizer} for name, optimizer in OPTIMIZERS.items()},
        "local steps": levels("client.epochs", (1, 10)),
        "seed": levels("seed", range(4)),
    },
    where=fits,
    quick={"attack": ("Adam undone",), "local steps": (1,), "seed": (0, 1)},
)


def behind(found: Results, *, block: str, **where: float) -> float:
    """The median PSNR of the attack that does not know the rate less that of the one that knows the procedure."""
    point = {name.replace("_", " "): value for name, value in where.items()}
    unknown, known = (found.of(block, {"attack": one, **point}).median() for one in (UNROLLED, KNOWN))
    return unknown.value - known.value


def above_blind(found: Results, *, rate: float) -> Statistic:
    """How far the attack that does not know the rate is above a guess without any update."""
    return found.of("rates", {"attack": UNROLLED, "learning rate": rate}).against(BLIND)


def above(found: Results, *, attack: str, optimizer: str, steps: int, floor: str) -> Statistic:
    """How far an attack is above a floor: the median over pairs of one image."""
    return found.of("optimizers", {"attack": attack, "optimizer": optimizer, "local steps": steps}).against(floor)


STUDY = Study(
    question="What do several local steps, mini-batches and other optimizers hide?",
    method=(
        "One seed is one network and one batch. Attacks that do not know the procedure see weights before and after, and the "
        "number of examples; two of them assume four epochs of pairs, and are measured where that is so. With batches of 8 all "
        "know the labels, so that what the steps hide is not what wrong labels hide; of a single image they are counted from the "
        "update. Settings were chosen on other images. Batches of 8, ten local steps unless said otherwise; optimizers with a "
        "single image."
    ),
    blocks=(RATE, EPOCHS, NETWORK, OPTIMIZER),
    views=(
        View(title="Ten local steps on 8 images: PSNR by learning rate", block="rates", x="learning rate", by="attack", log_x=True),
        View(title="Ten local steps of a ConvNet of width 8, rate 0.01: PSNR", block="convnet", x="attack"),
        *(
            View(
                title=f"Mini-batches, {epochs} epoch{'s' if epochs > 1 else ''}: PSNR by local batch size",
                block="mini-batches",
                x="batch size",
                by="attack",
                only={"epochs": epochs},
            )
            for epochs in (1, 4)
        ),
        *(
            View(
                title=f"One image, {steps} local step{'s' if steps > 1 else ''}: PSNR by optimizer",
                block="optimizers",
                x="optimizer",
                by="attack",
                only={"local steps": steps},
                trials=(ATTACK, FLOOR, BLIND),
            )
            for steps in (1, 10)
        ),
    ),
    claims=(
        *(
            Claim(
                text=f"Ten local steps at a rate of {rate:g}, unknown: the median is within 3 dB of who knows the procedure",
                measure=partial(behind, block="rates", learning_rate=rate),
                at_least=-3.0,
            )
            for rate in RATES
        ),
        *(
            Claim(
                text=f"Ten local steps at a rate of {rate:g}, unknown: 3 dB above a blind guess",
                measure=partial(above_blind, rate=rate),
                at_least=3.0,
            )
            for rate in RATES
        ),
        Claim(
            text="Ten local steps of a ConvNet at an unknown rate: the median is within 3 dB of who knows the procedure",
            measure=partial(behind, block="convnet"),
            at_least=-3.0,
        ),
        *(
            Claim(
                text=f"{optimizer}, {steps} local step{'s' if steps > 1 else ''}: an attack is 3 dB above its {floor}",
                measure=partial(above, attack=attack, optimizer=optimizer, steps=steps, floor=trial),
                at_least=3.0,
            )
            for attack, optimizer, steps in TOLD
            for floor, trial in (("own floor", FLOOR), ("blind guess", BLIND))
        ),
    ),
)
