"""What the server makes of the updates of a round: their mean, weighted by examples, is the gradient of its own optimizer.

FedAvg and FedSGD are plain steps, of rate 1 and of the learning rate (McMahan et al., AISTATS 2017, arXiv 1602.05629); momentum and
Adam at the server are FedAvgM and FedAdam (Reddi et al., ICLR 2021, arXiv 2003.00295, Algorithm 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from leakgauge.core.types import Params, Update


class Mean(NamedTuple):
    """What the updates of a round come to."""

    delta: Params
    buffers: Params


def mean(params: Params, updates: Sequence[Update], shares: Sequence[float]) -> Mean:
    """Return the mean of updates by shares, tensor by tensor over the clients that sent it.

    A client that sent weights that are not those it was given, before or after, is taken at its word for what it has now: the
    difference is that from the global weights. Of buffers that count, the first client's are taken.
    """
    deltas = [_from_global(params, update) for update in updates]
    return Mean(_mean(deltas, shares), _mean([update.buffers for update in updates], shares))


def _from_global(params: Params, update: Update) -> Params:
    if update.before is None:
        return update.delta
    return {name: params[name] - (update.before[name] - value) for name, value in update.delta.items()}


def _mean(trees: Sequence[Params], shares: Sequence[float]) -> Params:
    found = {}
    for name in dict.fromkeys(name for tree in trees for name in tree):
        values, weights = zip(
            *((tree[name], share) for tree, share in zip(trees, shares, strict=True) if name in tree), strict=True
        )
        found[name] = _weighted(values, weights) if values[0].is_floating_point() else values[0]
    return found


def _weighted(values: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    weights = torch.tensor(shares).to(values[0])
    mean: Tensor = torch.tensordot(weights / weights.sum(), torch.stack(list(values)), 1)
    return mean
