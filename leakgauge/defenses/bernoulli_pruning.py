"""Pruning by chance: each number is dropped or kept by a coin (as in Balunovic et al., ICLR 2022, arXiv 2111.04706, Sec. 5)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from leakgauge.core import tree
from leakgauge.core.algorithm import OpenShare, algorithm
from leakgauge.core.belief import Belief
from leakgauge.core.types import Client, Params, Rng
from leakgauge.defenses.transformed import Transformed


@final
@algorithm
class BernoulliPruning:
    """Sets every number to zero with probability `share`, each by a coin of its own, and keeps the others as they are.

    Without an `rng` every number is multiplied by 1 - share, the mean.
    """

    share: OpenShare = 0.5

    def protect(self, client: Client, /) -> Client:
        """Return the client with a pruned update."""
        return Transformed(client, self)

    def spread(self, belief: Belief, seen: Params, /) -> Belief:
        """Return the belief with the chance of a number that was dropped."""
        return belief.or_dropped(self.share) if self.share else belief

    def transform(self, delta: Params, /, *, rng: Rng | None) -> Params:
        """Return the pruned numbers."""
        return tree.apply(lambda value: self._prune(value, rng), delta)

    def _prune(self, value: Tensor, rng: Rng | None) -> Tensor:
        if rng is None:
            return (1 - self.share) * value
        kept = torch.rand(value.shape, generator=rng) >= self.share
        return value * kept.to(value)
