"""The L2 prior: normalized pixels are small (GradInversion, Yin et al., CVPR 2021, Eq. 9)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from leakgauge.algorithm import NonNegative, algorithm
from leakgauge.types import Observation


@final
@algorithm
class L2:
    """`weight` times the mean over examples of their norm in normalized pixels."""

    weight: NonNegative = 1e-6

    def __call__(self, x: Tensor, seen: Observation, /) -> Tensor:
        """Return the weighted mean norm of pixels [n, *shape]."""
        norms: Tensor = torch.linalg.vector_norm(seen.model.inputs.normalize(x).flatten(1), dim=1)
        return self.weight * norms.mean()
