"""Residual networks with the stem for small images (He et al., CVPR 2016, arXiv 1512.03385, section 4.2)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.errors import UsageError
from leakgauge.core.types import Inputs, Model, Rng
from leakgauge.victims.initialization import image_shape, initialize


@final
@algorithm
class ResNet:
    """Basic residual blocks with BatchNorm: `blocks[i]` blocks of width `widths[i]`, each stage but the first halving the image.

    The stem is one 3x3 convolution without max-pool; where the shape changes, the shortcut is a strided 1x1 convolution.
    """

    blocks: tuple[Count, ...] = (2, 2, 2, 2)
    widths: tuple[Count, ...] = (64, 128, 256, 512)
    normalize: bool = True

    def __post_init__(self) -> None:
        if not self.blocks or len(self.blocks) != len(self.widths) or min(*self.blocks, *self.widths) < 1:
            raise UsageError(
                f"ResNet.blocks: got {self.blocks} with widths {self.widths}, expected as many as widths, at least one, all >= 1"
            )

    def build(self, inputs: Inputs, /, *, rng: Rng) -> Model:
        """Return a fresh model for images of any size. Raises UsageError for inputs that are no images."""
        channels, _, _ = image_shape("ResNet", inputs)
        before = self.widths[0]
        stages: list[nn.Module] = []
        with torch.device("meta"):
            stem = (nn.Conv2d(channels, before, 3, padding=1, bias=False), nn.BatchNorm2d(before), nn.ReLU())
            for stage, (count, width) in enumerate(zip(self.blocks, self.widths, strict=True)):
                for block in range(count):
                    stages.append(_Block(before, width, stride=2 if stage > 0 and block == 0 else 1))
                    before = width
            head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, inputs.classes))
        return initialize(nn.Sequential(*stem, *stages, *head), inputs, normalize=self.normalize, rng=rng)


def resnet18(width: Count = 64, normalize: bool = True) -> ResNet:
    """ResNet-18 for small images, `width` maps in the first stage."""
    return ResNet(blocks=(2, 2, 2, 2), widths=(width, 2 * width, 4 * width, 8 * width), normalize=normalize)


def resnet20(width: Count = 16, normalize: bool = True) -> ResNet:
    """ResNet-20; departs from the paper in its shortcuts, which are 1x1 convolutions (option B) and no zero padding (option A)."""
    return ResNet(blocks=(3, 3, 3), widths=(width, 2 * width, 4 * width), normalize=normalize)


class _Block(nn.Module):
    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm2(self.conv2(relu(self.norm1(self.conv1(x)))))
        return relu(inner + self.shortcut(x))
