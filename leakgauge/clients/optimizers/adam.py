"""Adam (Kingma and Ba, ICLR 2015, Algorithm 1) and AdamW (Loshchilov and Hutter, ICLR 2019), as `torch.optim` has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from leakgauge.core import tree
from leakgauge.core.algorithm import NonNegative, OpenShare, Positive, algorithm
from leakgauge.core.types import Params


@final
@algorithm
class Adam:
    """Adam; `decoupled` makes the weight decay AdamW's."""

    learning_rate: Positive = 1e-3
    beta1: OpenShare = 0.9
    beta2: OpenShare = 0.999
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0
    decoupled: bool = False

    @property
    def is_plain(self) -> bool:
        """An adaptive step is no multiple of the gradient."""
        return False

    def step(self, params: Params, gradient: Params, state: Mapping[str, Params], /) -> tuple[Params, Mapping[str, Params]]:
        """Return the parameters and {"first", "second", "count"} after one step."""
        if self.weight_decay and self.decoupled:
            params = tree.apply(lambda p: p * (1 - self.learning_rate * self.weight_decay), params)
        elif self.weight_decay:
            gradient = tree.apply(lambda g, p: g + self.weight_decay * p, gradient, params)
        zeros = tree.apply(torch.zeros_like, gradient)
        first = tree.apply(lambda m, g: self.beta1 * m + (1 - self.beta1) * g, state.get("first", zeros), gradient)
        second = tree.apply(lambda v, g: self.beta2 * v + (1 - self.beta2) * g * g, state.get("second", zeros), gradient)
        count = 1 + (int(state["count"]["steps"]) if state else 0)
        size = self.learning_rate / (1 - self.beta1**count)
        correction = (1 - self.beta2**count) ** 0.5
        moved = tree.apply(lambda p, m, v: p - size * m / (_sqrt(v) / correction + self.eps), params, first, second)
        return moved, {"first": first, "second": second, "count": {"steps": torch.tensor(count)}}


def adamw(
    learning_rate: Positive = 1e-3,
    beta1: OpenShare = 0.9,
    beta2: OpenShare = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.01,
) -> Adam:
    """Adam with decoupled weight decay."""
    return Adam(learning_rate=learning_rate, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay, decoupled=True)


def _sqrt(value: Tensor) -> Tensor:
    """The square root with derivative 0 at 0: a parameter that got no gradient must not turn a replay's gradient into nan."""
    positive = value > 0
    return torch.where(positive, torch.where(positive, value, 1).sqrt(), 0)
