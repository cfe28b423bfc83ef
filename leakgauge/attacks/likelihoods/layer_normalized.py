"""DLM+'s match of directions: both updates are divided by their mean layer norm (Zhao et al., CPAL 2024, arXiv 2206.04887)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from leakgauge.core.algorithm import Positive, algorithm
from leakgauge.core.types import Params


@final
@algorithm
class LayerNormalized:
    """`weight` times the sum over layers of |g / n(g) - D / n(D)|^2, where n is the mean over layers of their norms.

    It is blind to the scale of either update, not to their sign, and has no unknown that could collapse.
    """

    weight: Positive = 1.0

    def __call__(self, guess: Params, seen: Params, /) -> Tensor:
        """Return the weighted squared distance of the normalized updates over the tensors that were seen."""
        ours, theirs = _mean_norm([guess[name] for name in seen]), _mean_norm(list(seen.values()))
        return (
            self.weight * torch.stack([(guess[name] / ours - value / theirs).square().sum() for name, value in seen.items()]).sum()
        )


def _mean_norm(layers: list[Tensor]) -> Tensor:
    squares = torch.stack([layer.square().sum() for layer in layers])
    # A layer without a gradient must not turn the derivative of its norm into nan.
    return (
        torch.where(squares > 0, torch.where(squares > 0, squares, 1).sqrt(), 0).mean().clamp_min(torch.finfo(squares.dtype).tiny)
    )
