"""Keeping the numbers of largest magnitude."""

from __future__ import annotations

import torch
from torch import Tensor


def keep_largest(values: Tensor, count: int) -> Tensor:
    """Set all but the `count` numbers of largest magnitude to zero, ties included; gradients pass to the ones kept."""
    return keep_largest_each(values.unsqueeze(0), count).squeeze(0)


def keep_largest_each(values: Tensor, count: int) -> Tensor:
    """The same for each of several tensors, [n, *shape]."""
    flat = values.detach().abs().reshape(len(values), -1)
    kept = flat.topk(count, dim=1, sorted=False).indices
    mask = torch.zeros_like(flat).scatter(1, kept, 1.0)
    return values * mask.reshape(values.shape)
