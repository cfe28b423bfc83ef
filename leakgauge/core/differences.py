"""Derivatives of a gradient where its kernels have none: the difference between two gradients nearby, in double precision.

Along a direction v of the parameters, the derivatives of a gradient g are how the slopes change:
(dg / du)' v = lim [grad_u L(theta + h v) - grad_u L(theta - h v)] / 2h, for u the examples, soft labels, or theta itself
(Pearlmutter, Neural Computation 1994). In double precision h can be so small that hardly ever a rectifier lies between the two
sides, whose jump would be divided by h; what is lost is about what single precision loses anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from leakgauge.core.types import Batch, Params

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


def attached(gradient: Params, loss: Loss, params: Params, batch: Batch, chance: Chance) -> Params:
    """Return a gradient of the loss by `params`, attached to them and to the batch by the differences that a direction asks for.

    `chance` is what it was computed with. Going backward raises whatever the loss raises in double precision.
    """
    run = _Pass(loss, tuple(gradient), tuple(params), chance)
    # torch leaves this call without types
    values = _Differenced.apply(tuple(gradient.values()), run, batch.x, batch.y, *params.values())  # type: ignore[no-untyped-call]
    return dict(zip(gradient, values, strict=True))


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
        x, y, *params = (value.double() if value.is_floating_point() else value for value in ctx.saved_tensors)
        named = dict(zip(ctx.run.moved, along, strict=True))
        directions = [
            named[name].double() if name in named else torch.zeros_like(value)
            for name, value in zip(ctx.run.names, params, strict=True)
        ]
        step = _STEP * _norm(params) / _norm(directions).clamp_min(torch.finfo(torch.double).tiny)
        wanted = [place for place, is_needed in enumerate(ctx.needs_input_grad[2:]) if is_needed]
        above, below = (
            ctx.run.slopes((x, y, *(value + side * by for value, by in zip(params, directions, strict=True))), wanted)
            for side in (step, -step)
        )
        found: list[Tensor | None] = [None] * len(ctx.saved_tensors)
        for place, one, other in zip(wanted, above, below, strict=True):
            found[place] = ((one - other) / (2 * step)).to(ctx.saved_tensors[place])
        return None, None, *found


def _norm(values: Sequence[Tensor]) -> Tensor:
    return torch.stack([value.square().sum() for value in values]).sum().sqrt()


_STEP = 1e-10
"""The distance to either side as a share of the parameters' norm: it leaves six of double precision's digits."""
