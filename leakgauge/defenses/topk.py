"""Top-k sparsification over the whole update (Aji and Heafield, EMNLP 2017, arXiv 1704.05021)."""

from __future__ import annotations

from typing import Annotated, final

import annotated_types as at
import torch

from leakgauge.core import tree
from leakgauge.core.algorithm import algorithm
from leakgauge.core.belief import Belief
from leakgauge.core.magnitude import keep_largest
from leakgauge.core.types import Client, Params, Rng
from leakgauge.defenses.magnitude import keep_belief, least_kept
from leakgauge.defenses.transformed import Transformed


@final
@algorithm
class TopK:
    """Sends the `share` of the numbers with the largest magnitude, over all tensors together, and zero for the others.

    The count is rounded, and at least 1. Nothing is carried over to a later round: the update is the only one.
    """

    share: Annotated[float, at.Gt(0), at.Le(1)] = 0.1

    def protect(self, client: Client, /) -> Client:
        """Return the client with a sparse update."""
        return Transformed(client, self)

    def spread(self, belief: Belief, seen: Params, /) -> Belief:
        """Return the belief in which what is zero was smaller than what is not."""
        limits = dict.fromkeys(seen, least_kept(tree.flatten(seen)))
        return keep_belief(belief, seen, limits, prune=lambda center: self.transform(center, rng=None))

    def transform(self, delta: Params, /, *, rng: Rng | None) -> Params:
        """Return the sparse numbers; no chance is involved."""
        flat = tree.flatten(delta)
        sparse = keep_largest(flat, max(1, round(self.share * flat.numel())))
        parts = torch.split(sparse, [value.numel() for value in delta.values()])
        return {name: part.reshape(value.shape) for (name, value), part in zip(delta.items(), parts, strict=True)}
