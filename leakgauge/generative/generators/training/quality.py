"""How good a generator is: how far its images are from given ones as a whole, and how near it comes to single ones."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from leakgauge.core.rng import normal_like, stream
from leakgauge.core.types import Rng
from leakgauge.generative.generators.generator import Generator, images

_WIDTHS = (32, 64, 128)
_AT_ONCE = 256
_RATE, _STEPS = 0.1, 300
"""Of Adam on the codes, at a rate that falls to 0 along a cosine."""


@final
class RandomFeatures(nn.Module):
    """Means and deviations of the maps of a convolutional network whose weights were drawn once and stay.

    Features that no training has to make: they are at hand for images of any size and channels, gray or color, and their distances
    compare generators of one kind of images. They are no Inception features, so distances are not those of the literature.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        rng = stream(0, "random features")
        self.num_features = 2 * sum(_WIDTHS)
        befores = (channels, *_WIDTHS[:-1])
        self.weights = [_drawn(after, before, rng) for before, after in zip(befores, _WIDTHS, strict=True)]

    def forward(self, x: Tensor) -> Tensor:
        """Features [n, num_features] of images [n, c, h, w] in [0, 1]."""
        maps, found = 2 * x - 1, []
        for weight in self.weights:
            maps = functional.relu(functional.conv2d(maps, weight, stride=2, padding=1))
            deviation, mean = torch.std_mean(maps, dim=(2, 3), correction=0)
            found += [mean, deviation]
        return torch.cat(found, dim=1)


def _drawn(after: int, before: int, rng: Rng) -> Tensor:
    weight = torch.empty(after, before, 3, 3)
    drawn: Tensor = normal_like(weight, rng) * (2 / (9 * before)) ** 0.5
    return drawn


@torch.no_grad()
def frechet(x: Tensor, other: Tensor) -> float:
    """Return the Fréchet distance of two sets of images [n, c, h, w] in [0, 1], of normal distributions of `RandomFeatures`.

    |m - m'|^2 + tr(S + S' - 2 (S S')^1/2), with means m and covariances S (Heusel et al., NeurIPS 2017, arXiv 1706.08500, Eq. 6).
    Sets of a few hundred images overestimate it: compare sets of one size.
    """
    network = RandomFeatures(x.shape[1])
    one, two = (torch.cat([network(part) for part in torch.split(images_, _AT_ONCE)]).double() for images_ in (x, other))
    shift = (one.mean(dim=0) - two.mean(dim=0)).square().sum()
    first, second = torch.cov(one.T), torch.cov(two.T)
    # The root's trace is that of the roots of the eigenvalues of the product, real and not negative up to rounding.
    root = torch.linalg.eigvals(first @ second).real.clamp(min=0).sqrt().sum()
    return float(shift + first.trace() + second.trace() - 2 * root)


def fits(generator: Generator, x: Tensor, labels: Tensor | None) -> Tensor:
    """Return the PSNR [n], in dB, of the nearest images of a generator to given ones, as far as a search of their codes finds them.

    Labels are shares [n, classes] where the generator knows classes, else None.
    """
    z = torch.zeros(len(x), generator.latent, requires_grad=True)
    adam = torch.optim.Adam([z], lr=_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, _STEPS)
    for _ in range(_STEPS):
        adam.zero_grad()
        (images(generator, z, labels) - x).square().sum().backward()
        adam.step()
        schedule.step()
    with torch.no_grad():
        return psnr(images(generator, z, labels), x)


def psnr(guess: Tensor, x: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio [n] of images in [0, 1], in dB."""
    return -10 * (guess - x).square().flatten(1).mean(dim=1).log10()
