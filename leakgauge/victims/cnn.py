"""The small CNN on which the Bayesian framework compares adversaries (Balunovic et al., ICLR 2022, arXiv 2111.04706, Sec. 6)."""

from __future__ import annotations

from typing import final

import torch
from torch import nn

from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.errors import UsageError
from leakgauge.core.types import Inputs, Model, Rng
from leakgauge.victims.initialization import image_shape, initialize


@final
@algorithm
class CNN:
    """Two 3x3 convolutions of `width` and twice as many channels, each with ReLU and a 2x2 mean pool, and two linear layers.

    The first linear layer has `hidden` units with ReLU, the second is the head.
    """

    width: Count = 32
    hidden: Count = 100
    normalize: bool = True

    def build(self, inputs: Inputs, /, *, rng: Rng) -> Model:
        """Return a fresh model. Raises UsageError for images below 4x4, which the pools would reduce to nothing."""
        depth, height, width = image_shape("CNN", inputs)
        if min(height, width) < 4:
            raise UsageError(f"victim: CNN got images of {height}x{width}, expected at least 4x4; choose larger images or mlp")
        with torch.device("meta"):
            net = nn.Sequential(
                nn.Conv2d(depth, self.width, 3, padding=1),
                nn.ReLU(),
                nn.AvgPool2d(2),
                nn.Conv2d(self.width, 2 * self.width, 3, padding=1),
                nn.ReLU(),
                nn.AvgPool2d(2),
                nn.Flatten(),
                nn.Linear(2 * self.width * (height // 4) * (width // 4), self.hidden),
                nn.ReLU(),
                nn.Linear(self.hidden, inputs.classes),
            )
        return initialize(net, inputs, normalize=self.normalize, rng=rng)
