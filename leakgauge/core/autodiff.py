"""The gradient of a model's loss, differentiable in the examples where an attacker needs it to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from leakgauge.core import tree
from leakgauge.core.differences import Chance, by_differences, computes_in_double_precision
from leakgauge.core.differentiation import DIFFERENTIABLE, Gradient, differentiated, is_replayed, slopes
from leakgauge.core.errors import UsageError
from leakgauge.core.guarding import guarded
from leakgauge.core.types import Batch, Model


def loss_gradient(model: Model, batch: Batch, *, training: bool = False) -> Gradient:
    """Return the gradient of the loss with respect to the parameters that are trained and have a part in it.

    As in PyTorch, a parameter that is frozen or that the forward pass leaves unused has no gradient: its name is missing.
    `training` chooses BatchNorm's mode: batch statistics (and updated buffers) or running ones. The result stays attached to
    the batch when the batch requires a gradient, by differences where the model has no second derivatives. Raises UsageError where
    nothing is trained, and for whatever the model raises.
    """
    if is_replayed(batch) and not has_second_derivatives(model, batch, training=training):
        return by_differences(model, batch, training=training)
    return differentiated(model, batch, training=training, replayed=is_replayed(batch))


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

    def tried(way: Callable[[Model, Batch], Gradient]) -> Tensor:
        x = batch.x.clone().requires_grad_()
        with chance.again():
            gradient = way(model, Batch(x, batch.y)).params
        return slopes(tree.squared_norm(gradient), [x])[0]

    def differenced() -> Tensor:
        if not computes_in_double_precision(model, batch, training=training):
            raise UsageError("model: computes in single precision whatever it is given, expected double; leave casts out")
        return tried(partial(by_differences, training=training))

    try:
        with chance.again():
            is_of_own = _differentiated_twice(model, batch, training=training)
    except UsageError as failure:
        try:
            differenced()
        except UsageError:
            raise failure from None  # that double precision does not help says less than what is missing
        return False
    if not is_of_own:
        return True
    try:
        expected = differenced()
    except UsageError:
        return True
    found = tried(partial(differentiated, training=training, replayed=True))
    return bool((found - expected).norm() <= _NEAR * expected.norm())


_NEAR = 1e-4
"""How far slopes may be from the differences, as a share: rounding is less, and what a cut takes away is more."""


def _differentiated_twice(model: Model, batch: Batch, *, training: bool) -> bool:
    """Whether there are functions of somebody's own; by examples alone, for which no gradient as large as the weights is held."""
    x = batch.x.clone().requires_grad_()
    buffers = {name: value.clone() for name, value in model.buffers.items()}
    with torch.enable_grad():
        loss = model.loss_of(model.forward(model.params, buffers, x, training=training), batch.y)
        if not loss.requires_grad:  # the examples have no part in it
            return False
        is_of_own = any(isinstance(node, torch.autograd.function.BackwardCFunction) for node in _nodes(loss))
        with guarded("model backward", DIFFERENTIABLE):
            (slope,) = torch.autograd.grad(loss, [x], create_graph=True, materialize_grads=True)
        slopes(slope.square().sum(), [x])
    return is_of_own


def _nodes(value: Tensor) -> set[Node]:
    """All operations that a tensor came from."""
    found: set[Node] = set()
    ahead = [value.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is not None and node not in found:
            found.add(node)
            ahead += [before for before, _ in node.next_functions]
    return found
