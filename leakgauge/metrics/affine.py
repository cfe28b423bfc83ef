"""A metric that does not see brightness and contrast."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from leakgauge.core.algorithm import algorithm
from leakgauge.core.protocols import Metric


@final
@algorithm
class Affine:
    """The wrapped metric after the best fit a * guess + b to the truth, for each example and channel, clamped to [0, 1].

    Some updates say nothing of brightness and contrast (a BatchNorm on one image removes both), and a guess that is right but
    for these shows the private image all the same. The fit is by least squares in closed form, so it may also turn a negative
    into the image; a flat guess becomes the mean of the truth. The fit sees the truth: compare such scores with one another only.
    """

    metric: Metric

    def __call__(self, guess: Tensor, truth: Tensor, /) -> Tensor:
        """Return the wrapped metric's [n] for pixels [n, *shape]; the first of several dimensions is the channel."""
        return self.metric(fit(guess, truth), truth)


def fit(guess: Tensor, truth: Tensor) -> Tensor:
    """The pixels in [0, 1] nearest to the truth that a gain and an offset per channel make of the guess."""
    g, t = (_channels(value).double() for value in (guess, truth))  # [n, channels, pixels]
    g_mean, t_mean = g.mean(2, keepdim=True), t.mean(2, keepdim=True)
    variance = (g - g_mean).square().mean(2, keepdim=True)
    covariance = ((g - g_mean) * (t - t_mean)).mean(2, keepdim=True)
    flat = variance < 1e-20
    gain = torch.where(flat, 0.0, covariance / torch.where(flat, 1.0, variance))
    return (gain * (g - g_mean) + t_mean).clamp(0, 1).to(guess.dtype).reshape(guess.shape)


def _channels(x: Tensor) -> Tensor:
    return x.flatten(2) if x.ndim > 2 else x.unsqueeze(1)
