"""The total-variation prior: neighboring pixels agree (Inverting Gradients, Geiping et al., NeurIPS 2020, Eq. 4)."""

from __future__ import annotations

from typing import final

from torch import Tensor

from leakgauge.core.algorithm import NonNegative, algorithm
from leakgauge.core.types import Batch, Observation


@final
@algorithm
class TotalVariation:
    """`weight` times the mean absolute difference of neighbors along each side, summed over the sides, in normalized pixels.

    An image has two sides, a series [channels, length] one, a volume three; a vector has none, and no variation.
    """

    weight: NonNegative = 0.1

    def __call__(self, batch: Batch, seen: Observation, /) -> Tensor:
        """Return the weighted variation of the images, their mean."""
        return self.each(batch, seen).mean()

    def each(self, batch: Batch, seen: Observation, /) -> Tensor:
        """Return the weighted variation of each image, [n]."""
        pixels = seen.model.inputs.normalize(batch.x)
        sides = [side for side in range(pixels.dim() - 1, 1, -1) if pixels.shape[side] > 1]
        nothing = 0 * pixels.flatten(1).sum(dim=1)
        return self.weight * sum((pixels.diff(dim=side).abs().flatten(1).mean(dim=1) for side in sides), start=nothing)
