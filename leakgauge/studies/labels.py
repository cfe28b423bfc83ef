"""How well the labels of a batch are restored: rules, batch sizes, duplicates, activations, and how far a net is trained.

Geng et al. (2021, arXiv 2110.09074) restore the labels of large batches with duplicates from one gradient. Here the rules of the
papers and one of our own are compared, from gradients and from differences of weights whose learning rate nobody tells. Of large
batches that are drawn at random, guessing every class equally often gets most labels right: that guess is the yardstick.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from statistics import fmean
from typing import Any

import torch

from leakgauge.spec import AuditSpec
from leakgauge.spec.preparing import draw
from leakgauge.studying import Block, Claim, Level, Results, Statistic, Study, View, levels

RULES = ("gradinversion", "geng", "llg", "ilrg", "counts")
SIZES = (8, 32, 128)
BASE = {
    "data": {"name": "photographs", "size": 32},
    "batch": {"size": 8},
    "victim": "lenet",
    "threat": "server",
    "attack": {"name": "label_counts", "labels": "counts"},
    "metrics": {"psnr": "psnr"},
    "controls": [],
}


def steps_of(count: int, learning_rate: float) -> Mapping[str, Any]:
    """Local training on the whole batch, seen by who knows neither the rate nor the number of steps."""
    optimizer = {"name": "sgd", "learning_rate": learning_rate}
    return {"client": {"name": "fedavg", "epochs": count, "optimizer": optimizer}, "threat": "weights"}


UPDATES: Mapping[Level, Mapping[str, Any]] = {"gradient": {"client": "fedsgd", "threat": "server"}, "one step": steps_of(1, 0.03)}
VICTIMS: Mapping[Level, Mapping[str, Any]] = {
    "LeNet": {"victim": "lenet"},
    "ConvNet, width 16": {"victim": {"name": "convnet", "width": 16}},
    "ResNet-18, width 16": {"victim": {"name": "resnet18", "width": 16}},
}
STAGES: Mapping[Level, Mapping[str, Any]] = {
    "LeNet, early": {"victim": "lenet", "training": {"steps": 500, "learning_rate": 0.02}},
    "LeNet, late": {"victim": "lenet", "training": {"steps": 3000, "learning_rate": 0.02}},
    "ConvNet of width 8, early": {"victim": {"name": "convnet", "width": 8}, "training": {"steps": 300}},
}


def is_compared(point: Mapping[str, Level]) -> bool:
    """Every rule meets batches of 32; only Geng's and ours meet all sizes."""
    return point["batch size"] == 32 or point["rule"] in ("geng", "counts")


COMPARED = Block(
    name="rules",
    base=BASE,
    factors={
        "rule": levels("attack.labels", RULES),
        "batch size": levels("batch.size", (*SIZES, 512)),
        "update": UPDATES,
        "seed": levels("seed", range(2)),
    },
    quick={"rule": ("geng", "counts"), "batch size": (32,), "seed": (0,)},
)
PATTERNS = Block(
    name="patterns",
    base=BASE,
    factors={
        "rule": levels("attack.labels", RULES),
        "pattern": levels("batch.labels", ("random", "unique", "pairs", "one_repeated", "same")),
        "update": UPDATES,
        "seed": levels("seed", range(2)),
    },
    quick={"rule": ("geng", "counts"), "pattern": ("one_repeated",), "update": ("one step",), "seed": (0,)},
)
ACTIVATIONS = Block(
    name="activations",
    base={**BASE, "batch": {"size": 32}, "victim": {"name": "mlp", "hidden": [256]}},
    factors={
        "rule": levels("attack.labels", RULES),
        "activation": levels("victim.activation", ("relu", "sigmoid", "tanh")),
        "update": UPDATES,
        "seed": levels("seed", range(2)),
    },
    quick={"activation": (), "rule": ()},
)
FRESH = Block(
    name="fresh",
    base=BASE,
    factors={
        "victim": VICTIMS,
        "batch size": levels("batch.size", SIZES),
        "update": UPDATES,
        "seed": levels("seed", range(10, 14)),
    },
    quick={"victim": ("LeNet", "ResNet-18, width 16"), "batch size": (8,), "update": ("one step",), "seed": (10,)},
)
WIDE = Block(
    name="wide",
    base={**BASE, "batch": {"size": 32}},
    factors={
        "victim": {"ConvNet": {"victim": "convnet"}, "ResNet-18": {"victim": "resnet18"}},
        "update": UPDATES,
        "seed": levels("seed", range(10, 12)),
    },
    quick={"seed": ()},
)
TRAINED = Block(
    name="trained",
    base=BASE,
    factors={
        "stage": STAGES,
        "batch size": levels("batch.size", SIZES),
        "update": {**UPDATES, "ten steps": steps_of(10, 0.003)},
        "rule": levels("attack.labels", RULES),
        "seed": levels("seed", range(10, 13)),
    },
    where=is_compared,
    quick={"stage": ()},
)
TEN = Block(
    name="ten steps",
    base={**BASE, **steps_of(10, 0.001)},
    factors={
        "victim": VICTIMS,
        "batch size": levels("batch.size", SIZES),
        "seed": levels("seed", range(10, 14)),
    },
    quick={"victim": ("LeNet",), "batch size": (8,), "seed": (10,)},
)


def even_guess(spec: AuditSpec) -> float:
    """The label accuracy of guessing every class equally often, the first classes once more where that does not come out even."""
    pool = spec.parts.data.load()
    true = torch.bincount(pool.y[draw(spec.parts.batch, pool, spec.parts.seed)], minlength=pool.inputs.classes)
    guess = torch.bincount(torch.arange(int(true.sum())) % len(true), minlength=len(true))
    return float(torch.minimum(true, guess).sum()) / int(true.sum())


def accuracy(found: Results, *, block: str, **wanted: Level) -> Statistic:
    """The mean label accuracy; underscores in the names of factors stand for blanks."""
    return found.of(block, {factor.replace("_", " "): level for factor, level in wanted.items()}).mean("label_accuracy")


def above_even(found: Results, *, stage: Level, update: Level) -> float:
    """How much more labels `counts` gets right than the even guess, on average."""
    sample = found.of("trained", {"stage": stage, "update": update, "rule": "counts"})
    return sample.mean("label_accuracy").value - fmean(even_guess(case.spec) for case in sample.cases)


STUDY = Study(
    question="How many labels of a batch with duplicates does an update give away?",
    method=(
        "Accuracy is the share of the labels that the guess holds, as a multiset. `counts` was developed on other images and other "
        "seeds. One step and ten steps are seen by an adversary who knows neither the rate nor the number of steps. A batch that a "
        "rule does not apply to counts as 0. ConvNet and ResNet-18 are narrow where the table says so, for the sake of time."
    ),
    blocks=(COMPARED, PATTERNS, ACTIVATIONS, FRESH, WIDE, TRAINED, TEN),
    views=tuple(
        view
        for update in UPDATES
        for view in (
            View(
                title=f"Rules on a fresh LeNet, {update}",
                block="rules",
                x="batch size",
                by="rule",
                only={"update": update},
                score="label_accuracy",
                statistic="mean",
                log_x=True,
            ),
            View(
                title=f"Duplicates in batches of 8, {update}",
                block="patterns",
                x="pattern",
                by="rule",
                only={"update": update},
                score="label_accuracy",
                statistic="mean",
            ),
            View(
                title=f"Activations, batches of 32, {update}",
                block="activations",
                x="activation",
                by="rule",
                only={"update": update},
                score="label_accuracy",
                statistic="mean",
            ),
            View(
                title=f"Trained nets, batches of 32, {update}",
                block="trained",
                x="stage",
                by="rule",
                only={"update": update, "batch size": 32},
                score="label_accuracy",
                statistic="mean",
            ),
        )
    ),
    claims=(
        *(
            Claim(
                text=f"Fresh {victim}, batches of {size}, {update}: counts restores at least 95 %",
                measure=partial(accuracy, block="fresh", victim=victim, batch_size=size, update=update),
                at_least=0.95,
                unit="",
            )
            for victim in VICTIMS
            for size in SIZES
            for update in UPDATES
        ),
        *(
            Claim(
                text=f"Fresh {victim} of full width, batches of 32, {update}: counts restores at least 95 %",
                measure=partial(accuracy, block="wide", victim=victim, update=update),
                at_least=0.95,
                unit="",
            )
            for victim in WIDE.factors["victim"]
            for update in UPDATES
        ),
        *(
            Claim(
                text=f"{stage}, batches of {size}, {update}: counts restores at least 85 %",
                measure=partial(accuracy, block="trained", stage=stage, update=update, batch_size=size, rule="counts"),
                at_least=0.85,
                unit="",
            )
            for stage in STAGES
            for size in SIZES
            for update in TRAINED.factors["update"]
        ),
        *(
            Claim(
                text=f"{stage}, {update}: counts beats guessing every class equally often by at least 0.05",
                measure=partial(above_even, stage=stage, update=update),
                at_least=0.05,
                unit="",
            )
            for stage in STAGES
            for update in TRAINED.factors["update"]
        ),
        *(
            Claim(
                text=f"Fresh {victim}, batches of {size}, ten steps: counts restores at least 85 %",
                measure=partial(accuracy, block="ten steps", victim=victim, batch_size=size),
                at_least=0.85,
                unit="",
            )
            for victim in VICTIMS
            for size in SIZES
        ),
    ),
)
