"""LPIPS: distance between deep features (Zhang et al., CVPR 2018, arXiv 1801.03924), with the AlexNet backbone."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from leakgauge.core.algorithm import algorithm
from leakgauge.core.errors import MissingExtra, UsageError

_WEIGHTS = "alexnet-owt-7be5be79.pth"


@final
@algorithm
class LPIPS:
    """The perceptual distance per example; 0 is a perfect copy. Gray images are seen as color images of equal channels.

    It needs AlexNet's published weights in torch's hub folder and never downloads them. Raises UsageError where the file is
    missing, MissingExtra where torchvision is. AlexNet was made for large images: below 32 pixels the distance means little.
    """

    def __call__(self, guess: Tensor, truth: Tensor, /) -> Tensor:
        """Return [n] for pixels [n, 1 or 3, height, width]."""
        _check_weights()
        _check_torchvision()
        if truth.ndim != 4 or truth.shape[1] not in (1, 3) or min(truth.shape[2:]) < 32:
            raise UsageError(
                f"metric lpips: got examples of shape {tuple(truth.shape[1:])}, expected [1 or 3, height, width] with sides of at "
                "least 32; choose ssim"
            )
        from torchmetrics.functional.image.lpips import learned_perceptual_image_patch_similarity

        first, second = (x.clamp(0, 1).expand(-1, 3, -1, -1) for x in (guess, truth))
        with torch.random.fork_rng(devices=[]):  # torchmetrics builds the network anew, which draws from the global generator
            scores = learned_perceptual_image_patch_similarity(first, second, net_type="alex", reduction="none", normalize=True)
        return scores.reshape(len(truth))  # torchmetrics drops the dimension of a single example


def _check_weights() -> None:
    path = Path(torch.hub.get_dir()) / "checkpoints" / _WEIGHTS
    if not path.is_file():
        raise UsageError(
            f"metric lpips: {path} does not exist, expected AlexNet's weights there; put {_WEIGHTS} of "
            "download.pytorch.org/models in that folder, or drop the metric"
        )


def _check_torchvision() -> None:
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError) as error:  # RuntimeError: a build for another torch
        raise MissingExtra("metric lpips", "lpips") from error
