"""The Bayes-optimal adversary against the usual likelihoods, under noise and pruning, every attack tuned with one budget.

Balunović et al. (ICLR 2022, arXiv 2111.04706, Sec. 6): under Gaussian noise the optimal likelihood is the squared distance, under
Laplace noise the absolute one, and where a coin drops numbers it knows which numbers say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from leakgauge.studies.bayes_settings import SETTINGS
from leakgauge.studying import Block, Changes, Claim, Level, Results, Statistic, Study, View, levels

SIGMA = 0.01
SIGMAS = (0.003, 0.01, 0.03, 0.1)
SEEDS = range(200, 300)
COLOR, DIGITS = "color", "digits"
IMAGES: Mapping[Level, Changes] = {COLOR: {}, DIGITS: {"data": {"name": "mnist", "part": "test"}}}
GAUSSIAN, LAPLACE, PRUNED_GAUSSIAN, PRUNED_LAPLACE = "Gaussian", "Laplace", "pruned Gaussian", "pruned Laplace"
COIN = {"name": "bernoulli_pruning", "share": 0.5}
NOISES: Mapping[Level, Changes] = {
    name: {"defenses": [noise, *pruning]}
    for name, noise, pruning in (
        (GAUSSIAN, {"name": "gaussian_noise", "sigma": SIGMA}, ()),
        (LAPLACE, {"name": "laplace_noise", "scale": SIGMA}, ()),
        (PRUNED_GAUSSIAN, {"name": "gaussian_noise", "sigma": SIGMA}, (COIN,)),
        (PRUNED_LAPLACE, {"name": "laplace_noise", "scale": SIGMA}, (COIN,)),
    )
}
CHANCES: Mapping[Level, Changes] = {name: NOISES[name] for name in (GAUSSIAN, PRUNED_GAUSSIAN)}
STRENGTHS: Mapping[Level, Changes] = {sigma: {"defenses": [{"name": "gaussian_noise", "sigma": sigma}, COIN]} for sigma in SIGMAS}
BAYES, L2, L1, COSINE, MASKED, FLOW = "Bayes", "L2", "L1", "cosine", "masked cosine", "Bayes, learned density"
USUAL = (L2, L1, COSINE)
ATTACKS: Mapping[Level, Changes] = {
    BAYES: {"attack.likelihood": "implied", "attack.replay": "granted"},
    L2: {"attack.likelihood": "gaussian"},
    L1: {"attack.likelihood": "laplace"},
    COSINE: {"attack.likelihood": "cosine"},
    MASKED: {"attack.likelihood": {"name": "masked", "likelihood": "cosine"}},
}
BASE: Mapping[str, Any] = {
    "data": {"name": "photographs", "size": 32},
    "batch": {"size": 1},
    "victim": "cnn",
    "threat": "adaptive",
    "attack": {
        "name": "matching",
        "likelihood": "gaussian",
        "priors": [{"name": "total_variation"}],
        "space": {"name": "pixels", "start_from": "pink"},
        "replay": "one_gradient",
        "labels": "known",
        "search": {"name": "adam", "steps": 200, "schedule": "cosine"},
    },
    "metrics": {"psnr": "psnr"},
    "controls": [],
}
MAP, ANNEALED = "most likely", "annealed"
SMALL, LARGE = "ball of radius 1", "ball of radius 5.5"
GUESSES: Mapping[Level, Changes] = {
    MAP: {},
    SMALL: {"attack.ball": {"radius": 1.0, "samples": 4}},
    LARGE: {"attack.ball": {"radius": 5.5, "samples": 4}},  # 0.1 sqrt(3 * 32 * 32): whoever is within it has 20 dB
    ANNEALED: {"attack.annealing": {"stages": 4}, "attack.search.steps": 50},
}
WEIGHT, RATE = "attack.priors.0.weight", "attack.search.learning_rate"


def differs(point: Mapping[str, Level]) -> bool:
    """Whether an attack is another one than those beside it: where nothing was pruned, there is nothing to mask."""
    return point["attack"] != MASKED or point["noise"] not in (GAUSSIAN, LAPLACE)


def tuned(point: Mapping[str, Level]) -> Changes:
    """What an attack is given on images and noise of a kind: the settings that did best in its rehearsals."""
    weight, rate = SETTINGS[point["images"], point["noise"]][point["attack"]]
    return {WEIGHT: weight, RATE: rate}


NOISE = Block(
    name="noise",
    base=BASE,
    factors={"images": IMAGES, "noise": NOISES, "attack": ATTACKS, "seed": levels("seed", SEEDS)},
    quick={"images": (COLOR,), "noise": (GAUSSIAN, PRUNED_GAUSSIAN), "seed": SEEDS[:2]},
    where=differs,
    joint=tuned,
)
STRENGTH = Block(
    name="strength",
    base=BASE,
    factors={"images": {COLOR: {}}, "noise": STRENGTHS, "attack": ATTACKS, "seed": levels("seed", SEEDS[:12])},
    quick={"seed": ()},
    joint=tuned,
)
PRIORS = Block(
    name="prior",
    base=BASE,
    factors={
        "images": {COLOR: {}},
        "noise": CHANCES,
        "attack": {BAYES: ATTACKS[BAYES], FLOW: {**ATTACKS[BAYES], "attack.priors": ["flow"]}},
        "seed": levels("seed", SEEDS[:24]),
    },
    quick={"seed": ()},
    joint=tuned,
)
BALLS = Block(
    name="ball",
    base=BASE,
    factors={
        "images": {COLOR: {}},
        "noise": CHANCES,
        "attack": {BAYES: ATTACKS[BAYES]},
        "guess": GUESSES,
        "seed": levels("seed", SEEDS[:8]),
    },
    quick={"seed": ()},
    joint=tuned,
)


def over(found: Results, *, baseline: Level, images: Level, noise: Level, block: str = "noise") -> Statistic:
    """How far the optimal likelihood is above another: the median over pairs of one image."""
    bayes, other = (found.of(block, {"attack": one, "images": images, "noise": noise}) for one in (BAYES, baseline))
    return bayes.minus(other)


def lead(found: Results, *, images: Level, noise: Level, block: str = "noise") -> Statistic:
    """How far the optimal likelihood is above the best of the usual ones, which take zeros for numbers."""
    return min((over(found, baseline=one, images=images, noise=noise, block=block) for one in USUAL), key=lambda one: one.value)


def learned(found: Results, *, noise: Level) -> Statistic:
    """How far a learned density is above total variation."""
    flow, variation = (found.of("prior", {"attack": one, "noise": noise}) for one in (FLOW, BAYES))
    return flow.minus(variation)


def beside(found: Results, *, guess: Level, noise: Level) -> Statistic:
    """How far another way to search the optimal likelihood is above the most likely image."""
    other, most_likely = (found.of("ball", {"guess": one, "noise": noise}) for one in (guess, MAP))
    return other.minus(most_likely)


def _claims(images: Level) -> tuple[Claim, ...]:
    """What theory and the paper's plot say, for images of one kind."""
    return (
        *(
            Claim(
                text=f"Under {noise} noise, {images}: the optimal likelihood is 3 dB above the best usual one",
                measure=partial(lead, images=images, noise=noise),
                at_least=3.0,
            )
            for noise in (PRUNED_GAUSSIAN, PRUNED_LAPLACE)
        ),
        *(
            Claim(
                text=f"Under {noise} noise, {images}: the optimal likelihood is at least as good as the cosine of what is not zero",
                measure=partial(over, baseline=MASKED, images=images, noise=noise),
                at_least=0.0,
            )
            for noise in (PRUNED_GAUSSIAN, PRUNED_LAPLACE)
        ),
        *(
            Claim(
                text=f"Under {noise} noise, {images}: the optimal likelihood is within 0.3 dB of {same}, which it is in theory",
                measure=partial(over, baseline=same, images=images, noise=noise),
                at_least=-0.3,
                at_most=0.3,
            )
            for noise, same in ((GAUSSIAN, L2), (LAPLACE, L1))
        ),
        *(
            Claim(
                text=f"Under Laplace noise, {images}: the optimal likelihood is at least as good as {other}",
                measure=partial(over, baseline=other, images=images, noise=LAPLACE),
                at_least=0.0,
            )
            for other in (L2, COSINE)
        ),
    )


STUDY = Study(
    question="What is the likelihood that a defense implies worth, against the usual ones?",
    method=(
        "One seed is one fresh network, one image and one start of the search. Every attack searches with 200 steps of Adam, a "
        "total variation prior and known labels; they differ in the likelihood alone. The prior's weight and the learning rate of "
        "each were tuned for each noise and each kind of images, with one budget, on training images (`python -m benchmarks "
        "tuning`). "
        f"Noise has a standard deviation of {SIGMA:g}, or that scale if it is Laplace noise; pruning sets each number to 0 with "
        "probability 1/2. The usual likelihoods take the update as it comes, as in the paper, zeros and all; the masked "
        "cosine leaves the zeros out, as anyone would who sees so many. Under pruned noise the lead depends "
        "on the noise: the more of it, the less it matters which numbers were dropped. The learned density was fitted to "
        "CIFAR-10's training images; for other images than CIFAR-10's it is a guess."
    ),
    blocks=(NOISE, STRENGTH, PRIORS, BALLS),
    views=(
        *(
            View(title=f"PSNR by noise: {images}", block="noise", x="noise", by="attack", only={"images": images})
            for images in IMAGES
        ),
        View(title=f"PSNR under pruned Gaussian noise: {COLOR}", block="strength", x="noise", by="attack", log_x=True),
        View(title=f"PSNR of the optimal likelihood by prior: {COLOR}", block="prior", x="noise", by="attack"),
        View(title=f"PSNR of the optimal likelihood by what is searched: {COLOR}", block="ball", x="noise", by="guess"),
    ),
    claims=(
        *(claim for images in IMAGES for claim in _claims(images)),
        Claim(
            text=f"Under pruned Gaussian noise of {SIGMAS[0]:g}: the optimal likelihood is 3 dB above the best usual one",
            measure=partial(lead, images=COLOR, noise=SIGMAS[0], block="strength"),
            at_least=3.0,
        ),
        *(
            Claim(
                text=f"Under {noise} noise: a learned density of images is 0.5 dB above total variation",
                measure=partial(learned, noise=noise),
                at_least=0.5,
            )
            for noise in CHANCES
        ),
        *(
            Claim(
                text=f"Under {noise} noise: the mean over a {SMALL} finds what is within 1 dB of the most likely image",
                measure=partial(beside, guess=SMALL, noise=noise),
                at_least=-1.0,
                at_most=1.0,
            )
            for noise in CHANCES
        ),
    ),
)
