"""How a loss puts the examples of a batch together: their mean, their sum, or something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from leakgauge.core.errors import UsageError
from leakgauge.core.guarding import guarded

_MOST = 128

Reduction = Literal["mean", "sum"]


@torch.no_grad()
def reduction(loss: Callable[[Tensor, Tensor], Tensor], classes: int, like: Tensor) -> Reduction | None:
    """Return how a loss puts examples together, found by trying; None where it is neither, or takes no single example.

    The loss is asked about made-up logits, an example of each class (of 128 where there are more), so that the answer says nothing
    of any batch. A class-weighted mean is neither: how it weighs an example depends on the classes of the others.
    """
    count = min(max(classes, 2), _MOST)
    y = torch.arange(count, device=like.device) * max(classes // count, 1) % classes
    wave = torch.arange(count * classes, device=like.device, dtype=torch.float64).mul(0.7).sin().reshape(count, classes)
    logits = wave.log_softmax(dim=1).to(like)  # which a loss of log-probabilities takes as well
    try:
        with guarded("loss", "correct it"):
            whole = loss(logits, y).double()
            each = torch.stack([loss(logits[row : row + 1], y[row : row + 1]).double().reshape(()) for row in range(count)])
    except UsageError:
        return None  # if it does not take the client's batch either, the client says so
    if torch.allclose(whole, each.mean(), rtol=1e-4):
        return "mean"
    return "sum" if torch.allclose(whole, each.sum(), rtol=1e-4) else None
