"""Clipping of the whole update (Pascanu et al., ICML 2013, arXiv 1211.5063; per client: McMahan et al., ICLR 2018)."""

from __future__ import annotations

from typing import final

from leakgauge.core import tree
from leakgauge.core.algorithm import Positive, algorithm
from leakgauge.core.belief import Belief
from leakgauge.core.types import Client, Params, Rng
from leakgauge.defenses.transformed import Transformed


@final
@algorithm
class Clipping:
    """Scales the update down to an L2 norm, over all tensors together, of at most `norm`."""

    norm: Positive = 1.0

    def protect(self, client: Client, /) -> Client:
        """Return the client with a clipped update."""
        return Transformed(client, self)

    def spread(self, belief: Belief, seen: Params, /) -> Belief:
        """Return the belief about clipped numbers; an update that stayed below the norm was not clipped, noise or none."""
        if not belief.is_exact and float(tree.squared_norm(seen)) < self.norm**2 * (1 - 1e-5):
            return belief
        return belief.moved(lambda center: self.transform(center, rng=None))

    def transform(self, delta: Params, /, *, rng: Rng | None) -> Params:
        """Return the clipped numbers; no chance is involved."""
        # The clamp is on the square: a norm has no derivative at 0, and a replay must not turn into nan there.
        excess = (tree.squared_norm(delta) / self.norm**2).clamp(min=1)
        return tree.apply(lambda value: value * excess.rsqrt(), delta)
