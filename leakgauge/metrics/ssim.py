"""The structural similarity (Wang et al., IEEE Transactions on Image Processing 2004, doi 10.1109/TIP.2003.819861, Eq. 13)."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from skimage.metrics import structural_similarity
from torch import Tensor
from torch.nn.functional import pad

from leakgauge.core.algorithm import algorithm
from leakgauge.core.errors import UsageError

_RADIUS = 5  # of the paper's 11 x 11 window
_SETTINGS: dict[str, Any] = {  # the paper's
    "gaussian_weights": True,
    "sigma": 1.5,
    "use_sample_covariance": False,
    "data_range": 1.0,
    "channel_axis": 0,
}


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
        pairs = zip(_mirrored(guess), _mirrored(truth), strict=True)
        return truth.new_tensor([structural_similarity(one, other, **_SETTINGS) for one, other in pairs])


def _mirrored(x: Tensor) -> np.ndarray:
    """Pixels with a border of a window's radius, which scikit-image leaves out of its mean."""
    return pad(x.clamp(0, 1).double(), [_RADIUS] * 4, mode="reflect").cpu().numpy()
