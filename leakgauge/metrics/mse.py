"""The mean squared error."""

from __future__ import annotations

from typing import final

from torch import Tensor

from leakgauge.core.algorithm import algorithm


@final
@algorithm
class MSE:
    """The mean squared error per example between pixels clamped to [0, 1]; 0 is a perfect copy. A guess of nan scores nan."""

    def __call__(self, guess: Tensor, truth: Tensor, /) -> Tensor:
        """Return [n] for pixels [n, *shape]."""
        return (guess.clamp(0, 1) - truth.clamp(0, 1)).square().flatten(1).mean(1)
