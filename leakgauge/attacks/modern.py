"""Inverting Gradients with what has been learned since: more starts, a prior that steps back, and an end by L-BFGS."""

from __future__ import annotations

from leakgauge.attacks.annealing import Annealing
from leakgauge.attacks.deep import Deep
from leakgauge.attacks.labels.known import Known
from leakgauge.attacks.likelihoods.cosine import Cosine
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.searches.adam import Adam
from leakgauge.attacks.searches.lbfgs import LBFGS
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.core.algorithm import Count, NonNegative
from leakgauge.core.protocols import Labels, Replay


def modern(
    steps: Count = 75,
    total_variation: NonNegative = 1e-4,
    labels: Labels = Known(),
    replay: Replay = Granted(),
    restarts: Count = 8,
) -> Matching:
    """Eight starts of which the better half goes on, three times, while total variation gives way; L-BFGS ends the last one.

    The objective is that of Inverting Gradients (Geiping et al., NeurIPS 2020). A strong prior smooths it at first, and would be
    in the picture's way at last (annealing: Balunovic et al., ICLR 2022, Sec. 5); a start that ends in a place of its own is
    given up early; and where the network is smooth, L-BFGS finds in some hundred evaluations what Adam creeps towards. `steps`
    are those of a stage. In a deep network of rectifiers there are half as many starts, and two stages of four times as many steps,
    which are longer as well. What it finds, and in what time: `python -m benchmarks modern`.
    """
    return Matching(
        likelihood=Cosine(),
        priors=(TotalVariation(weight=total_variation),),
        space=Pixels(),
        replay=replay,
        labels=labels,
        search=Adam(learning_rate=0.1, steps=steps, schedule="cosine"),
        annealing=Annealing(start=1e-3, stages=4, measured=True, halving=True, polish=LBFGS(steps=15)),
        deep=Deep(
            search=Adam(learning_rate=0.4, steps=4 * steps, schedule="cosine"),
            annealing=Annealing(start=1e-2, stages=2, measured=True, halving=True),
            restarts=(restarts + 1) // 2,
        ),
        restarts=restarts,
    )
