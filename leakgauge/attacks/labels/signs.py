"""Labels from signs: what updates of one size everywhere, such as Adam's, still say of the classes behind them."""

from __future__ import annotations

import torch
from torch import Tensor

from leakgauge.attacks.labels.last_layer import LastLayer
from leakgauge.attacks.labels.rounding import spelled_out, whole
from leakgauge.core.types import Params


def keeps_signs(update: Params) -> bool:
    """Whether an update holds little but signs, as first steps of Adam do and those of sign SGD: its numbers are of one size.

    The sizes of a gradient differ by orders of magnitude, and the mean of independent noise lies far below its largest draw.
    """
    sizes = torch.cat([value.abs().flatten() for value in update.values()])
    return bool(sizes.mean() > _ONE_SIZE * sizes.max())


def present(layer: LastLayer, count: int) -> Tensor:
    """Return `count` classes, sorted: those whose bias rises, in equal shares.

    The bias's gradient is the mean of p - y, so it is negative where a class is more frequent in the batch than among the answers
    (for one example, at its label alone: iDLG). How much more frequent, signs do not say. Where more classes rise than there are
    examples, those count that rise most, and where none does, the one that falls least.
    """
    most = layer.sums.argsort()[:count]
    rising = most[layer.sums[most] < 0]
    chosen = layer.sums.new_zeros(len(layer.sums)).index_fill(0, rising if len(rising) else most[:1], 1.0)
    return spelled_out(whole(chosen, count))


def names_too_many(layer: LastLayer, count: int) -> bool:
    """Whether more classes rise than there are examples, and would not if the update were turned around."""
    rising, falling = int((layer.sums < 0).sum()), int((layer.sums > 0).sum())
    return rising > count >= falling


_ONE_SIZE = 0.2
"""Of the largest number, the mean: a step of Adam has 0.4 to 1 on shipped victims, ten steps 0.2 to 0.7, gradients at most 0.1."""
