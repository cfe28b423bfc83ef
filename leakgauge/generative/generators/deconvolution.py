"""A generator of deconvolutions (DCGAN, Radford, Metz, Chintala, ICLR 2016, arXiv 1511.06434; GGL, Li et al., CVPR 2022, Sec. 4).

The code, joined by the label where there are classes (Mirza and Osindero 2014, arXiv 1411.1784), becomes a small map of many
channels, and each deconvolution doubles its side. BatchNorm is folded into the weights: a generator that attacks is not trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, final

import torch
from torch import Tensor
from torch.nn import functional

from leakgauge.core import tree
from leakgauge.core.types import Params
from leakgauge.generative.generators.generator import Features


class Sizes(NamedTuple):
    """A code of `latent` numbers and one of `classes`, a map of `side` x `side`, then `widths` channels, at last the image's."""

    latent: int
    classes: int
    channels: int
    side: int
    kernel: int  # of every deconvolution, of stride 2: even
    widths: tuple[int, ...]

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """The names of the parameters, and their shapes."""
        first = self.widths[0] * self.side**2
        sizes: dict[str, tuple[int, ...]] = {"0.weight": (first, self.latent + self.classes), "0.bias": (first,)}
        for index, (before, after) in enumerate(zip(self.widths, (*self.widths[1:], self.channels), strict=True), start=1):
            sizes[f"{index}.weight"], sizes[f"{index}.bias"] = (before, after, self.kernel, self.kernel), (after,)
        return sizes


@final
@dataclass(frozen=True)
class Deconvolution:
    """The generator of these sizes, with its weights."""

    sizes: Sizes
    params: Params
    made: Mapping[str, str] = field(default_factory=dict)
    learned: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    @property
    def latent(self) -> int:
        """How many numbers a code has."""
        return self.sizes.latent

    @property
    def classes(self) -> int:
        """How many classes it knows; 0 where it knows none."""
        return self.sizes.classes

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of its images."""
        side = self.sizes.side * 2 ** len(self.sizes.widths)
        return self.sizes.channels, side, side

    @property
    def blocks(self) -> int:
        """The map of the code, and the deconvolutions."""
        return 1 + len(self.sizes.widths)

    def to(self, like: Tensor) -> Deconvolution:
        """Return the generator with its weights where a tensor is, and of its type."""
        return replace(self, params=tree.apply(lambda value: value.to(like), self.params))

    def enter(self, z: Tensor, labels: Tensor | None) -> Features:
        """Return the code, joined by the label where there are classes."""
        return Features(z if labels is None else torch.cat([z, labels.to(z)], dim=1))

    def block(self, index: int, features: Features) -> Features:
        """Return rectified maps, and pixels from 0 to 1 behind the last block."""
        weight, bias = self.params[f"{index}.weight"], self.params[f"{index}.bias"]
        if index == 0:
            maps = functional.linear(features.maps, weight, bias).reshape(
                -1, self.sizes.widths[0], self.sizes.side, self.sizes.side
            )
        else:
            maps = functional.conv_transpose2d(features.maps, weight, bias, stride=2, padding=self.sizes.kernel // 2 - 1)
        return Features((maps.tanh() + 1) / 2 if index == self.blocks - 1 else maps.relu())
