"""DLM+, which matches directions and needs no scale (Zhao, Luo, Ding, CPAL 2024, arXiv 2206.04887)."""

from __future__ import annotations

from leakgauge.attacks.labels.joint import Joint
from leakgauge.attacks.likelihoods.layer_normalized import LayerNormalized
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.replays.one_gradient import OneGradient
from leakgauge.attacks.searches.lbfgs import LBFGS
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.core.algorithm import Count, NonNegative
from leakgauge.core.protocols import Labels, Search


def dlm_plus(
    labels: Labels = Joint(),
    search: Search = LBFGS(),
    restarts: Count = 4,
    enough: NonNegative = 1e-7,
) -> Matching:
    """Distance of a gradient from the difference of weights, each divided by its mean layer norm; L-BFGS on image and soft label.

    The authors' programs know the label (`labels: known`) or search it (`joint`). Like DLG, a single start fails about half of the
    time, hence `restarts`.
    """
    return Matching(
        likelihood=LayerNormalized(),
        space=Pixels(boxed=False),
        replay=OneGradient(scaled=False),
        labels=labels,
        search=search,
        restarts=restarts,
        enough=enough,
    )
