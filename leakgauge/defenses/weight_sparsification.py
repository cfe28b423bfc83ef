"""Sparsification of the weights (Zhao, Luo, Ding: DLM, CPAL 2024, arXiv 2206.04887)."""

from __future__ import annotations

import math
from typing import final

from torch import Tensor

from leakgauge.core import tree
from leakgauge.core.algorithm import OpenShare, algorithm
from leakgauge.core.belief import Belief
from leakgauge.core.noise import Silent
from leakgauge.core.types import Client, Params, Rng
from leakgauge.core.weights import jumps
from leakgauge.defenses.sent_weights import Cloaked


@final
@algorithm
class WeightSparsification:
    """Sets the weights below the quantile `share` of their tensor's magnitudes to zero, before training and after, each by itself.

    A number that is zero in both says nothing; one that falls below the quantile in one of them jumps by its whole magnitude, far
    more than by a step of training. Numbers equal to the quantile stay.
    """

    share: OpenShare = 0.05

    def protect(self, client: Client, /) -> Client:
        """Return the client with both of its snapshots sparsified."""
        return Cloaked(client, self)

    def spread(self, belief: Belief, seen: Params, before: Params, /) -> Belief:
        """Return the belief in which numbers that are zero in one snapshot, or in both, say nothing."""
        lost = {name: jumps(before[name], value) | ((before[name] == 0) & (value == 0)) for name, value in seen.items()}
        return belief.by_tensor(lambda name, noise: Silent(noise, lost[name]) if name in lost else noise)

    def cloak(self, weights: Params, /, *, rng: Rng | None) -> Params:
        """Return the sparse weights; no chance is involved. Gradients pass to the numbers that are kept."""
        return tree.apply(self._sparsify, weights)

    def _sparsify(self, value: Tensor) -> Tensor:
        size = value.detach().abs().reshape(-1)
        # The smallest number that is not below the interpolated quantile, which torch computes for 2^24 numbers at most.
        place = math.ceil(self.share * (len(size) - 1) - 1e-9)
        return value * (value.detach().abs() >= size.kthvalue(place + 1).values)
