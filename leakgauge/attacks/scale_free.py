"""Inversion of a weight update of unknown scale: the scale profiled out, local training as it may have been."""

from __future__ import annotations

from leakgauge.attacks.labels.counts import Counts
from leakgauge.attacks.likelihoods.profiled import Profiled
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.attacks.replays.surrogate import Surrogate
from leakgauge.attacks.searches.lbfgs import LBFGS
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.core.algorithm import Count, NonNegative
from leakgauge.core.protocols import Labels, Likelihood, Replay, Search


def scale_free(
    likelihood: Likelihood = Profiled(),
    total_variation: NonNegative = 1e-3,
    labels: Labels = Counts(),
    replay: Replay = Surrogate(pace=0.1),
    search: Search = LBFGS(steps=60),
    restarts: Count = 2,
    enough: NonNegative = 0.0,
) -> Matching:
    """The likelihood at the best scale, total variation, L-BFGS on pixels in range from pink noise, counted labels.

    What DLM and DLM+ suggest, put together: no scale that could collapse, and a gradient that need not be one at the first weights.
    `replay` says what the adversary assumes of local training: one step (`one_gradient` with `scaled: false`), a path
    (`surrogate`), or its steps with an unknown rate (`unrolled`). Against a client with Adam, take `sign_agreement` as likelihood.
    """
    return Matching(
        likelihood=likelihood,
        priors=(TotalVariation(weight=total_variation),),
        space=Pixels(start_from="pink"),
        replay=replay,
        labels=labels,
        search=search,
        restarts=restarts,
        enough=enough,
    )
