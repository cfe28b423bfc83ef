"""The gradient of a model's loss, differentiable in the examples where an attacker needs it to be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from leakgauge.core import tree
from leakgauge.core.differences import Chance, attached
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


def loss_gradient(model: Model, batch: Batch, *, training: bool = False) -> Gradient:
    """Return the gradient of the loss with respect to the parameters that are trained and have a part in it.

    As in PyTorch, a parameter that is frozen or that the forward pass leaves unused has no gradient: its name is missing.
    `training` chooses BatchNorm's mode: batch statistics (and updated buffers) or running ones. The result stays attached to
    the batch when the batch requires a gradient, by differences where the model has no second derivatives. Raises UsageError where
    nothing is trained, and for whatever the model raises.
    """
    if is_replayed(batch) and not has_second_derivatives(model, batch, training=training):
        return _by_differences(model, batch, training=training)
    return _by_differentiation(model, batch, training=training, replayed=is_replayed(batch))


def has_second_derivatives(model: Model, batch: Batch, *, training: bool) -> bool:
    """Return whether the model's gradient of a batch can be differentiated; tried once for each network and mode, and kept.

    False where it can by differences only. A function of somebody's own may lose its second derivative without a word, so that
    its slopes have to agree with the differences, where the network runs in double precision. Raises UsageError where neither can
    be done, and for whatever the model raises.
    """
    known = _FOUND.setdefault(model.net, {})
    if training not in known:
        plain = replace(model, params={name: value.detach() for name, value in model.params.items()})
        known[training] = _is_differentiable(plain, Batch(batch.x.detach(), batch.y.detach()), training=training)
    return known[training]


_FOUND: WeakKeyDictionary[nn.Module, dict[bool, bool]] = WeakKeyDictionary()
"""By network, and by whether it is in training mode."""


def _is_differentiable(model: Model, batch: Batch, *, training: bool) -> bool:
    chance = Chance.on(batch.x.device)

    def tried(way: Callable[[Model, Batch], Gradient]) -> tuple[Tensor, bool]:
        x = batch.x.clone().requires_grad_()
        with chance.again():
            gradient = way(model, Batch(x, batch.y)).params
        (moved,) = slopes(tree.squared_norm(gradient), [x])
        return moved, any(isinstance(node, torch.autograd.function.BackwardCFunction) for node in _nodes(gradient.values()))

    try:
        found, is_of_own = tried(partial(_by_differentiation, training=training, replayed=True))
    except UsageError as failure:
        try:
            tried(partial(_by_differences, training=training))
        except UsageError:
            raise failure from None  # that double precision does not help says less than what is missing
        return False
    if not is_of_own:
        return True
    try:
        expected, _ = tried(partial(_by_differences, training=training))
    except UsageError:
        return True
    return bool((found - expected).norm() <= _NEAR * expected.norm())


_NEAR = 1e-4
"""How far slopes may be from the differences, as a share: rounding is less, and what a cut takes away is more."""


def _nodes(values: Iterable[Tensor]) -> set[Node]:
    """All operations that tensors came from."""
    found: set[Node] = set()
    ahead = [value.grad_fn for value in values]
    while ahead:
        node = ahead.pop()
        if node is not None and node not in found:
            found.add(node)
            ahead += [before for before, _ in node.next_functions]
    return found


def _by_differences(model: Model, batch: Batch, *, training: bool) -> Gradient:
    """The gradient of a model whose kernels have first derivatives alone, attached to what it depends on."""
    chance = Chance.on(batch.x.device)
    plain = {name: value.detach() for name, value in model.params.items()}
    found = _by_differentiation(
        replace(model, params=plain), Batch(batch.x.detach(), batch.y.detach()), training=training, replayed=False
    )

    def loss(params: Params, one: Batch) -> Tensor:
        logits = model.forward({**_doubled(plain), **params}, _doubled(model.buffers), one.x, training=training)
        return model.loss_of(logits, one.y)

    return found._replace(params=attached(found.params, loss, model.trained, batch, chance))


def _doubled(tensors: Params) -> dict[str, Tensor]:
    """Copies, those of floating point numbers in double precision."""
    return {
        name: value.to(torch.double if value.is_floating_point() else value.dtype, copy=True) for name, value in tensors.items()
    }


def _by_differentiation(model: Model, batch: Batch, *, training: bool, replayed: bool) -> Gradient:
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
        with guarded("model backward", _DIFFERENTIABLE):
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


_DIFFERENTIABLE = "mend the network or the loss, which has to be differentiable"
_TWICE = (
    "an attack that matches gradients differentiates them again, so choose layers and a loss with second derivatives, or that run "
    "in double precision, where differences do, or an attack that needs none, such as analytic"
)
