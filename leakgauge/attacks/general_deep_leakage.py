"""General deep leakage (Geng, Mou, Li, Li, Beyan, Decker, Rong 2021, "Towards General Deep Leakage in Federated Learning")."""

from __future__ import annotations

from leakgauge.algorithm import Count, NonNegative
from leakgauge.attacks.labels.known import Known
from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.priors.clip import Clip
from leakgauge.attacks.priors.l2 import L2
from leakgauge.attacks.priors.scale import Scale
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.searches.lbfgs import LBFGS
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.protocols import Labels, Replay, Search


def general_deep_leakage(
    total_variation: NonNegative = 200.0,
    l2: NonNegative = 0.0,
    scale: NonNegative = 200.0,
    clip: NonNegative = 200.0,
    labels: Labels = Known(),
    replay: Replay = Granted(),
    search: Search = LBFGS(learning_rate=0.1, steps=600),
    restarts: Count = 1,
    enough: NonNegative = 1e-7,
) -> Matching:
    """Squared gradient distance with TV, L2, scale and clip priors, from uniform noise, L-BFGS in an unboxed space."""
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
