"""Client Privacy Leakage (Wei, Liu, Loper et al., ESORICS 2020, arXiv 2004.10397, Sec. 3)."""

from __future__ import annotations

from leakgauge.attacks.labels.idlg import IDLG
from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.priors.label_agreement import LabelAgreement
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.searches.lbfgs import LBFGS
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.core.algorithm import Count, NonNegative
from leakgauge.core.protocols import Replay, Search


def cpl(
    label_agreement: NonNegative = 0.01,
    replay: Replay = Granted(),
    search: Search = LBFGS(),
    restarts: Count = 4,
    enough: NonNegative = 1e-7,
) -> Matching:
    """Squared gradient distance and a term for the label, which is read off the last layer; from a pattern that repeats itself.

    The paper reports that patterned starts need fewer steps than noise.
    """
    return Matching(
        likelihood=Gaussian(),
        priors=(LabelAgreement(weight=label_agreement),),
        space=Pixels(start_from="tiles", boxed=False),
        replay=replay,
        labels=IDLG(),
        search=search,
        restarts=restarts,
        enough=enough,
    )
