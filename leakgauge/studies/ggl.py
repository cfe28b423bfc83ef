"""A generative prior against attacks in pixels, under the defenses of the paper (GGL, Li et al., CVPR 2022, Table 3).

The paper: under noise, sparsification and Soteria, GGL is 5 to 9 dB above DLG, iDLG, Inverting Gradients and GradInversion; under
clipping, Inverting Gradients wins, whose cosine no clipping touches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from scipy.stats import binomtest

from leakgauge.auditing.record import ATTACK, FLOOR, LIMIT
from leakgauge.studies.ggl_settings import SETTINGS, UNTUNED
from leakgauge.studying import IDENTIFIED, Block, Changes, Claim, Level, Results, Statistic, Study, View, levels

STEPS = 300
"""Gradients of the model that every attack may take."""
SEEDS = range(300, 332)
NONE, NOISE, CLIPPING, SPARSE, SOTERIA = "none", "noise", "clipping", "sparsification", "Soteria"
DEFENSES: Mapping[Level, Changes] = {
    NONE: {"defenses": []},
    NOISE: {"defenses": [{"name": "gaussian_noise", "sigma": 0.1}]},
    CLIPPING: {"defenses": [{"name": "clipping", "norm": 4.0}]},
    SPARSE: {"defenses": [{"name": "pruning", "share": 0.9}]},
    SOTERIA: {"defenses": [{"name": "soteria", "share": 0.8}]},
}
READ: Mapping[Level, str] = {
    NOISE: "GaussianNoise.sigma",
    CLIPPING: "Clipping.norm",
    SPARSE: "Pruning.share",
    SOTERIA: "Soteria.share",
}
"""The setting of each defense that shows in the update."""
PAPER = (NOISE, CLIPPING, SPARSE, SOTERIA)
"""The paper's defenses, at its strengths."""

DLG, IDLG, IG, GI, GGL, REFINED, BAYES = "DLG", "iDLG", "Inverting Gradients", "GradInversion", "GGL", "GGL, refined", "Bayes, flow"
PIXELS = (DLG, IDLG, IG, GI)
_LBFGS = {"name": "lbfgs", "steps": STEPS // 20, "inner": 20}
_ADAM = {"name": "adam", "steps": STEPS, "schedule": "step"}
ATTACKS: Mapping[Level, Changes] = {
    DLG: {"attack": {"name": "dlg", "search": _LBFGS, "restarts": 1}},
    IDLG: {"attack": {"name": "idlg", "search": _LBFGS, "restarts": 1}},
    IG: {
        "attack": {
            "name": "matching",
            "likelihood": "cosine",
            "priors": ["total_variation"],
            "space": "pixels",
            "replay": "one_gradient",
            "labels": "idlg",
            "search": {**_ADAM, "signed": True},
        }
    },
    GI: {
        "attack": {
            "name": "matching",
            "likelihood": "gaussian",
            "priors": ["total_variation", "l2"],
            "space": "pixels",
            "replay": "one_gradient",
            "labels": "idlg",
            "search": {**_ADAM, "schedule": "cosine"},
        }
    },
    GGL: {"attack": {"name": "ggl", "search": _ADAM}, "controls": ["floor", "limit"]},
    REFINED: {
        "attack": {
            "name": "ggl",
            "search": {**_ADAM, "steps": STEPS // 2, "learning_rate": 0.15},
            "refinement": {"blocks": 0, "search": {"name": "adam", "steps": STEPS // 2, "schedule": "cosine"}},
        }
    },
    BAYES: {
        "attack": {
            "name": "matching",
            "likelihood": "implied",
            "priors": ["flow"],
            "space": {"name": "pixels", "start_from": "pink"},
            "replay": "granted",
            "labels": "idlg",
            "search": {"name": "adam", "steps": STEPS, "schedule": "cosine"},
        },
        "threat": "adaptive",
    },
}
RATE = "attack.search.learning_rate"
TUNED: Mapping[Level, tuple[str, ...]] = {
    DLG: (RATE,),
    IDLG: (RATE,),
    IG: ("attack.priors.0.weight", RATE),
    GI: ("attack.priors.0.weight", RATE),
    GGL: ("attack.weight", RATE),
    REFINED: ("attack.weight", "attack.refinement.search.learning_rate"),
    BAYES: ("attack.priors.0.weight", RATE),
}
"""What of an attack was tuned, for every defense."""
BASE: Mapping[str, Any] = {
    "data": {"name": "photographs", "size": 32},
    "batch": {"size": 1},
    "victim": "cnn",
    "threat": "server",
    "metrics": {"psnr": "psnr", "ssim": "ssim"},
    "controls": [],
}


def tuned(point: Mapping[str, Level]) -> Changes:
    """What an attack is given under a defense: the settings that did best in its rehearsals."""
    return dict(zip(TUNED[point["attack"]], SETTINGS[point["defense"]][point["attack"]], strict=True))


def table(base: Mapping[str, Any], seeds: Sequence[int], generator: str | None = None) -> Block:
    """Every attack under every defense; `generator` is that of GGL, None the one that comes along."""
    own: dict[Level, Changes] = {name: {**ATTACKS[name], "attack.generator": generator} for name in (GGL, REFINED)}
    return Block(
        name="table",
        base=base,
        factors={"defense": DEFENSES, "attack": {**ATTACKS, **own}, "seed": levels("seed", seeds)},
        quick={"defense": (NOISE, SOTERIA), "attack": (IG, GGL), "seed": seeds[:2]},
        joint=tuned,
    )


def over(found: Results, *, attack: Level, other: Level, defense: Level, score: str = "psnr") -> Statistic:
    """How far one attack is above another: the median over pairs of one image."""
    mine, theirs = (found.of("table", {"attack": one, "defense": defense}) for one in (attack, other))
    return mine.minus(theirs, score)


def ahead(found: Results, *, attack: Level, other: Level, defense: Level) -> Statistic:
    """By how much the share of images that an attack identifies is above another's."""
    mine, theirs = (found.of("table", {"attack": one, "defense": defense}) for one in (attack, other))
    return mine.ahead(theirs)


def floored(found: Results, *, attack: Level, defense: Level) -> float:
    """The chance that an attack is above its own floor, the same search on another image's update, as often by chance."""
    sample = found.of("table", {"attack": attack, "defense": defense})
    above = [one > floor for one, floor in zip(sample.scores(), sample.scores(trial=FLOOR), strict=True)]
    return float(binomtest(sum(above), len(above), alternative="greater").pvalue)


def misread(found: Results, *, defense: Level) -> Statistic:
    """How far what GGL estimates of the defense is from what it is, as a share."""
    return found.of("table", {"attack": GGL, "defense": defense}).error(READ[defense])


VIEWS = (
    View(title="PSNR by defense", block="table", x="defense", by="attack"),
    View(title="Share of images identified", block="table", x="defense", by="attack", score=IDENTIFIED, statistic="mean"),
    View(title="SSIM by defense", block="table", x="defense", by="attack", score="ssim"),
    View(
        title="GGL beside what its prior guesses, and the nearest image that its generator makes",
        block="table",
        x="defense",
        by="attack",
        only={"attack": GGL},
        trials=(ATTACK, FLOOR, LIMIT),
    ),
)
CLAIMS = (
    *(
        Claim(
            text=f"Under {defense}: {attack} is above {other}",
            measure=partial(over, attack=attack, other=other, defense=defense),
            at_least=0.0,
        )
        for defense in PAPER
        for attack in (GGL, REFINED)
        for other in PIXELS
    ),
    *(
        Claim(
            text=f"Under {defense}: {attack} identifies as many images as {other}, or at most a tenth fewer",
            measure=partial(ahead, attack=attack, other=other, defense=defense),
            at_least=-0.1,
            unit="",
        )
        for defense in PAPER
        for attack in (GGL, REFINED)
        for other in PIXELS
    ),
    *(
        Claim(
            text=f"Under {defense}: {GGL} is above what its prior alone guesses (sign test)",
            measure=partial(floored, attack=GGL, defense=defense),
            at_most=0.01,
            unit="p",
        )
        for defense in PAPER
    ),
    *(
        Claim(
            text=f"Under {defense}: what {GGL} reads off the update ({setting}) is within a tenth of what it is",
            measure=partial(misread, defense=defense),
            at_most=0.1,
            unit="",
        )
        for defense, setting in READ.items()
    ),
)
TABLE = table(BASE, SEEDS)
STUDY = Study(
    question="Does a generative prior get around the defenses that stop attacks in pixels?",
    method=(
        "One seed is one fresh network, one image and one start of the search. The adversary is a server that is not told the "
        f"defense; the label is inferred (iDLG). Every attack takes {STEPS} gradients of the model, and two of its settings "
        "(of DLG and iDLG, the rate) were tuned with one budget for each defense, on images that were neither audited nor learned "
        "from (`python -m benchmarks tuning`). GGL searches the codes of the generator that comes along with Adam, and estimates "
        "the defense from the update; a code costs its latent KL, as in the paper. Refined, it "
        "takes half of its steps in codes and half in pixels. Beside them, and not in the paper: the likelihood that the defense "
        "implies with a learned density, which has to be told the defense. Noise has a standard deviation of 0.1, clipping a "
        "norm of 4, sparsification drops 90% of each tensor, and Soteria 80% of a layer's inputs. The floor is the same attack, "
        "from the same start, given the update of another image: what the prior alone would have guessed. The norm of an update is "
        "taken for the bound of its clipping, which it is for gradients that were clipped; others are shorter and do not show it."
        + (f" Not tuned yet, and so no fair comparison: {', '.join(UNTUNED)}." if UNTUNED else "")
    ),
    blocks=(TABLE,),
    views=VIEWS,
    claims=CLAIMS,
)
