"""VGG networks (Simonyan and Zisserman, ICLR 2015, arXiv 1409.1556), with the head of small images."""

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
class VGG:
    """Stages of 3x3 convolutions with ReLU, `blocks[i]` of width `widths[i]`, each with a 2x2 max-pool behind.

    There is none behind a single pixel. As networks for small images have it, and not the paper, one linear layer follows. With
    `batchnorm`, every convolution has a BatchNorm behind it and no bias; without, it is as in the paper.
    """

    blocks: tuple[Count, ...] = (1, 1, 2, 2, 2)
    widths: tuple[Count, ...] = (64, 128, 256, 512, 512)
    batchnorm: bool = False
    normalize: bool = True

    def __post_init__(self) -> None:
        if not self.blocks or len(self.blocks) != len(self.widths):
            raise UsageError(f"VGG.blocks: got {self.blocks} with widths {self.widths}, expected as many as widths, at least one")

    def build(self, inputs: Inputs, /, *, rng: Rng) -> Model:
        """Return a fresh model for images of any size. Raises UsageError for inputs that are no images."""
        before, height, width = image_shape("VGG", inputs)
        layers: list[nn.Module] = []
        with torch.device("meta"):
            for count, after in zip(self.blocks, self.widths, strict=True):
                for _ in range(count):
                    layers.append(nn.Conv2d(before, after, 3, padding=1, bias=not self.batchnorm))
                    layers += [nn.BatchNorm2d(after)] if self.batchnorm else []
                    layers.append(nn.ReLU())
                    before = after
                if min(height, width) > 1:
                    layers.append(nn.MaxPool2d(2))
                    height, width = height // 2, width // 2
            head = nn.Linear(before * height * width, inputs.classes)
        return initialize(nn.Sequential(*layers, nn.Flatten(), head), inputs, normalize=self.normalize, rng=rng)


def vgg11(width: Count = 64, batchnorm: bool = False, normalize: bool = True) -> VGG:
    """VGG-11, `width` maps in the first stage."""
    widths = (width, 2 * width, 4 * width, 8 * width, 8 * width)
    return VGG(blocks=(1, 1, 2, 2, 2), widths=widths, batchnorm=batchnorm, normalize=normalize)
