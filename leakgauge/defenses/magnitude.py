"""Keeping the largest numbers."""

from __future__ import annotations

import torch
from torch import Tensor


def keep_largest(values: Tensor, count: int) -> Tensor:
    """Set all but the `count` numbers of largest magnitude to zero, ties included; gradients pass to the ones kept."""
    flat = values.detach().abs().reshape(-1)
    kept = flat.topk(count, sorted=False).indices
    mask = torch.zeros_like(flat).scatter(0, kept, 1.0)
    return values * mask.reshape(values.shape)
