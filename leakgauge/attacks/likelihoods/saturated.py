"""The likelihood of updates with a largest number, at which sizes stop and only signs go on: Adam's, turned back into gradients."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from leakgauge.attacks.likelihoods.profiled import mirrored
from leakgauge.attacks.likelihoods.sign_agreement import SignAgreement
from leakgauge.core.algorithm import NonNegative, Positive, Share, algorithm
from leakgauge.core.types import Params


@final
@algorithm
class Saturated:
    """`weight` times the mean share of a row's square that no multiple k >= 0 of the replayed row explains, and signs.

    A number as large as the largest of the whole update is saturated: its size says nothing. Every row of a tensor (the weights
    into one unit) in which at least `readable` of the numbers are not, is compared at the scale k that suits it best, over those
    numbers; as in Profiled, a k below 0 costs more than a row that vanishes. Signs are compared everywhere: `signs` times
    SignAgreement. An update without such rows leaves the signs alone.
    """

    weight: Positive = 1.0
    signs: NonNegative = 0.1
    readable: Share = 0.3

    def __call__(self, guess: Params, seen: Params, /) -> Tensor:
        """Return the weighted loss over the tensors that were seen."""
        largest = torch.stack([value.abs().amax() for value in seen.values()]).amax()
        shares = [self._shares(guess[name], value, largest) for name, value in seen.items()]
        rows = torch.cat(shares)
        unexplained = rows.mean() if len(rows) else rows.sum()
        return self.weight * (unexplained + self.signs * SignAgreement()(guess, seen))

    def _shares(self, guess: Tensor, seen: Tensor, largest: Tensor) -> Tensor:
        """The unexplained share [rows] of each readable row."""
        ours, theirs = guess.reshape(len(guess), -1), seen.reshape(len(seen), -1)
        known = (theirs.abs() < largest) & (theirs != 0)
        rows = (known.float().mean(dim=1) >= self.readable) & (known.sum(dim=1) > 1)  # any scale explains one number
        ours, theirs = (torch.where(known, value, 0)[rows] for value in (ours, theirs))
        ours, theirs = ours / _size(ours), theirs / _size(theirs)  # squares of the smallest rows would vanish
        squares = ours.detach().square().sum(dim=1).clamp_min(torch.finfo(ours.dtype).tiny)
        scales = (ours.detach() * theirs).sum(dim=1) / squares
        residuals = (theirs - scales[:, None] * ours).square().sum(dim=1)
        return mirrored(residuals, theirs.square().sum(dim=1), scales) / theirs.square().sum(dim=1)


def _size(rows: Tensor) -> Tensor:
    return rows.detach().abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
