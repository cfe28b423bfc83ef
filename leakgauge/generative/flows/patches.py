"""Cut patches out of images: a grid of them, or some at random.

A density is of numbers that may lie anywhere, pixels of 8 bits lie on a lattice: a level of 0 to 255 stands for the 256th of the
range that it is rounded from. So patches are fitted with uniform noise of one level, and evaluated in its middle.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from leakgauge.core.rng import normal_like
from leakgauge.core.types import Rng

LEVELS = 256
_LUMINANCE = (0.299, 0.587, 0.114)
"""Of red, green and blue (ITU-R BT.601), as Pillow takes it."""


def spread(x: Tensor, noise: Tensor | float = 0.5) -> Tensor:
    """Return pixels in [0, 1] with the last of their 8 bits spread out; `noise` is from 0 to 1, and 0.5 is the middle."""
    return ((LEVELS - 1) * x + noise) / LEVELS


def grid(x: Tensor, side: int, stride: int) -> Tensor:
    """Return the square patches of images [n, c, h, w] on a grid, as vectors [patches, c * side * side].

    Patches start at most `stride` pixels apart, as evenly as whole numbers allow, the first and the last at the borders: every
    pixel is in one of them as long as `stride` is no larger than `side`.
    """
    channels = x.shape[1]
    rows, columns = (_windows(length, side, stride).to(x.device) for length in x.shape[2:])
    cut = x.index_select(2, rows.flatten()).index_select(3, columns.flatten())
    cut = cut.reshape(len(x), channels, *rows.shape, *columns.shape)  # [n, c, down, side, across, side]
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels * side * side)


def draw(x: Tensor, side: int, count: int, *, smoothing: float, rng: Rng) -> Tensor:
    """Return `count` square patches of images [n, c, h, w] as vectors, from anywhere.

    They have the noise of `spread`, and normal noise of standard deviation `smoothing`.
    """
    inside = torch.arange(side)
    which = torch.randint(len(x), (count,), generator=rng)
    top, left = (torch.randint(length - side + 1, (count,), generator=rng) for length in x.shape[2:])
    rows, columns = top[:, None, None] + inside[:, None], left[:, None, None] + inside  # [count, side, 1], [count, 1, side]
    cut = x[which[:, None, None], :, rows, columns].movedim(-1, 1).flatten(1)
    return spread(cut, torch.rand(cut.shape, generator=rng)) + smoothing * normal_like(cut, rng)


def luminance(x: Tensor) -> Tensor:
    """Return images [n, 3, h, w] in gray, [n, 1, h, w], rounded to 8 bits as a file would be; gray ones are as they were."""
    if x.shape[1] == 1:
        return x
    gray = torch.einsum("nchw,c->nhw", x, x.new_tensor(_LUMINANCE)).unsqueeze(1)
    return (gray * (LEVELS - 1)).round() / (LEVELS - 1)


def split(x: Tensor, held_out: int, *, rng: Rng) -> tuple[Tensor, Tensor]:
    """Return images to learn from, and `held_out` others to measure on."""
    learned, held = split_rows(len(x), held_out, rng=rng)
    return x[learned], x[held]


def split_rows(count: int, held_out: int, *, rng: Rng) -> tuple[Tensor, Tensor]:
    """The same for the rows of images."""
    order = torch.randperm(count, generator=rng)
    return order[held_out:], order[:held_out]


def _windows(length: int, side: int, stride: int) -> Tensor:
    count = math.ceil((length - side) / stride) + 1
    starts = torch.linspace(0, length - side, count).round().long()
    return starts[:, None] + torch.arange(side)
