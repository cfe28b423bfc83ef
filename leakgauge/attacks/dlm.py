"""Deep Leakage from Model (Zhao, Luo, Ding, CPAL 2024, arXiv 2206.04887)."""

from __future__ import annotations

from leakgauge.attacks.labels.joint import Joint
from leakgauge.attacks.likelihoods.free_scale import FreeScale
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.replays.one_gradient import OneGradient
from leakgauge.attacks.searches.lbfgs import LBFGS
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.core.algorithm import Count, Positive
from leakgauge.core.protocols import Labels, Search


def dlm(
    starts: tuple[Positive, ...] = (60.0, 80.0, 100.0, 120.0, 140.0, 160.0, 180.0, 200.0, 220.0, 240.0),
    labels: Labels = Joint(),
    search: Search = LBFGS(),
    restarts: Count = 10,
) -> Matching:
    """Squared distance of a gradient from the difference of weights times a learned scale, L-BFGS on image, soft label and scale.

    The learning rate is unknown: the true scale is its inverse. Each restart begins with the next of `starts`, the paper's for a
    rate of 0.01. The scale tends to collapse (see FreeScale), which is told; restarts are compared by what no scale can feign.
    """
    return Matching(
        likelihood=FreeScale(starts=starts),
        space=Pixels(boxed=False),
        replay=OneGradient(scaled=False),
        labels=labels,
        search=search,
        restarts=restarts,
    )
