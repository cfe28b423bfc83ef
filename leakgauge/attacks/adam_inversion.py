"""Inversion of the update of an Adam client whose learning rate is unknown."""

from __future__ import annotations

from leakgauge.attacks.adam_undone import AdamUndone
from leakgauge.attacks.labels.counts import Counts
from leakgauge.attacks.likelihoods.saturated import Saturated
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.attacks.replays.one_gradient import OneGradient
from leakgauge.attacks.searches.adam import Adam
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.core.algorithm import Count, NonNegative
from leakgauge.core.protocols import Labels, Search


def adam_inversion(
    total_variation: NonNegative = 3e-3,
    labels: Labels = Counts(),
    search: Search = Adam(learning_rate=0.05, steps=600, schedule="cosine"),
    restarts: Count = 1,
) -> AdamUndone:
    """Sizes of gradients where Adam's epsilon gives them away, signs elsewhere, total variation, from pink noise.

    It assumes one local step; what several ones blur counts less than the signs, which they keep.
    """
    return AdamUndone(
        attack=Matching(
            likelihood=Saturated(),
            priors=(TotalVariation(weight=total_variation),),
            space=Pixels(start_from="pink"),
            replay=OneGradient(scaled=False),
            labels=labels,
            search=search,
            restarts=restarts,
        )
    )
