"""What a first linear layer gives away, by the size of the batch and of the layer, and what noise does about it.

Geiping et al. (NeurIPS 2020, Prop. 3.1): one example behind a linear layer with bias can be read off its gradient. For several,
a row of the gradient is a mixture of the examples that activate its unit; a wide layer has units that one example alone activates.
"""

from __future__ import annotations

from functools import partial

from leakgauge.auditing.record import BLIND
from leakgauge.studying import Block, Claim, Results, Statistic, Study, View, levels

BASE = {
    "data": {"name": "photographs", "size": 32},
    "batch": {"size": 1},
    "victim": {"name": "mlp", "hidden": [1024]},
    "threat": "informed",
    "attack": {"name": "analytic", "labels": "known"},
    "controls": ["blind"],
}
SIZES = (1, 2, 4, 8, 16)
WIDTHS = (256, 1024, 4096)
SEEDS = levels("seed", range(10))
SIGMAS = (0.0001, 0.001, 0.01, 0.1)

GROWTH = Block(
    name="growth",
    base=BASE,
    factors={
        "batch size": levels("batch.size", SIZES),
        "units": {units: {"victim.hidden": [units]} for units in WIDTHS},
        "seed": SEEDS,
    },
    quick={"batch size": (1, 4, 16), "units": (256, 4096), "seed": (0,)},
)
NOISE = Block(
    name="noise",
    base=BASE,
    factors={
        "noise": {sigma: {"defenses": [{"name": "gaussian_noise", "sigma": sigma}]} for sigma in SIGMAS},
        "seed": SEEDS,
    },
    quick={"noise": (0.0001, 0.1), "seed": (0, 1)},
)


def one_example(found: Results) -> Statistic:
    """The median PSNR of a batch of one, whatever the width."""
    return found.of("growth", {"batch size": 1}).median()


def share_recovered(found: Results, *, size: int, units: int) -> Statistic:
    """The share of the examples that are recovered."""
    return found.of("growth", {"batch size": size, "units": units}).share(20.0)


def wider_is_worse(found: Results) -> float:
    """How much larger the share is with many units than with few, at sixteen examples."""
    few, many = (share_recovered(found, size=16, units=units) for units in (256, 4096))
    return many.value - few.value


def above_blind(found: Results, *, sigma: float) -> Statistic:
    """How far the attack is above a guess without any update."""
    return found.of("noise", {"noise": sigma}).against(BLIND)


STUDY = Study(
    question="How much of a batch can be read off a first linear layer, and how much noise hides it?",
    method="Each seed is another initialization and another secret batch. The attack is closed-form: nothing in it was tuned.",
    blocks=(GROWTH, NOISE),
    views=(
        View(title="Recovered share by batch size", block="growth", x="batch size", by="units", statistic="share", log_x=True),
        View(title="PSNR by batch size", block="growth", x="batch size", by="units", log_x=True),
        View(title="PSNR against noise", block="noise", x="noise", trials=("attack", "blind"), log_x=True),
    ),
    claims=(
        Claim(text="A single example is read off exactly, whatever the width", measure=one_example, at_least=60.0),
        Claim(
            text="Of sixteen examples, a wide layer gives away more than half",
            measure=partial(share_recovered, size=16, units=4096),
            at_least=0.5,
            unit="",
        ),
        Claim(
            text="Sixteen examples in a wide layer: share at 4096 units less share at 256",
            measure=wider_is_worse,
            at_least=0.1,
            unit="",
        ),
        Claim(text="Noise of 0.1 leaves nothing that beats a blind guess", measure=partial(above_blind, sigma=0.1), at_most=0.0),
    ),
)
