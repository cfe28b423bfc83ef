"""The Gaussian likelihood: squared distance (DLG, Zhu et al., NeurIPS 2019, Eq. 3)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from leakgauge.attacks.engine.products import Products
from leakgauge.core.algorithm import Positive, algorithm
from leakgauge.core.types import Params


@final
@algorithm
class Gaussian:
    """`weight` times the sum over layers of the squared distance; noise of variance s^2 means weight 1 / (2 s^2)."""

    weight: Positive = 1.0

    def __call__(self, guess: Params, seen: Params, /) -> Tensor:
        """Return the weighted squared distance over the tensors that were seen."""
        return self.weight * torch.stack([(guess[name] - value).square().sum() for name, value in seen.items()]).sum()

    def compare(self, found: Products, /) -> Tensor:
        """Return the weighted squared distance of each candidate."""
        dots, squares, target = found.total()
        return self.weight * (squares - 2 * found.unit * dots + found.unit**2 * target)
