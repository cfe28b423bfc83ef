"""What an `unfold` needs backward, without sums into places: as a sum of images of which each holds one part of the columns.

Inductor turns a sum into places into additions of one number at a time, which other threads have to wait for; and of torch 2.13.0
it adds them at wrong addresses, beyond the memory's end too, where it tiles two dimensions (pytorch issue 191837).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from torch import Tensor
from torch.nn.functional import pad


def gathered(
    columns: Tensor,
    size: Sequence[int],
    kernel: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Tensor:
    """Return images [(N,) C, H, W] of columns [(N,) C·kH·kW, places], as `aten.col2im` does: what overlaps is added up."""
    padded = [length + 2 * around for length, around in zip(size, padding, strict=True)]
    reaches = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    places = [(length - reach) // s + 1 for length, reach, s in zip(padded, reaches, stride, strict=True)]
    parts = columns.reshape(*columns.shape[:-2], -1, *kernel, *places)
    images = columns.new_zeros((*columns.shape[:-2], parts.shape[-5], *padded))
    for row, column in product(*map(range, kernel)):
        tall = _spread(parts[..., row, column, :, :], -2, row * dilation[0], stride[0], padded[0])
        images = images + _spread(tall, -1, column * dilation[1], stride[1], padded[1])
    return pad(images, (-padding[1], -padding[1], -padding[0], -padding[0]))


def _spread(part: Tensor, dim: int, first: int, step: int, length: int) -> Tensor:
    """Put a part at every so many places of a dimension of zeros, from the first on."""
    shape = list(part.shape)
    shape[dim] = length
    end = first + (part.shape[dim] - 1) * step + 1
    return part.new_zeros(shape).slice_scatter(part, dim, first, end, step)
