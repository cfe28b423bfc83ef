"""The agreement of signs, for updates that keep little but the signs of a gradient: first steps of Adam, sign SGD."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from leakgauge.core.algorithm import Positive, algorithm
from leakgauge.core.types import Params


@final
@algorithm
class SignAgreement:
    """`weight` times the share of each tensor's absolute sum that has the wrong sign, averaged over all numbers of the update.

    The one-sided l1 loss of one-bit compressive sensing (Jacques et al., IEEE Trans. Inf. Theory 2013, Sec. V): an Adam client's
    first step is the learning rate times the sign of its gradient, whatever the gradient's size. It is 0 where every sign
    agrees, at any scale, and 1/2 for a gradient that vanishes. Numbers of the update that are exactly 0 say nothing.
    """

    weight: Positive = 1.0

    def __call__(self, guess: Params, seen: Params, /) -> Tensor:
        """Return the weighted share of disagreement over the tensors that were seen."""
        total = sum(int(value.count_nonzero()) for value in seen.values())
        shares = [int(value.count_nonzero()) / max(total, 1) * _disagreement(guess[name], value) for name, value in seen.items()]
        return self.weight * torch.stack(shares).sum()


def _disagreement(guess: Tensor, seen: Tensor) -> Tensor:
    told = guess * seen.sign()
    return 0.5 * (1 - told.sum() / told.abs().sum().clamp_min(torch.finfo(told.dtype).tiny))
