"""The Bayes-optimal adversary (Balunovic, Dimitrov, Staab, Vechev, ICLR 2022, arXiv 2111.04706, Sec. 4)."""

from __future__ import annotations

from leakgauge.attacks.annealing import Annealing
from leakgauge.attacks.ball import Ball
from leakgauge.attacks.labels.known import Known
from leakgauge.attacks.likelihoods.implied import Implied
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.searches.adam import Adam
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.core.algorithm import Count, NonNegative, Positive
from leakgauge.core.protocols import Labels, Search


def bayes(
    weight: Positive = 1.0,
    total_variation: NonNegative = 1.0,
    ball: Ball | None = None,
    annealing: Annealing | None = None,
    labels: Labels = Known(),
    search: Search = Adam(learning_rate=0.05, steps=1000, schedule="cosine"),
    restarts: Count = 1,
) -> Matching:
    """The likelihood that the defense implies, total variation, and, with `ball`, the average over a ball around the guess.

    The one that the theory asks for, as far as the prior is right. Without a ball it is the maximum a posteriori, as in the
    released code. The defense has to be granted (threat `adaptive`); without it the likelihood is that of no chance at all.
    """
    return Matching(
        likelihood=Implied(weight=weight),
        priors=(TotalVariation(weight=total_variation),),
        space=Pixels(start_from="pink"),
        replay=Granted(),
        labels=labels,
        search=search,
        ball=ball,
        annealing=annealing,
        restarts=restarts,
    )
