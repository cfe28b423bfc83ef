"""QSGD: unbiased stochastic quantization (Alistarh et al., NeurIPS 2017, arXiv 1610.02132, section 3.1)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from leakgauge.core import tree
from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.belief import Belief
from leakgauge.core.noise import Rounded
from leakgauge.core.types import Client, Params, Rng
from leakgauge.defenses.magnitude import least_kept
from leakgauge.defenses.transformed import Transformed


@final
@algorithm
class QSGD:
    """Rounds each number, by chance and without bias, to one of `levels` fractions of its tensor's L2 norm, keeping the sign.

    Without an `rng` nothing is rounded, which is the expectation. With one, gradients pass straight through the rounding.
    """

    levels: Count = 16

    def protect(self, client: Client, /) -> Client:
        """Return the client with a quantized update."""
        return Transformed(client, self)

    def spread(self, belief: Belief, seen: Params, /) -> Belief:
        """Return the belief about rounded numbers."""
        return belief.moved(lambda center: center).by_tensor(lambda name, _: Rounded(self._unit(seen[name])))

    def transform(self, delta: Params, /, *, rng: Rng | None) -> Params:
        """Return the quantized numbers."""
        return delta if rng is None else tree.apply(lambda value: self._quantize(value, rng), delta)

    def _unit(self, seen: Tensor) -> Tensor:
        """The largest number of which all that were seen are multiples: one level."""
        sizes, least = seen.abs(), least_kept(seen).clamp_min(torch.finfo(seen.dtype).tiny)
        for level in range(1, self.levels + 1):
            multiples = sizes * (level / least)
            if bool(((multiples - multiples.round()).abs() < _WHOLE).all()):
                return least / level
        return least

    def _quantize(self, value: Tensor, rng: Rng) -> Tensor:
        number = value.detach()
        norm: Tensor = torch.linalg.vector_norm(number)
        position = self.levels * (number.abs() / torch.where(norm > 0, norm, 1)).clamp(max=1)
        chance = torch.rand(number.shape, generator=rng, dtype=number.dtype).to(number.device)
        level = position.floor() + (chance < position.frac())
        return norm * number.sign() * level / self.levels + (value - number)


_WHOLE = 0.01
"""How far a whole number may be off by rounding."""
