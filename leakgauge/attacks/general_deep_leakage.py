"""General deep leakage (Geng, Mou, Li, Li, Beyan, Decker, Rong 2021, "Towards General Deep Leakage in Federated Learning")."""

from __future__ import annotations

from leakgauge.attacks.labels.geng import Geng
from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.priors.clip import Clip
from leakgauge.attacks.priors.l2 import L2
from leakgauge.attacks.priors.scale import Scale
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.searches.lbfgs import LBFGS
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.core.algorithm import Count, NonNegative
from leakgauge.core.protocols import Labels, Replay, Search


def general_deep_leakage(
    total_variation: NonNegative = 0.2,
    l2: NonNegative = 0.0,
    scale: NonNegative = 1e-4,
    clip: NonNegative = 0.1,
    labels: Labels = Geng(),
    replay: Replay = Granted(),
    search: Search = LBFGS(line_search="strong_wolfe", steps=100),
    restarts: Count = 1,
    enough: NonNegative = 1e-7,
) -> Matching:
    """Labels by counts, squared gradient distance with TV, L2, scale and clip priors, L-BFGS from uniform noise, pixels unboxed.

    The authors' program weighs total variation (a mean), scale and clip (sums) by 200 each, and only the first of them acts there,
    for the others have no gradient. All of them act here, and at 200 they drown the gradients of a small network, so the weights
    are smaller: those that served best on a LeNet with a batch of 8. A batch that its update determines wants none of them. The
    program takes 600 iterations at a learning rate of 0.1; a line search needs fewer.
    """
    return Matching(
        likelihood=Gaussian(),
        priors=(TotalVariation(weight=total_variation), L2(weight=l2, form="squares"), Scale(weight=scale), Clip(weight=clip)),
        space=Pixels(start_from="uniform", boxed=False),
        replay=replay,
        labels=labels,
        search=search,
        restarts=restarts,
        enough=enough,
    )
