"""From estimated counts to labels: integers that are never negative and always sum to the size of the batch."""

from __future__ import annotations

import torch
from torch import Tensor


def whole(estimate: Tensor, count: int) -> Tensor:
    """Round estimated counts [classes] to integers that sum to `count`, by the largest remainder.

    What is negative or no number counts as 0, and what is left is scaled to the sum; where nothing is left, all classes share it.
    Every class gets the whole part of its estimate, and the classes with the largest fractions get the rest, one each; of equal
    fractions, the first.
    """
    values = estimate.double().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).clamp_min(0)
    largest = values.amax()
    values = torch.ones_like(values) if largest == 0 else values / largest  # the sum of huge estimates would overflow
    values = values / values.sum() * count
    counts = values.floor().long()
    left = count - int(counts.sum())
    counts[(values - counts).argsort(descending=True, stable=True)[:left]] += 1
    return counts


def spelled_out(counts: Tensor) -> Tensor:
    """Counts [classes] as sorted classes [n]."""
    return torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
