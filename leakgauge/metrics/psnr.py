"""The peak signal-to-noise ratio."""

from __future__ import annotations

from typing import final

from torch import Tensor

from leakgauge.core.algorithm import algorithm
from leakgauge.metrics.mse import MSE


@final
@algorithm
class PSNR:
    """10 log10(1 / MSE) in dB per example, peak 1, between pixels clamped to [0, 1]; more is better.

    An MSE below 1e-12 counts as 1e-12, so that a perfect copy scores 120 dB. Papers measure otherwise: see `conventions`.
    """

    def __call__(self, guess: Tensor, truth: Tensor, /) -> Tensor:
        """Return [n] in dB for pixels [n, *shape]."""
        return -10 * MSE()(guess, truth).clamp(min=1e-12).log10()
