"""The structural similarity (Wang et al., IEEE Transactions on Image Processing 2004, doi 10.1109/TIP.2003.819861)."""

from __future__ import annotations

from typing import cast, final

from torch import Tensor

from leakgauge.algorithm import algorithm
from leakgauge.errors import UsageError

_RADIUS = 5  # of the paper's 11 x 11 window


@final
@algorithm
class SSIM:
    """The structural similarity per example, between -1 and 1, of pixels clamped to [0, 1]; 1 is a perfect copy.

    The paper's constants and Gaussian window (11 x 11, sigma 1.5) at every size; the images are mirrored at their borders, so
    that the window, and the mean, cover small images as well. Sides of at least 6 pixels.
    """

    def __call__(self, guess: Tensor, truth: Tensor, /) -> Tensor:
        """Return [n] for pixels [n, channels, height, width]. Raises UsageError for anything else, or smaller."""
        from torchmetrics.functional.image import structural_similarity_index_measure  # seconds to import

        if truth.ndim != 4 or min(truth.shape[2:]) <= _RADIUS:
            raise UsageError(
                f"metric ssim: got examples of shape {tuple(truth.shape[1:])}, expected [channels, height, width] with sides of at "
                f"least {_RADIUS + 1}; choose mse or psnr"
            )
        scores = structural_similarity_index_measure(
            guess.clamp(0, 1), truth.clamp(0, 1), sigma=1.5, data_range=1.0, reduction="none"
        )
        return cast(Tensor, scores)  # without the full map that it returns on request
