"""The clip prior: pixels lie in their range (Geng et al. 2021, "Towards General Deep Leakage", arXiv 2110.09074)."""

from __future__ import annotations

from typing import final

from torch import Tensor

from leakgauge.core.algorithm import NonNegative, algorithm
from leakgauge.core.types import Batch, Observation


@final
@algorithm
class Clip:
    """`weight` times the sum over all pixels of the squared distance to the allowed range, as a share of its width.

    It has a say in spaces that are not boxed. The authors' program cuts its gradient; here it pulls.
    """

    weight: NonNegative = 1.0

    def __call__(self, batch: Batch, seen: Observation, /) -> Tensor:
        """Return the weighted squared excess of the pixels."""
        inputs = seen.model.inputs
        excess = (batch.x - batch.x.clamp(inputs.low, inputs.high)) / (inputs.high - inputs.low)
        return self.weight * excess.square().sum()
