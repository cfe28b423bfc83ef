"""Data leakage in federated averaging (Dimitrov, Balunović, Konstantinov, Vechev, TMLR 2022, arXiv 2206.12395)."""

from __future__ import annotations

from dataclasses import replace

from leakgauge.attacks.copies import Agreement, EpochCopies
from leakgauge.attacks.labels.counts import Counts
from leakgauge.attacks.likelihoods.profiled import Profiled
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.replays.unrolled import Unrolled
from leakgauge.attacks.scale_free import scale_free
from leakgauge.attacks.searches.lbfgs import LBFGS
from leakgauge.core.algorithm import Count, NonNegative
from leakgauge.core.protocols import Labels, Likelihood, Optimizer, Search


def epoch_copies(
    epochs: Count = 4,
    batch_size: Count = 2,
    optimizer: Optimizer | None = None,
    agreement: Agreement = "matched",
    weight: NonNegative = 0.01,
    likelihood: Likelihood = Profiled(),
    total_variation: NonNegative = 1e-3,
    labels: Labels = Counts(),
    search: Search = LBFGS(steps=60),
    restarts: Count = 1,
) -> Matching:
    """Local training with mini-batches of unknown order, replayed on a copy of the batch per epoch that agree with each other.

    The adversary knows, or assumes, how many epochs and how large mini-batches. The paper's knows the learning rate as well,
    compares updates by their squared distance and searches by Adam; here the rate is searched along and the scale profiled out, as
    in `scale_free`. `agreement` and `weight` as in `EpochCopies`.
    """
    replay = Unrolled(epochs=epochs, batch_size=batch_size, optimizer=optimizer)
    attack = scale_free(likelihood, total_variation, labels, replay, search, restarts)
    return replace(attack, copies=EpochCopies(epochs=epochs, agreement=agreement, weight=weight))
