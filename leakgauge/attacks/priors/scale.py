"""The scale prior: a batch uses its whole range (Geng et al. 2021, "Towards General Deep Leakage", arXiv 2110.09074)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from leakgauge.core.algorithm import NonNegative, algorithm
from leakgauge.core.types import Batch, Observation


@final
@algorithm
class Scale:
    """`weight` times the sum over all pixels of the squared distance to the batch stretched to the allowed range.

    Distances are shares of the width of the range. The stretch takes the smallest pixel of the batch to the bottom of the range and
    the largest one to the top; a batch of a single color has none. The authors' program cuts the gradient of this term; here it
    pulls, and through both ends as well.
    """

    weight: NonNegative = 1.0

    def __call__(self, batch: Batch, seen: Observation, /) -> Tensor:
        """Return the weighted squared distance of the pixels to their stretch."""
        inputs = seen.model.inputs
        x = (batch.x - inputs.low) / (inputs.high - inputs.low)
        low, high = x.amin(), x.amax()
        is_flat = high == low
        stretched = torch.where(is_flat, x, (x - low) / torch.where(is_flat, torch.ones_like(high), high - low))
        return self.weight * (stretched - x).square().sum()
