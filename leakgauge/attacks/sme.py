"""Surrogate model extension (Zhu, Yao, Blaschko, "Surrogate Model Extension", ICML 2023, arXiv 2306.00127)."""

from __future__ import annotations

from leakgauge.attacks.labels.counts import Counts
from leakgauge.attacks.likelihoods.cosine import Cosine
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.attacks.replays.surrogate import Surrogate
from leakgauge.attacks.searches.adam import Adam
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.core.algorithm import Count, NonNegative, Positive
from leakgauge.core.protocols import Labels


def sme(
    steps: Count = 1000,
    learning_rate: Positive = 1.0,
    total_variation: NonNegative = 0.01,
    labels: Labels = Counts(),
    restarts: Count = 1,
) -> Matching:
    """Cosine similarity to a gradient between the weights before and after, total variation, Adam.

    The authors know the labels; here they are counted. Where on the way between the weights the gradient is taken is searched
    along, at a thousandth of the images' pace.
    """
    return Matching(
        likelihood=Cosine(),
        priors=(TotalVariation(weight=total_variation),),
        space=Pixels(),
        replay=Surrogate(pace=0.001),
        labels=labels,
        search=Adam(learning_rate=learning_rate, steps=steps, schedule="step"),
        restarts=restarts,
    )
