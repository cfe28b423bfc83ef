"""Deep Leakage from Gradients (Zhu, Liu, Han, NeurIPS 2019, arXiv 1906.08935, Algorithm 1)."""

from __future__ import annotations

from leakgauge.attacks.labels.joint import Joint
from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.searches.lbfgs import LBFGS
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.core.algorithm import Count, NonNegative
from leakgauge.core.protocols import Labels, Replay, Search


def dlg(
    labels: Labels = Joint(),
    replay: Replay = Granted(),
    search: Search = LBFGS(),
    restarts: Count = 4,
    enough: NonNegative = 1e-7,
) -> Matching:
    """Squared gradient distance, no prior, L-BFGS on image and soft label.

    The paper reports single starts; about half of them fail on LeNet, hence `restarts`.
    """
    return Matching(
        likelihood=Gaussian(),
        space=Pixels(boxed=False),
        replay=replay,
        labels=labels,
        search=search,
        restarts=restarts,
        enough=enough,
    )
