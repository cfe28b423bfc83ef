"""The Laplace likelihood: absolute distance."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from leakgauge.core.algorithm import Positive, algorithm
from leakgauge.core.types import Params


@final
@algorithm
class Laplace:
    """`weight` times the sum over layers of the absolute distance; noise of scale b means weight 1 / b."""

    weight: Positive = 1.0

    def __call__(self, guess: Params, seen: Params, /) -> Tensor:
        """Return the weighted absolute distance over the tensors that were seen."""
        return self.weight * torch.stack([(guess[name] - value).abs().sum() for name, value in seen.items()]).sum()
