"""Gradients of a model's loss, and their derivatives, by reverse differentiation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from leakgauge.core.errors import UsageError
from leakgauge.core.guarding import guarded
from leakgauge.core.types import Batch, Model, Params


class Gradient(NamedTuple):
    """A mean gradient, and the buffers after the forward pass (changed in training mode only)."""

    params: Params
    buffers: Params


def is_replayed(batch: Batch) -> bool:
    """Whether a search differentiates through what this batch produces."""
    return torch.is_grad_enabled() and (batch.x.requires_grad or batch.y.requires_grad)


def differentiated(model: Model, batch: Batch, *, training: bool, replayed: bool) -> Gradient:
    """Return the gradient as `loss_gradient` does; where it is replayed, attached to the batch."""
    with torch.enable_grad():
        leaves = {name: value if value.requires_grad else value.detach().requires_grad_() for name, value in model.trained.items()}
        buffers = {name: value.clone() for name, value in model.buffers.items()} if training else model.buffers
        logits = model.forward({**model.params, **leaves}, buffers, batch.x, training=training)
        loss = model.loss_of(logits, batch.y)
        if not loss.requires_grad:
            raise UsageError(
                "model: its loss depends on no parameter that is trained, expected at least one; "
                "take out detach or no_grad, or call requires_grad_(True) on a layer that the forward pass uses"
            )
        with guarded("model backward", DIFFERENTIABLE):
            values = torch.autograd.grad(loss, list(leaves.values()), create_graph=replayed, allow_unused=True)
    gradient = {name: value for name, value in zip(leaves, values, strict=True) if value is not None}
    if not gradient:
        raise UsageError(
            "model: the forward pass uses none of the parameters that are trained, expected at least one; unfreeze one that it uses"
        )
    return Gradient(gradient, buffers)


def slopes(value: Tensor, unknowns: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the derivative of a number with respect to each unknown; 0 for one that it does not depend on.

    The way leads through the network, and where the number is made of gradients, through its derivatives a second time. Raises
    UsageError where an operation has none.
    """
    with guarded("model backward", _TWICE):
        return torch.autograd.grad(value, list(unknowns), materialize_grads=True)


DIFFERENTIABLE = "mend the network or the loss, which has to be differentiable"
_TWICE = (
    "an attack that matches gradients differentiates them again, so choose layers and a loss with second derivatives, or that run "
    "in double precision, where differences do, or an attack that needs none, such as analytic"
)
