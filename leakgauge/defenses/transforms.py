"""Image transforms of data augmentation, as Pillow has them, on pixels from 0 to 1: what AutoAugment's policies are made of.

Each takes images [n, c, h, w], of one channel or three, and an amount, and can be differentiated in the images. Numbers stay
floating, where Pillow rounds to 8 bits after each transform. What 8 bits decide (posterize, solarize, equalize) looks at the
pixels rounded to them, and passes gradients straight through where it is a staircase.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import conv2d

Transform = Callable[[Tensor, float], Tensor]

_TOP = 255
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_GRAY = 128 / _TOP


def shear_x(x: Tensor, slope: float) -> Tensor:
    """Shift row y by `slope` times y to the left: bicubic, black where nothing was."""
    height, width = x.shape[-2:]
    center = torch.arange(height, device=x.device)[:, None] + 0.5
    place = torch.arange(width, device=x.device) + 0.5 + slope * center  # [h, w], from the left edge
    first = (place - 0.5).floor()
    between = place - 0.5 - first
    columns = [(first.long() + step).clamp(0, width - 1).expand(x.shape) for step in (-1, 0, 1, 2)]
    taps = [x.gather(-1, column) for column in columns]
    # Cubic convolution with the parameter -1, as in Pillow; others have -1/2 or -3/4.
    slopes = taps[2] - taps[0], 2 * (taps[0] - taps[1]) + taps[2] - taps[3], taps[1] - taps[0] + taps[3] - taps[2]
    value = taps[1] + between * (slopes[0] + between * (slopes[1] + between * slopes[2]))
    return torch.where((place >= 0) & (place < width), value.clamp(0, 1), 0.0)


def shear_y(x: Tensor, slope: float) -> Tensor:
    """Shift column x by `slope` times x upwards, likewise."""
    return shear_x(x.mT, slope).mT


def translate_x(x: Tensor, share: float) -> Tensor:
    """Shift by `share` of the width to the left: nearest pixel, black where nothing was."""
    width = x.shape[-1]
    place = torch.arange(width, device=x.device) + 0.5 + share * width
    found = x[..., place.floor().long().clamp(0, width - 1)]
    return torch.where((place >= 0) & (place < width), found, 0.0)


def translate_y(x: Tensor, share: float) -> Tensor:
    """Shift by `share` of the height upwards, likewise."""
    return translate_x(x.mT, share).mT


def rotate(x: Tensor, degrees: float) -> Tensor:
    """Turn counterclockwise about the center: nearest pixel, gray where nothing was."""
    height, width = x.shape[-2:]
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    down = torch.arange(height, dtype=torch.float64, device=x.device)[:, None] + 0.5 - height / 2
    right = torch.arange(width, dtype=torch.float64, device=x.device) + 0.5 - width / 2
    column = (cosine * right - sine * down + width / 2).floor().long()
    row = (sine * right + cosine * down + height / 2).floor().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return torch.where(inside, x[..., row.clamp(0, height - 1), column.clamp(0, width - 1)], _GRAY)


def color(x: Tensor, factor: float) -> Tensor:
    """Move away from the gray image (or towards it, below 1)."""
    return _blend(_luma(x), x, factor)


def contrast(x: Tensor, factor: float) -> Tensor:
    """Move away from the mean of the gray image."""
    return _blend(_luma(x).mean((-3, -2, -1), keepdim=True), x, factor)


def brightness(x: Tensor, factor: float) -> Tensor:
    """Move away from black."""
    return _blend(torch.zeros_like(x), x, factor)


def sharpness(x: Tensor, factor: float) -> Tensor:
    """Move away from the image smoothed over 3x3 pixels, the middle one five times; the outermost pixels stay."""
    kernel = x.new_ones(1, 1, 3, 3)
    kernel[0, 0, 1, 1] = 5
    inner = conv2d(x.reshape(-1, 1, *x.shape[-2:]), kernel / 13).reshape(*x.shape[:-2], x.shape[-2] - 2, x.shape[-1] - 2)
    smooth = x.clone()
    smooth[..., 1:-1, 1:-1] = inner
    return _blend(smooth, x, factor)


def posterize(x: Tensor, bits: float) -> Tensor:
    """Keep the highest bits of each number."""
    step = 2 ** (8 - round(bits))
    return _straight(x, (_eight_bits(x) / step).floor() * step / _TOP)


def solarize(x: Tensor, threshold: float) -> Tensor:
    """Invert what is as bright as a threshold, from 0 to 256, or brighter."""
    return torch.where(_eight_bits(x) < threshold, x, 1 - x)


def invert(x: Tensor, _: float) -> Tensor:
    """Black for white."""
    return 1 - x


def autocontrast(x: Tensor, _: float) -> Tensor:
    """Stretch each channel to the full range; one of a single value stays."""
    low, high = x.amin((-2, -1), keepdim=True), x.amax((-2, -1), keepdim=True)
    flat = high <= low
    return torch.where(flat, x, (x - low) / torch.where(flat, 1, high - low))


def equalize(x: Tensor, _: float) -> Tensor:
    """Spread each channel's numbers evenly over the range, by the count of those below."""
    channels = _eight_bits(x).long().reshape(-1, x.shape[-2] * x.shape[-1])
    spread = torch.stack([_equalized(channel) for channel in channels])
    return _straight(x, spread.to(x.dtype).reshape(x.shape) / _TOP)


def _equalized(channel: Tensor) -> Tensor:
    counts = torch.bincount(channel, minlength=_TOP + 1)
    step = int(len(channel) - counts[channel.max()]) // _TOP
    if step == 0:  # one value, or so few pixels that Pillow leaves them alone
        return channel
    below = counts.cumsum(0) - counts
    return ((below + step // 2) // step).clamp(max=_TOP)[channel]


def _luma(x: Tensor) -> Tensor:
    return x if x.shape[-3] == 1 else (x * x.new_tensor(_LUMA).reshape(3, 1, 1)).sum(-3, keepdim=True)


def _blend(start: Tensor, end: Tensor, factor: float) -> Tensor:
    return (start + factor * (end - start)).clamp(0, 1)


def _eight_bits(x: Tensor) -> Tensor:
    return (x.detach() * _TOP).round().clamp(0, _TOP)


def _straight(x: Tensor, value: Tensor) -> Tensor:
    return value + (x - x.detach())  # the bracket is exactly 0 and carries the gradient
