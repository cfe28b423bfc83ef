"""A generator whose code is a style: every convolution is modulated by it (StyleGAN2, Karras et al., CVPR 2020, arXiv 1912.04958).

A mapping network makes the style of the code, and, where there are classes, of the label. Each block doubles the side of its maps
by nearest neighbors, convolves them twice, and adds its own image to the one so far (output skips, Fig. 7b). There is no noise: an
attack wants one image for one code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, final

import torch
from torch import Tensor
from torch.nn import functional

from leakgauge.core import tree
from leakgauge.core.types import Params
from leakgauge.generative.generators.generator import Features

_SLOPE, _GAIN = 0.2, math.sqrt(2)
"""Of the leaky rectifiers, and what keeps the variance behind them."""


class Sizes(NamedTuple):
    """A code of `latent` numbers, a mapping of `mapping` layers, a constant of `side` x `side`, and a block for each width."""

    latent: int
    classes: int
    channels: int
    side: int
    mapping: int
    widths: tuple[int, ...]

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """The names of the parameters, and their shapes."""
        sizes: dict[str, tuple[int, ...]] = {"constant": (self.widths[0], self.side, self.side)}
        for layer in range(self.mapping):
            entering = self.latent + self.classes if layer == 0 else self.latent
            sizes[f"mapping.{layer}.weight"], sizes[f"mapping.{layer}.bias"] = (self.latent, entering), (self.latent,)
        for index, (before, after) in enumerate(zip((self.widths[0], *self.widths[:-1]), self.widths, strict=True)):
            for name, (inputs, outputs, kernel) in {
                "first": (before, after, 3),
                "second": (after, after, 3),
                "image": (after, self.channels, 1),
            }.items():
                sizes[f"{index}.{name}.weight"] = (outputs, inputs, kernel, kernel)
                sizes[f"{index}.{name}.bias"] = (outputs,)
                sizes[f"{index}.{name}.style.weight"] = (inputs, self.latent)
                sizes[f"{index}.{name}.style.bias"] = (inputs,)
        return sizes


@final
@dataclass(frozen=True)
class Style:
    """The generator of these sizes, with its weights. Maps and the image so far go on together, the image's channels last."""

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
        side = self.sizes.side * 2 ** (len(self.sizes.widths) - 1)
        return self.sizes.channels, side, side

    @property
    def blocks(self) -> int:
        """A block for each width; the first does not double."""
        return len(self.sizes.widths)

    def to(self, like: Tensor) -> Style:
        """Return the generator with its weights where a tensor is, and of its type."""
        return replace(self, params=tree.apply(lambda value: value.to(like), self.params))

    def enter(self, z: Tensor, labels: Tensor | None) -> Features:
        """Return the constant with an empty image, and the style of the code."""
        style = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        style = style if labels is None else torch.cat([style, labels.to(z)], dim=1)
        for layer in range(self.sizes.mapping):
            style = _rectified(
                functional.linear(style, self.params[f"mapping.{layer}.weight"], self.params[f"mapping.{layer}.bias"])
            )
        constant = self.params["constant"].expand(len(z), -1, -1, -1)
        return Features(torch.cat([constant, constant.new_zeros(len(z), self.sizes.channels, *constant.shape[2:])], dim=1), style)

    def block(self, index: int, features: Features) -> Features:
        """Return maps with the image so far; behind the last block, the image in pixels from 0 to 1."""
        assert features.style is not None
        maps, image = features.maps[:, : -self.sizes.channels], features.maps[:, -self.sizes.channels :]
        if index > 0:
            maps, image = (functional.interpolate(one, scale_factor=2.0, mode="nearest") for one in (maps, image))
        maps = _rectified(self._modulated(f"{index}.first", maps, features.style, normalize=True))
        maps = _rectified(self._modulated(f"{index}.second", maps, features.style, normalize=True))
        image = image + self._modulated(f"{index}.image", maps, features.style, normalize=False)
        return Features((image.tanh() + 1) / 2 if index == self.blocks - 1 else torch.cat([maps, image], dim=1), features.style)

    def _modulated(self, name: str, maps: Tensor, style: Tensor, *, normalize: bool) -> Tensor:
        """Convolve with weights that the style scales per input channel, and, normalized, of length 1 per output (Eq. 1 to 3)."""
        scales = functional.linear(style, self.params[f"{name}.style.weight"], self.params[f"{name}.style.bias"])  # [n, inputs]
        weight = self.params[f"{name}.weight"] * scales[:, None, :, None, None]  # [n, outputs, inputs, k, k]
        if normalize:
            weight = weight * (weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        count, outputs, inputs, kernel, _ = weight.shape
        grouped = functional.conv2d(
            maps.reshape(1, count * inputs, *maps.shape[2:]),
            weight.reshape(-1, inputs, kernel, kernel),
            padding=kernel // 2,
            groups=count,
        )
        return grouped.reshape(count, outputs, *maps.shape[2:]) + self.params[f"{name}.bias"][:, None, None]


def _rectified(maps: Tensor) -> Tensor:
    return _GAIN * functional.leaky_relu(maps, _SLOPE)
