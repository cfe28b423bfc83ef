"""What an update says of the defense that it went through (GGL, Li et al., CVPR 2022, Sec. 3.2), seen by nobody but the adversary.

Each estimate is made of the update and the model alone. What dummy images would have sent tells which zeros are a defense's and
which a network's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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
"""By which share zeros have to be more than those of any dummy, to be a defense's."""
_WIDEST = 1.3
"""How many times what noise has on average its largest singular value may have."""
_MIDDLE = 0.3
"""Of the square root of the longer side: the middle singular value of noise has more, 0.8 for a square matrix."""
_LEAST = 32
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
    if any(_exceeds(_scattered, name, value, dummies) for name, value in sent.items() if value.ndim > 1):
        return Estimates(norm, {name: int((value != 0).sum()) for name, value in sent.items()}, sigma=sigma)
    return Estimates(norm, columns=_columns(seen, dummies), sigma=sigma)


def _columns(seen: Observation, dummies: list[Params]) -> dict[str, Tensor]:
    """Linear weights of whose inputs more were left out altogether than a network's silent units explain."""
    found = {}
    for name in _linear(seen):
        weight = seen.update.delta[name]
        if _exceeds(_missing, name, weight, dummies):
            found[name] = (weight != 0).any(dim=0).to(weight)
    return found


def _exceeds(share: Callable[[Tensor], float], name: str, value: Tensor, dummies: list[Params]) -> bool:
    """Whether a share of zeros is more than a network's own; of what no dummy moves, all zeros are."""
    return share(value) > _MORE + max((share(one[name]) for one in dummies if name in one), default=1.0)


def _sigma(seen: Observation) -> float:
    """The standard deviation of noise in the linear layers: what remains of an update beside as many directions as examples.

    The gradient of n examples has rank n at most. Of the other directions, exact arithmetic leaves 0 and rounding next to it. A
    weight's residual has (rows - n) (columns - n) degrees of freedom. What has directions of its own, as after several local steps,
    is no noise: that fills all directions, its largest singular value is about (sqrt(rows) + sqrt(columns)) times its deviation,
    and the middle one not much less.
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
        square, free = float(rest.square().sum()), (update.shape[0] - rank) * (update.shape[1] - rank)
        deviation, sides = math.sqrt(square / free), (math.sqrt(update.shape[0]), math.sqrt(update.shape[1]))
        if float(rest[0]) > _WIDEST * deviation * sum(sides) or float(rest.median()) < _MIDDLE * deviation * max(sides):
            continue
        squares, freedom = squares + square, freedom + free
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


def _missing(weight: Tensor) -> float:
    """The share of columns that are zero."""
    return 1 - float((weight != 0).any(dim=0).float().mean())


def _scattered(value: Tensor) -> float:
    """The share of zeros where neither the whole row is zero nor the whole column: silent units make such, pruning others."""
    told = value.flatten(1) != 0
    rest = told[told.any(dim=1)][:, told.any(dim=0)]
    return 1 - float(rest.float().mean()) if rest.numel() else 0.0
