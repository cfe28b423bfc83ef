"""The total-variation prior: neighboring pixels agree (Inverting Gradients, Geiping et al., NeurIPS 2020, Eq. 4)."""

from __future__ import annotations

from typing import final

from torch import Tensor

from leakgauge.core.algorithm import NonNegative, algorithm
from leakgauge.core.types import Batch, Observation


@final
@algorithm
class TotalVariation:
    """`weight` times the mean absolute difference of horizontal plus that of vertical neighbors, in normalized pixels."""

    weight: NonNegative = 0.1

    def __call__(self, batch: Batch, seen: Observation, /) -> Tensor:
        """Return the weighted variation of the images."""
        pixels = seen.model.inputs.normalize(batch.x)
        return self.weight * (pixels.diff(dim=-1).abs().mean() + pixels.diff(dim=-2).abs().mean())
