"""What an attacker loses who sees weights before and after training alone: neither learning rate, nor optimizer, nor steps.

Zhao, Luo and Ding (CPAL 2024, arXiv 2206.04887) reconstruct data from weights by a learned scale (DLM) or by matching directions
(DLM+), and defend with noise on the weights and with their sparsification.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from leakgauge.auditing.record import BLIND
from leakgauge.studying import Block, Claim, Level, Results, Statistic, Study, View, levels

RATES = (0.001, 0.01, 0.1, 1.0)
STEPS = (1, 5, 20, 100)
NOISES = (1e-6, 1e-5, 1e-4, 1e-3)
SHARES = (0.01, 0.05, 0.2)
BASE = {
    "data": {"name": "photographs", "size": 32},
    "batch": {"size": 1},
    "victim": "lenet",
    "client": {"name": "fedavg", "optimizer": {"name": "sgd", "learning_rate": 0.01}},
    "threat": "weights",
    "attack": "dlm_plus",
    "metrics": {"psnr": "psnr", "ssim": "ssim"},
    "controls": ["blind"],
}
ONE_STEP = {"name": "one_gradient", "scaled": False}
PROFILED = {
    "name": "matching",
    "likelihood": "profiled",
    "space": {"name": "pixels", "boxed": False},
    "replay": ONE_STEP,
    "labels": "joint",
    "search": "lbfgs",
    "restarts": 4,
    "enough": 1e-7,
}
SMOOTH = {"name": "scale_free", "replay": ONE_STEP, "total_variation": 0.01}
CLEANED = {"name": "without_jumps", "attack": {**SMOOTH, "likelihood": {"name": "masked", "likelihood": "profiled"}}}


def is_telling(point: Mapping[str, Level]) -> bool:
    """DLM is tried at the rate that its starts are for, and a scale in closed form at the ends of the range."""
    wanted = {"DLM": (0.01,), "scale profiled out": (0.001, 1.0)}
    return point["learning rate"] in wanted.get(str(point["attack"]), RATES)


RATE = Block(
    name="rates",
    base=BASE,
    factors={
        "attack": {
            "DLG, rate known": {"attack": "dlg", "threat": "server"},
            "DLM": {"attack": "dlm"},
            "DLM+": {"attack": "dlm_plus"},
            "scale profiled out": {"attack": PROFILED},
        },
        "learning rate": levels("client.optimizer.learning_rate", RATES),
        "seed": levels("seed", range(6)),
    },
    where=is_telling,
    quick={"learning rate": (0.01,), "seed": (0, 1)},
)
LOCAL = Block(
    name="steps",
    base=BASE,
    factors={
        "attack": {
            "DLM+": {"attack": "dlm_plus"},
            "scale-free, surrogate": {"attack": "scale_free"},
            "scale-free, 5 steps unrolled": {"attack": {"name": "scale_free", "replay": {"name": "unrolled", "steps": 5}}},
        },
        "local steps": levels("client.epochs", STEPS),
        "seed": levels("seed", range(3)),
    },
    quick={"seed": ()},
)
NOISE = Block(
    name="noise",
    base={**BASE, "client": {"name": "fedavg", "optimizer": {"name": "sgd", "learning_rate": 0.1}}},
    factors={
        "attack": {"DLM+": {"attack": "dlm_plus"}, "with a prior": {"attack": SMOOTH}},
        "noise": {scale: {"defenses": [{"name": "weight_noise", "scale": scale}]} for scale in NOISES},
        "seed": levels("seed", range(3)),
    },
    quick={"seed": ()},
)
SPARSE = Block(
    name="sparsification",
    base=BASE,
    factors={
        "attack": {"DLM+": {"attack": "dlm_plus"}, "without jumps": {"attack": CLEANED}},
        "share": {share: {"defenses": [{"name": "weight_sparsification", "share": share}]} for share in SHARES},
        "seed": levels("seed", range(3)),
    },
    quick={"seed": ()},
)


def lead(found: Results, *, rate: float) -> Statistic:
    """How far DLM+ is above DLG with the rate: the median over pairs of one seed."""
    plus, known = (found.of("rates", {"attack": one, "learning rate": rate}) for one in ("DLM+", "DLG, rate known"))
    return plus.minus(known)


def more_than_dlm(found: Results) -> float:
    """The share of images of 20 dB or more under DLM+ less that under DLM."""
    plus, learned = (found.of("rates", {"attack": one, "learning rate": 0.01}).share(20.0) for one in ("DLM+", "DLM"))
    return plus.value - learned.value


def above_blind(found: Results, *, block: str, **where: Any) -> Statistic:
    """How far an attack is above a guess without any update."""
    return found.of(block, {name.replace("_", " "): value for name, value in where.items()}).against(BLIND)


def adaptive_gain(found: Results, *, block: str, adaptive: str, level: str, value: float) -> Statistic:
    """How far the adaptive attack is above DLM+: the median over pairs of one seed."""
    better, plain = (found.of(block, {"attack": one, level: value}) for one in (adaptive, "DLM+"))
    return better.minus(plain)


STUDY = Study(
    question="Does an attacker who sees weights alone, and not the learning rate, lose anything?",
    method=(
        "One seed is one network, one image and one start of each search, whatever the attack. Settings were chosen on other "
        "images. DLG knows the client's procedure and rate; all others see weights before and after, and the number of examples."
    ),
    blocks=(RATE, LOCAL, NOISE, SPARSE),
    views=(
        View(title="One local step: PSNR by learning rate", block="rates", x="learning rate", by="attack", log_x=True),
        View(
            title="One local step: images of 20 dB or more",
            block="rates",
            x="learning rate",
            by="attack",
            statistic="share",
            threshold=20.0,
            log_x=True,
        ),
        View(title="PSNR by local steps, at a rate of 0.01", block="steps", x="local steps", by="attack", log_x=True),
        View(title="PSNR under noise on the weights", block="noise", x="noise", by="attack", log_x=True),
        View(title="PSNR under sparsified weights", block="sparsification", x="share", by="attack"),
    ),
    claims=(
        *(
            Claim(
                text=f"At a rate of {rate:g}, DLM+ is within 1 dB of DLG that knows the rate",
                measure=partial(lead, rate=rate),
                at_least=-1.0,
            )
            for rate in RATES
        ),
        Claim(
            text="DLM+ with four starts restores more images than DLM with ten, at the rate that these are for",
            measure=more_than_dlm,
            at_least=0.1,
            unit="",
        ),
        *(
            Claim(
                text=f"After {steps} local steps of unknown number and rate, five unrolled ones beat a blind guess by 3 dB",
                measure=partial(above_blind, block="steps", attack="scale-free, 5 steps unrolled", local_steps=steps),
                at_least=3.0,
            )
            for steps in (5, 20, 100)
        ),
        Claim(
            text="Noise of 1e-3 on the weights, at a rate of 0.1, leaves nothing that beats a blind guess by 3 dB",
            measure=partial(above_blind, block="noise", attack="with a prior", noise=1e-3),
            at_most=3.0,
        ),
        Claim(
            text="Sparsification of 5 % stops DLM+, and not who leaves the jumps out: 6 dB between them",
            measure=partial(adaptive_gain, block="sparsification", adaptive="without jumps", level="share", value=0.05),
            at_least=6.0,
        ),
    ),
)
