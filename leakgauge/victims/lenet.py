"""The sigmoid LeNet of Deep Leakage from Gradients (Zhu et al., NeurIPS 2019, arXiv 1906.08935, section 4.1)."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import nn

from leakgauge.core.algorithm import Count, Positive, algorithm
from leakgauge.core.types import Inputs, Model, Rng
from leakgauge.victims.initialization import image_shape, initialize


@final
@algorithm
class LeNet:
    """Three 5x5 convolutions of `channels` maps with strides 2, 2, 1, a sigmoid after each, then one linear layer.

    Weights and biases start at U(-bound, bound), wide enough for the sigmoids' gradients not to vanish.
    """

    channels: Count = 12
    bound: Positive = 0.5
    normalize: bool = False

    def build(self, inputs: Inputs, /, *, rng: Rng) -> Model:
        """Return a fresh model for images of any size. Raises UsageError for inputs that are no images."""
        depth, height, width = image_shape("LeNet", inputs)
        size = self.channels * math.ceil(height / 4) * math.ceil(width / 4)
        layers: list[nn.Module] = []
        with torch.device("meta"):
            for stride in (2, 2, 1):
                layers += [nn.Conv2d(depth, self.channels, 5, stride=stride, padding=2), nn.Sigmoid()]
                depth = self.channels
            net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(size, inputs.classes))
        return initialize(net, inputs, normalize=self.normalize, rng=rng, bound=self.bound)
