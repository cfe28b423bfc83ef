"""The networks of a training: the generator with its BatchNorm, the critic of a GAN, the encoder of an auto-encoder.

Layers and widths are those of GGL (Li et al., CVPR 2022, Sec. 4); labels come in as maps that are 1 in their class's channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from leakgauge.core.rng import normal_like
from leakgauge.core.types import Params, Rng
from leakgauge.generative.generators.deconvolution import Sizes

_SLOPE = 0.2
"""Of the leaky rectifiers, below 0."""
_SPREAD = 0.02
"""Of fresh weights (DCGAN, Radford et al., ICLR 2016, Sec. 3)."""


@final
class Trainable(nn.Module):
    """The generator of these sizes, normalized by the batch while it is trained; images are in [0, 1]."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        first, *_ = sizes.widths
        self.code = nn.Linear(sizes.latent + sizes.classes, first * sizes.side**2)
        self.norms = nn.ModuleList([nn.BatchNorm1d(first * sizes.side**2), *(nn.BatchNorm2d(width) for width in sizes.widths[1:])])
        outs = (*sizes.widths[1:], sizes.channels)
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(before, after, sizes.kernel, stride=2, padding=sizes.kernel // 2 - 1)
            for before, after in zip(sizes.widths, outs, strict=True)
        )

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Images [n, c, h, w] of codes [n, latent] and labels [n, classes], of no columns where there are no classes."""
        maps = functional.relu(self.norms[0](self.code(torch.cat([z, labels], dim=1))))
        maps = maps.reshape(len(z), self.sizes.widths[0], self.sizes.side, self.sizes.side)
        for grow, norm in zip(self.grow[:-1], self.norms[1:], strict=True):
            maps = functional.relu(norm(grow(maps)))
        image: Tensor = self.grow[-1](maps)
        return (image.tanh() + 1) / 2

    def folded(self) -> Params:
        """The weights of `Deconvolution`: BatchNorm with its running statistics is a gain and an offset of what comes before."""
        params: dict[str, Tensor] = {}
        layers = [self.code, *self.grow]
        for index, layer in enumerate(layers):
            weight, bias = layer.weight.detach(), layer.bias.detach()
            if index < len(self.norms):
                weight, bias = fold(weight, bias, self.norms[index])
            params[f"{index}.weight"], params[f"{index}.bias"] = weight.clone(), bias.clone()
        return params


@final
class Strided(nn.Module):
    """Convolutions of stride 2 down to a map, and a linear layer: a critic with 1 output, an encoder with two per code number."""

    def __init__(self, channels: int, classes: int, side: int, widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        befores = (channels + classes, *widths[:-1])
        self.shrink = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in zip(befores, widths, strict=True)
        )
        for _ in widths:
            side = -(-side // 2)
        self.out = nn.Linear(widths[-1] * side**2, outputs)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Numbers [n, outputs] of images in [0, 1] and labels [n, classes]."""
        planes = labels[:, :, None, None].expand(-1, -1, *x.shape[2:])
        maps = torch.cat([2 * x - 1, planes], dim=1)
        for shrink in self.shrink:
            maps = functional.leaky_relu(shrink(maps), _SLOPE)
        out: Tensor = self.out(maps.flatten(1))
        return out


def fold(weight: Tensor, bias: Tensor, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return a layer's weight and bias with the BatchNorm behind it made part of them.

    A linear weight is [units, inputs]; a deconvolution's [inputs, channels, kernel, kernel].
    """
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight.detach() * (norm.running_var + norm.eps).rsqrt()
    axis = 0 if weight.ndim == 2 else 1
    along = gain.reshape([-1 if place == axis else 1 for place in range(weight.ndim)])
    return weight * along, (bias - norm.running_mean) * gain + norm.bias.detach()


def start(network: nn.Module, rng: Rng) -> nn.Module:
    """Draw the weights of a network from `rng`: normal numbers, biases 0, gains 1."""
    with torch.no_grad():
        for name, value in network.named_parameters():
            if value.ndim > 1:
                value.copy_(_SPREAD * normal_like(value, rng))
            else:
                value.fill_(1.0 if "norms" in name and name.endswith("weight") else 0.0)
    return network
