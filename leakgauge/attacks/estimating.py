"""What an update says of the defense that it went through (GGL, Li et al., CVPR 2022, Sec. 3.2), seen by nobody but the adversary.

Each estimate is made of the update and the model alone. What dummy images would have sent tells which zeros are a defense's and
which a network's own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from leakgauge.attacks.dummies import draw
from leakgauge.core import tree
from leakgauge.core.anatomy import linear_layers
from leakgauge.core.autodiff import loss_gradient
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Model, Observation, Params

_DUMMIES = 8
_MORE = 0.1
"""By which share of a tensor's numbers its zeros have to be more than those of any dummy, to be a defense's."""
_LEAST = 64
"""Numbers that a standard deviation is estimated from, at least."""


@final
@dataclass(frozen=True)
class Estimates:
    """The parameters of a defense, as far as the update shows them."""

    norm: float  # of the update, less what noise adds: no candidate that was clipped is longer
    kept: Mapping[str, int] = field(default_factory=dict)  # by tensor, how many numbers a pruned update has left
    columns: Mapping[str, Tensor] = field(default_factory=dict)  # by linear weight, 1 for inputs that Soteria has kept
    sigma: float = 0.0

    def parameters(self, sent: Params) -> dict[str, float]:
        """Return them by the names of the defenses' settings; those that the update shows nothing of are missing."""
        total = sum(value.numel() for value in sent.values())
        told = {"Clipping.norm": self.norm}
        if self.kept:
            left = sum(int((value != 0).sum()) for value in sent.values()) / total
            told |= {"Pruning.share": 1 - left, "TopK.share": left}
        if self.columns:
            told["Soteria.share"] = 1 - float(torch.cat(list(self.columns.values())).mean())
        if self.sigma:
            told["GaussianNoise.sigma"] = self.sigma
        return told


def estimate(seen: Observation) -> Estimates:
    """Return what the update says."""
    sent = seen.update.delta
    sigma = _sigma(seen)
    noise = sigma**2 * sum(value.numel() for value in sent.values())
    norm = math.sqrt(max(0.0, float(tree.squared_norm(sent)) - noise))
    if all(bool((value != 0).all()) for value in sent.values()):
        return Estimates(norm, sigma=sigma)
    dummies = _dummies(seen)
    columns = _columns(seen, dummies)
    kept = {
        name: int((value != 0).sum())
        for name, value in sent.items()
        if name not in columns and _zeros(value) > _MORE + max(_zeros(one[name]) for one in dummies if name in one)
    }
    return Estimates(norm, kept, columns, sigma)


def _columns(seen: Observation, dummies: list[Params]) -> dict[str, Tensor]:
    """Linear weights of whose inputs the update leaves some out altogether, and the others not."""
    found = {}
    for name in _linear(seen):
        is_kept = (seen.update.delta[name] != 0).any(dim=0)
        own = max(1 - float((one[name] != 0).any(dim=0).float().mean()) for one in dummies)
        missing = 1 - float(is_kept.float().mean())
        # What is pruned loses whole columns, too, but many numbers of those that it keeps as well.
        is_whole = _zeros_within(seen.update.delta[name]) <= _MORE + max(_zeros_within(one[name]) for one in dummies)
        if missing > _MORE + own and is_whole:
            found[name] = is_kept.to(seen.update.delta[name])
    return found


def _sigma(seen: Observation) -> float:
    """The standard deviation of noise in the linear layers: what remains of an update beside as many directions as examples.

    The gradient of n examples has rank n at most. Of the other directions, exact arithmetic leaves 0 and rounding next to it. A
    weight's residual has (rows - n) (columns - n) degrees of freedom.
    """
    squares, freedom = 0.0, 0
    for name in _linear(seen):
        update = seen.update.delta[name].double()
        rank = min(_count(seen), *update.shape)
        values = torch.linalg.svdvals(update)
        rounding = torch.finfo(seen.update.delta[name].dtype).eps * float(values[0]) * max(update.shape)
        rest = values[rank:]
        # A tensor with zeros was masked, or its units were silent: its rank is no longer that of examples and noise.
        if bool((update == 0).any()) or not len(rest) or float(rest[0]) <= rounding:
            continue
        squares += float(rest.square().sum())
        freedom += (update.shape[0] - rank) * (update.shape[1] - rank)
    return math.sqrt(squares / freedom) if freedom >= _LEAST else 0.0


def _dummies(seen: Observation) -> list[Params]:
    """What batches of dummy images would have sent, undefended."""
    model, rng = seen.model, stream(0, "estimating")
    like = next(iter(seen.update.delta.values()))
    return [_gradient(model, draw(model.inputs, _count(seen), "pink", rng=rng).to(like), number) for number in range(_DUMMIES)]


def _gradient(model: Model, x: Tensor, number: int) -> Params:
    labels = (torch.arange(len(x), device=x.device) + number) % model.inputs.classes
    return loss_gradient(model, Batch(x, labels)).params


def _count(seen: Observation) -> int:
    return seen.update.examples or 1  # an attack fills in a count that is withheld


def _linear(seen: Observation) -> list[str]:
    names = [f"{name}.weight" if name else "weight" for name in linear_layers(seen.model)]
    return [name for name in names if name in seen.update.delta]


def _zeros_within(weight: Tensor) -> float:
    """The share of zeros in the columns that have any other number."""
    columns = weight[:, (weight != 0).any(dim=0)]
    return _zeros(columns) if columns.numel() else 0.0


def _zeros(value: Tensor) -> float:
    return float((value == 0).float().mean())
