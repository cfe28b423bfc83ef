"""The gradient of a model's loss, differentiable in the examples where an attacker needs it to be."""

from __future__ import annotations

from typing import NamedTuple

import torch

from leakgauge.core.types import Batch, Model, Params


class Gradient(NamedTuple):
    """A mean gradient, and the buffers after the forward pass (changed in training mode only)."""

    params: Params
    buffers: Params


def is_replayed(batch: Batch) -> bool:
    """Whether a search differentiates through what this batch produces."""
    return torch.is_grad_enabled() and (batch.x.requires_grad or batch.y.requires_grad)


def loss_gradient(model: Model, batch: Batch, *, training: bool = False) -> Gradient:
    """Return the gradient of the mean loss with respect to the parameters.

    `training` chooses BatchNorm's mode: batch statistics (and updated buffers) or running ones. The result stays attached to
    the batch when the batch requires a gradient.
    """
    attached = is_replayed(batch)
    with torch.enable_grad():
        leaves = {name: value if value.requires_grad else value.detach().requires_grad_() for name, value in model.params.items()}
        buffers = {name: value.clone() for name, value in model.buffers.items()} if training else model.buffers
        loss = model.loss(model.forward(leaves, buffers, batch.x, training=training), batch.y)
        values = torch.autograd.grad(loss, list(leaves.values()), create_graph=attached)
    return Gradient(dict(zip(leaves, values, strict=True)), buffers)
