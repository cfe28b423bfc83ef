"""The Gaussian likelihood of an update whose scale is unknown, the scale profiled out in closed form."""

from __future__ import annotations

from typing import Literal, final

import torch
from torch import Tensor

from leakgauge.core.algorithm import Positive, algorithm
from leakgauge.core.types import Params


@final
@algorithm
class Profiled:
    """`weight` times the least of |D - k g|^2 / |D|^2 over every k, for an update D and a replayed gradient g.

    At the best k = <g, D> / |g|^2 this is 1 - cos^2 of their angle: 0 at the truth whatever the learning rate, and 1, not 0, for a
    gradient that vanishes, so that the scale cannot collapse as DLM's does (FreeScale puts its scale on the other side). A k below
    0 would be another sign: there the loss goes on as 1 + cos^2, so that a search that starts on the wrong side finds back. `per`
    "tensor" gives each tensor a scale of its own, for optimizers that scale them apart (Adam), and weighs them by their share of
    |D|^2.
    """

    weight: Positive = 1.0
    per: Literal["update", "tensor"] = "update"

    def __call__(self, guess: Params, seen: Params, /) -> Tensor:
        """Return the weighted share of the update that no multiple of the guess explains, over the tensors that were seen."""
        sizes = {name: value.square().sum() for name, value in seen.items()}
        total = torch.stack([*sizes.values()]).sum()
        scales = self._scales({name: guess[name].detach() for name in seen}, seen)
        # At the best scale the loss does not change with it: its derivative in the guess is that at a fixed scale. The residual
        # itself, not 1 - cos^2, whose difference would be lost in rounding near the truth.
        residuals = {name: (value - scales[name] * guess[name]).square().sum() for name, value in seen.items()}
        losses = [mirrored(residual, sizes[name], scales[name]) for name, residual in residuals.items()]
        return self.weight * torch.stack(losses).sum() / total.clamp_min(torch.finfo(total.dtype).tiny)

    def _scales(self, guess: Params, seen: Params) -> dict[str, Tensor]:
        inner = {name: (guess[name] * value).sum() for name, value in seen.items()}
        squares = {name: value.square().sum() for name, value in guess.items()}
        if self.per == "update":
            whole_inner, whole_squares = torch.stack([*inner.values()]).sum(), torch.stack([*squares.values()]).sum()
            inner, squares = dict.fromkeys(seen, whole_inner), dict.fromkeys(seen, whole_squares)
        return {name: inner[name] / squares[name].clamp_min(torch.finfo(squares[name].dtype).tiny) for name in seen}


def mirrored(residual: Tensor, size: Tensor, scale: Tensor) -> Tensor:
    """Return the residual at the best scale, or, where that is below 0, as much above `size` as the residual is below."""
    return torch.where(scale < 0, 2 * size - residual, residual)
