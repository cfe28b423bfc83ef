"""Factors of locks that serve a model as well as its own, fitted to a few examples (Chen et al., CVPR 2023, arXiv 2303.11595).

A lock is a passport layer: whoever has the weights and a few labeled examples finds scale and shift by gradient descent on the
loss, and with them what the model can do.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from leakgauge.core import tree
from leakgauge.core.differentiation import slopes
from leakgauge.core.lock import Factors, locks, opened
from leakgauge.core.types import Batch, Model, Rng

_BATCH = 64


def forge(
    model: Model, public: Batch, start: Mapping[str, Tensor], *, steps: int, learning_rate: float, rng: Rng
) -> dict[str, Tensor]:
    """Return factors by lock, [2, channels], from which a model's loss on public examples [N] is low, from a start, with Adam.

    What stands before a ReLU is taken by its size. Mini-batches are drawn anew, in BatchNorm's training mode.
    """
    found = {name: value.detach().clone().requires_grad_() for name, value in start.items()}
    adam = torch.optim.Adam(found.values(), lr=learning_rate)
    for _ in range(steps):
        rows = torch.randperm(len(public), generator=rng)[:_BATCH].to(public.x.device)
        with torch.enable_grad():
            unlocked = opened(model, biases(model, found))
            buffers = tree.detach(model.buffers)
            logits = unlocked.forward(unlocked.params, buffers, public.x[rows], training=True)
            values = slopes(model.loss_of(logits, public.y[rows]), list(found.values()))
        for one, slope in zip(found.values(), values, strict=True):
            one.grad = slope.detach()
        adam.step()
    return tree.detach(found)


def biases(model: Model, unknown: Mapping[str, Tensor]) -> dict[str, Factors]:
    """Return what stands before the activation of each lock; of a ReLU, nothing below 0, where it would have no derivative."""
    found = locks(model)
    return {name: Factors(*(value.abs() if found[name].activation == "relu" else value)) for name, value in unknown.items()}
