"""GradInversion, "See through Gradients" (Yin et al., CVPR 2021, arXiv 2104.07586, Eqs. 2 to 12)."""

from __future__ import annotations

from leakgauge.attacks.group import GroupConsistency
from leakgauge.attacks.labels.gradinversion import GradInversionRule
from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.priors.batchnorm import BatchNormStatistics
from leakgauge.attacks.priors.l2 import L2
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.searches.adam import Adam
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.core.algorithm import Count, NonNegative, Positive
from leakgauge.core.protocols import Labels, Replay


def gradinversion(
    steps: Count = 20_000,
    learning_rate: Positive = 0.1,
    gradient: Positive = 1e-4,
    total_variation: NonNegative = 1e-4,
    l2: NonNegative = 1e-6,
    batchnorm: NonNegative = 0.1,
    group: GroupConsistency | None = GroupConsistency(),
    labels: Labels = GradInversionRule(),
    replay: Replay = Granted(),
) -> Matching:
    """Squared gradient distance with TV, L2, BatchNorm and group-consistency priors, Adam with Langevin noise.

    The paper registers the group by RANSAC flow; here it is registered by whole-pixel shifts (see GroupConsistency). Its weights
    are for ImageNet-sized networks: on small ones the noise drowns a gradient term of 1e-4, and `gradient` wants to be 1 to 100.
    """
    return Matching(
        likelihood=Gaussian(weight=gradient),
        priors=(TotalVariation(weight=total_variation), L2(weight=l2), BatchNormStatistics(weight=batchnorm)),
        space=Pixels(),
        replay=replay,
        labels=labels,
        search=Adam(learning_rate=learning_rate, steps=steps, schedule="cosine", warmup=50, langevin=0.01),
        group=group,
    )
