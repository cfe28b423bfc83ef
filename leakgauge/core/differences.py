"""Derivatives of a gradient where its kernels have none: the difference between two gradients nearby, in double precision.

Along a direction v of the parameters, the derivatives of a gradient g are how the slopes change:
(dg / du)' v = lim [grad_u L(theta + h v) - grad_u L(theta - h v)] / 2h, for u the examples, soft labels, or theta itself
(Pearlmutter, Neural Computation 1994). In double precision h can be so small that hardly ever a rectifier lies between the two
sides, whose jump would be divided by h; what is lost is about what single precision loses anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from leakgauge.core import tree
from leakgauge.core.differentiation import Gradient, differentiated
from leakgauge.core.types import Batch, Model, Params

Loss = Callable[[Params, Batch], Tensor]
"""A model's loss of a batch, a scalar, under weights of double precision."""


class Chance(NamedTuple):
    """What the generators of torch will draw from here on, on the host and on a device."""

    device: torch.device
    host: Tensor
    apart: Tensor | None

    @classmethod
    def on(cls, device: torch.device) -> Chance:
        """Return the state as it is now."""
        return cls(device, torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None)

    @contextmanager
    def again(self) -> Iterator[None]:
        """Draw the same once more, and go on as if nothing had been drawn."""
        with torch.random.fork_rng([] if self.apart is None else [self.device]):
            torch.set_rng_state(self.host)
            if self.apart is not None:
                torch.cuda.set_rng_state(self.apart, self.device)
            yield


def by_differences(model: Model, batch: Batch, *, training: bool) -> Gradient:
    """Return the gradient as `loss_gradient` does, attached to the batch and to parameters that require a gradient by differences.

    Going backward raises whatever the model raises in double precision. One that `computes_in_double_precision` does not hold for
    raises nothing, and its differences are noise.
    """
    chance = Chance.on(batch.x.device)
    plain = {name: value.detach() for name, value in model.params.items()}
    gradient = differentiated(replace(model, params=plain), _detached(batch), training=training, replayed=False)
    run = _Pass(_doubled_loss(model, training=training), tuple(gradient.params), tuple(model.trained), chance)
    apply: Callable[..., tuple[Tensor, ...]] = _Differenced.apply
    values = apply(tuple(gradient.params.values()), run, batch.x, batch.y, *model.trained.values())
    return gradient._replace(params=dict(zip(gradient.params, values, strict=True)))


def computes_in_double_precision(model: Model, batch: Batch, *, training: bool) -> bool:
    """Return whether the loss, in double precision, changes as its gradient says over the distance that differences are taken at.

    In a model that computes in single precision on its way, it changes by nothing, or by far more. Raises UsageError for whatever
    the model raises.
    """
    chance, at = Chance.on(batch.x.device), _detached(batch)
    params = {name: value.detach() for name, value in model.trained.items()}
    with chance.again():
        gradient = differentiated(model, at, training=training, replayed=False).params
    params, along = _doubled({name: params[name] for name in gradient}), _doubled(gradient)
    step = _step(list(params.values()), list(along.values()))
    loss, sides = _doubled_loss(model, training=training), []
    for side in (step, -step):
        with torch.no_grad(), chance.again():
            moved = {name: value + side * along[name] for name, value in params.items()}
            sides.append(loss(moved, Batch(_double(at.x), _double(at.y))))
    expected = 2 * step * tree.squared_norm(along)
    return bool((sides[0] - sides[1] - expected).abs() <= _NEAR * expected)


_NEAR = 0.1
"""How far the change of a loss may be from what its gradient says, as a share: single precision shows none, or a multiple."""


def _detached(batch: Batch) -> Batch:
    return Batch(batch.x.detach(), batch.y.detach())


def _doubled_loss(model: Model, *, training: bool) -> Loss:
    plain = {name: value.detach() for name, value in model.params.items()}

    def loss(params: Params, batch: Batch) -> Tensor:
        logits = model.forward({**_doubled(plain), **params}, _doubled(model.buffers), batch.x, training=training)
        return model.loss_of(logits, batch.y)

    return loss


def _doubled(tensors: Params) -> dict[str, Tensor]:
    """Copies, for a forward pass may write into buffers."""
    return {name: _double(value.clone()) for name, value in tensors.items()}


def _double(value: Tensor) -> Tensor:
    return value.double() if value.is_floating_point() else value


class _Pass(NamedTuple):
    """How the slopes at a point are found, of which `moved` are the names of parameters that a direction moves."""

    loss: Loss
    moved: Sequence[str]
    names: Sequence[str]
    chance: Chance

    def slopes(self, at: Sequence[Tensor], wanted: Sequence[int]) -> tuple[Tensor, ...]:
        """The derivatives of the loss by some of the examples, labels and parameters, in this order."""
        x, y, *params = leaves = [value.detach().requires_grad_(place in wanted) for place, value in enumerate(at)]
        with torch.enable_grad(), self.chance.again():
            loss = self.loss(dict(zip(self.names, params, strict=True)), Batch(x, y))
        return torch.autograd.grad(loss, [leaves[place] for place in wanted], materialize_grads=True)


class _Differenced(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: tuple[Tensor, ...], run: _Pass, *at: Tensor) -> Any:
        ctx.run = run
        ctx.save_for_backward(*at)
        return gradient

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *along: Tensor) -> Any:
        x, y, *params = map(_double, ctx.saved_tensors)
        named = dict(zip(ctx.run.moved, along, strict=True))
        directions = [
            named[name].double() if name in named else torch.zeros_like(value)
            for name, value in zip(ctx.run.names, params, strict=True)
        ]
        step = _step(params, directions)
        wanted = [place for place, is_needed in enumerate(ctx.needs_input_grad[2:]) if is_needed]
        above, below = (
            ctx.run.slopes((x, y, *(value + side * by for value, by in zip(params, directions, strict=True))), wanted)
            for side in (step, -step)
        )
        found: list[Tensor | None] = [None] * len(ctx.saved_tensors)
        for place, one, other in zip(wanted, above, below, strict=True):
            found[place] = ((one - other) / (2 * step)).to(ctx.saved_tensors[place])
        return None, None, *found


def _step(params: Sequence[Tensor], directions: Sequence[Tensor]) -> Tensor:
    """How much of a direction to go to either side."""
    size, length = (torch.stack([value.square().sum() for value in values]).sum().sqrt() for values in (params, directions))
    return _DISTANCE * size / length.clamp_min(torch.finfo(torch.double).tiny)


_DISTANCE = 1e-10
"""As a share of the parameters' norm: it leaves six of double precision's digits."""
