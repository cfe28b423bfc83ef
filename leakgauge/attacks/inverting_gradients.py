"""Inverting Gradients (Geiping, Bauermeister, Droege, Moeller, NeurIPS 2020, arXiv 2003.14053, Eq. 4)."""

from __future__ import annotations

from leakgauge.attacks.labels.known import Known
from leakgauge.attacks.likelihoods.cosine import Cosine
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.searches.adam import Adam
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.core.algorithm import Count, NonNegative, Positive
from leakgauge.core.protocols import Labels, Replay


def inverting_gradients(
    steps: Count = 24_000,
    learning_rate: Positive = 0.1,
    total_variation: NonNegative = 0.1,
    labels: Labels = Known(),
    replay: Replay = Granted(),
    restarts: Count = 1,
) -> Matching:
    """Cosine similarity, total variation, signed Adam with a step schedule, pixels kept in range.

    The paper takes the labels as known (found analytically); 24,000 steps and a weight of 0.1 are its CIFAR-10 setting.
    """
    return Matching(
        likelihood=Cosine(),
        priors=(TotalVariation(weight=total_variation),),
        space=Pixels(),
        replay=replay,
        labels=labels,
        search=Adam(learning_rate=learning_rate, steps=steps, signed=True, schedule="step"),
        restarts=restarts,
    )
