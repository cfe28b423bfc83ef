"""The ConvNet of Inverting Gradients (Geiping et al., NeurIPS 2020, arXiv 2003.14053, section 5)."""

from __future__ import annotations

from typing import final

import torch
from torch import nn

from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.errors import UsageError
from leakgauge.core.types import Inputs, Model, Rng
from leakgauge.victims.initialization import image_shape, initialize

_WIDTHS = (1, 2, 2, 4, 4, 4, 4, 4)
_POOLED_AFTER = (5, 7)


@final
@algorithm
class ConvNet:
    """Eight 3x3 convolutions with BatchNorm and ReLU, two 3x3 max-pools and one linear layer; `width` is that of the first."""

    width: Count = 64
    normalize: bool = True

    def build(self, inputs: Inputs, /, *, rng: Rng) -> Model:
        """Return a fresh model. Raises UsageError for images below 9x9, which the pools would reduce to nothing."""
        depth, height, width = image_shape("ConvNet", inputs)
        if min(height, width) < 9:
            raise UsageError(
                f"victim: ConvNet got images of {height}x{width}, expected at least 9x9; choose larger images or lenet"
            )
        layers: list[nn.Module] = []
        with torch.device("meta"):
            for index, factor in enumerate(_WIDTHS):
                after = factor * self.width
                layers += [nn.Conv2d(depth, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
                if index in _POOLED_AFTER:
                    layers.append(nn.MaxPool2d(3))
                depth = after
            net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(depth * (height // 9) * (width // 9), inputs.classes))
        return initialize(net, inputs, normalize=self.normalize, rng=rng)
