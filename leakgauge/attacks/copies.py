"""One copy of the batch per epoch: mini-batches of unknown order (Dimitrov et al., TMLR 2022, arXiv 2206.12395)."""

from __future__ import annotations

from typing import Literal, final

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import conv2d

from leakgauge.core.algorithm import Count, NonNegative, NonNegativeInt, algorithm
from leakgauge.core.errors import OutOfScope
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Observation, Rng

Agreement = Literal["matched", "max", "mean"]


@final
@algorithm
class EpochCopies:
    """Searches `epochs` copies of the batch in place of one, each with its labels in an order of its own, drawn once a restart.

    Local training that is replayed walks through the copies in turn, so that examples may meet in other mini-batches every epoch.
    What makes them copies is a prior: `weight` / E^2 times the mean squared difference of g_i and g_j, summed over all pairs of
    epochs, where g does not depend on the order of the examples. In the end the copies are matched and averaged.

    The paper's g is the "max" or the "mean" over the examples of the features of a fixed random convolution, here with `filters`
    filters of 3x3; with 0, or for examples that are no images, it is that of the pixels. Departing from the paper, g is by default
    all examples of a copy, "matched" one to one to those of the first copy, of one label with each other: that binds every image,
    not what all of them have in common.
    """

    epochs: Count = 4
    weight: NonNegative = 0.01
    agreement: Agreement = "matched"
    filters: NonNegativeInt = 96

    def labels(self, labels: Tensor, seen: Observation, *, rng: Rng) -> Tensor:
        """Return classes [n] once per epoch, each time in another order: [epochs * n].

        Raises OutOfScope for labels that are searched, and for several rounds: each of them had orders of its own.
        """
        if labels.is_floating_point():
            raise OutOfScope("copies per epoch need labels that are held fixed; choose labels known or counts, or leave copies out")
        if seen.earlier:
            raise OutOfScope(f"copies per epoch are those of one round, and {1 + len(seen.earlier)} were seen; leave copies out")
        return torch.cat([labels[torch.randperm(len(labels), generator=rng).to(labels.device)] for _ in range(self.epochs)])

    def repeated(self, batch: Batch) -> Batch:
        """Return the batch as it stands in every epoch: [epochs * n]."""
        return Batch(torch.cat([batch.x] * self.epochs), torch.cat([batch.y] * self.epochs))

    def penalty(self, copies: Batch) -> Tensor:
        """Return the weighted disagreement of copies [epochs * n, *shape]: 0 for one batch in whatever orders."""
        features = self._matched(copies) if self.agreement == "matched" else self._pooled(copies.x)
        # The mean over pairs of |g_i - g_j|^2 is twice the variance.
        return self.weight * 2 * (features - features.mean(dim=0)).square().mean()

    def folded(self, copies: Batch) -> Batch:
        """Return the batch that the copies agree on: the mean of those that belong together, in the order of the first copy."""
        return Batch(self._matched(copies).mean(dim=0), copies.y[: len(copies) // self.epochs])

    def _pooled(self, x: Tensor) -> Tensor:
        """Features without order: [epochs, *features]."""
        if self.filters and x.dim() == 4:
            filters = torch.randn(self.filters, x.shape[1], 3, 3, generator=stream(0, "epoch copies"))
            x = conv2d(x, filters.to(x) / filters[0].numel() ** 0.5)
        each = x.reshape(self.epochs, -1, *x.shape[1:])
        return each.amax(dim=1) if self.agreement == "max" else each.mean(dim=1)

    def _matched(self, copies: Batch) -> Tensor:
        """Pixels [epochs, n, *shape], each copy in the order in which it is nearest to the first."""
        size = len(copies) // self.epochs
        first, *others = (copies[start : start + size] for start in range(0, len(copies), size))
        return torch.stack([first.x, *(other.x[_order(other, first)] for other in others)])


def _order(batch: Batch, like: Batch) -> Tensor:
    """The rows of a batch in the order in which they are nearest to another batch, of one label with each other."""
    x, target = batch.x.detach().flatten(1).double(), like.x.detach().flatten(1).double()
    distances = torch.cdist(target, x, compute_mode="donot_use_mm_for_euclid_dist").square().cpu()
    costs = torch.nan_to_num(distances, nan=_FAR, posinf=_FAR)  # a search that diverges asks as well
    order = torch.empty(len(like), dtype=torch.long)
    for label in set(like.y.tolist()):
        rows, columns = ((y == label).nonzero().flatten().cpu() for y in (like.y, batch.y))
        order[rows] = columns[linear_sum_assignment(costs[rows][:, columns].numpy())[1]]
    return order.to(batch.x.device)


_FAR = 1e12
"""A squared distance beyond those of images."""
