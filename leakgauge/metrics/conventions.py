"""From the MSE of pixels in [0, 1] to the PSNR that a paper would have printed: its numbers compare with no other convention.

Each function takes one example's MSE. What a paper measured cannot be had where it did not clamp: its MSE is then larger than
the one given here (Geng et al., arXiv 2110.09074, neither clamp nor state the data range).
"""

from __future__ import annotations

from math import inf, log10, sqrt

_CIFAR100_STD = (0.2673342858792401, 0.2564384629170883, 0.27615047132568404)


def unit(mse: float) -> float:
    """Peak 1 on [0, 1], as in this package and in Balunovic et al. (ICLR 2022, arXiv 2111.04706)."""
    return _decibel(1.0, mse)


def dlm(mse: float) -> float:
    """Peak 1/std per channel although the images are not normalized (released code of Zhao et al., CPAL 2024, arXiv 2206.04887).

    The channel values are averaged; with the standard deviations of CIFAR-100 this adds 11.49 dB.
    """
    return sum(_decibel(1 / std, mse) for std in _CIFAR100_STD) / len(_CIFAR100_STD)


def ggl(mse: float) -> float:
    """Peak 1 on images in [-1, 1], whose MSE is four times as large (Li et al., CVPR 2022, arXiv 2203.15696): 6.02 dB less."""
    return _decibel(1.0, 4 * mse)


def fedkl(mse: float) -> float:
    """10 log10(255^2 / RMSE), the root where the square belongs, on 0 to 255 (released code of Ren et al., arXiv 2305.04095).

    Their column "MSE" is the RMSE as well.
    """
    return _decibel(255.0, 255 * sqrt(mse))


def _decibel(peak: float, error: float) -> float:
    return 10 * log10(peak**2 / error) if error > 0 else inf
