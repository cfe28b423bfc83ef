"""Generative gradient leakage (Li, Zhang, Liu, Liu, CVPR 2022, arXiv 2203.15696, Eq. 4): the best image that a generator makes."""

from __future__ import annotations

from typing import Literal

from leakgauge.attacks.labels.idlg import IDLG
from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.refinement import Refinement
from leakgauge.attacks.replays.estimated import Estimated
from leakgauge.attacks.searches.adam import Adam
from leakgauge.attacks.spaces.latent import Latent
from leakgauge.core.algorithm import Count, NonNegative
from leakgauge.core.protocols import Labels, Likelihood, Replay, Search


def ggl(
    generator: str | None = None,
    likelihood: Likelihood = Gaussian(),
    regularizer: Literal["kl", "norm", "density", "none"] = "kl",
    weight: NonNegative = 0.1,
    labels: Labels = IDLG(),
    replay: Replay = Estimated(),
    search: Search = Adam(learning_rate=0.1, steps=2500, schedule="step"),
    refinement: Refinement | None = None,
    restarts: Count = 1,
) -> Matching:
    """Squared distance and the latent KL over a generator's codes; the defense is estimated from the update and replayed.

    The paper's searches are Adam (2,500 steps), `turbo` (1,000 candidates) and `cma_es` (800 steps of 50), the last two without a
    derivative of what the defense does. `weight` is that of the regularizer; the released code divides the squared distance by
    the number of tensors. Labels are inferred first. With `refinement`, the search goes on in the generator's maps and in pixels.
    """
    return Matching(
        likelihood=likelihood,
        space=Latent(generator=generator, regularizer=regularizer, weight=weight),
        replay=replay,
        labels=labels,
        search=search,
        refinement=refinement,
        restarts=restarts,
    )
