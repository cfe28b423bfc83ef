"""The structural similarity (Wang et al., IEEE Transactions on Image Processing 2004, doi 10.1109/TIP.2003.819861, Eq. 13)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from leakgauge.algorithm import algorithm
from leakgauge.errors import UsageError

_RADIUS = 5  # of the paper's 11 x 11 window
_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2  # of the paper, for a range of 1


@final
@algorithm
class SSIM:
    """The structural similarity per example, between -1 and 1, of pixels clamped to [0, 1]; 1 is a perfect copy.

    The paper's constants and Gaussian window (11 x 11, sigma 1.5) at every size; the images are mirrored at their borders, so
    that the window, and the mean, cover small images as well. Sides of at least 6 pixels.
    """

    def __call__(self, guess: Tensor, truth: Tensor, /) -> Tensor:
        """Return [n] for pixels [n, channels, height, width]. Raises UsageError for anything else, or smaller."""
        if truth.ndim != 4 or min(truth.shape[2:]) <= _RADIUS:
            raise UsageError(
                f"metric ssim: got examples of shape {tuple(truth.shape[1:])}, expected [channels, height, width] with sides of at "
                f"least {_RADIUS + 1}; choose mse or psnr"
            )
        x, y = (image.clamp(0, 1).double() for image in (guess, truth))  # variances are differences of means: small and alike
        mean_x, mean_y = _blurred(x), _blurred(y)
        variances = _blurred(x * x) - mean_x**2 + _blurred(y * y) - mean_y**2
        covariance = _blurred(x * y) - mean_x * mean_y
        above = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
        below = (mean_x**2 + mean_y**2 + _C1) * (variances + _C2)
        return (above / below).flatten(1).mean(1).to(truth.dtype)


def _blurred(x: Tensor) -> Tensor:
    """The mean under the window around every pixel of every channel."""
    places = torch.arange(-_RADIUS, _RADIUS + 1, dtype=x.dtype, device=x.device)
    weights = (-(places**2) / (2 * _SIGMA**2)).exp()
    weights = weights / weights.sum()
    flat = pad(x, [_RADIUS] * 4, mode="reflect").flatten(0, 1).unsqueeze(1)
    return conv2d(conv2d(flat, weights.reshape(1, 1, -1, 1)), weights.reshape(1, 1, 1, -1)).reshape(x.shape)
