"""Gradient compression per tensor (Lin et al., ICLR 2018, arXiv 1712.01887; as a defense: Zhu et al., NeurIPS 2019)."""

from __future__ import annotations

from typing import final

from torch import Tensor

from leakgauge.core import tree
from leakgauge.core.algorithm import OpenShare, algorithm
from leakgauge.core.belief import Belief
from leakgauge.core.magnitude import keep_largest
from leakgauge.core.types import Client, Params, Rng
from leakgauge.defenses.magnitude import keep_belief, least_kept
from leakgauge.defenses.transformed import Transformed


@final
@algorithm
class Pruning:
    """Sets the `share` of each tensor's numbers with the smallest magnitude to zero.

    The count is rounded; at least one number of every tensor is kept. No error feedback: the update is the only one.
    """

    share: OpenShare = 0.9

    def protect(self, client: Client, /) -> Client:
        """Return the client with a pruned update."""
        return Transformed(client, self)

    def spread(self, belief: Belief, seen: Params, /) -> Belief:
        """Return the belief in which what is zero was smaller than what is not."""
        limits = tree.apply(least_kept, seen)
        return keep_belief(belief, seen, limits, prune=lambda center: self.transform(center, rng=None))

    def transform(self, delta: Params, /, *, rng: Rng | None) -> Params:
        """Return the pruned numbers; no chance is involved."""
        return tree.apply(self._prune, delta)

    def _prune(self, value: Tensor) -> Tensor:
        return keep_largest(value, max(1, value.numel() - round(self.share * value.numel())))
