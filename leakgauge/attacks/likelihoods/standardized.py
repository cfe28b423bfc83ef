"""The angle of every tensor by itself, in units of what it is between images, with noise of unknown size: for deep networks.

A network of many rectifiers hardly moves its last layers from one image to the next, and they hold nearly all of the norm: as one
vector, the update of a plain image fits nearly as well as that of the truth. Its first layers differ much, but jump wherever a
rectifier switches, which is noise of a size that nobody knows beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from types import MappingProxyType
from typing import final

import torch
from torch import Tensor

from leakgauge.attacks.dummies import draw
from leakgauge.attacks.engine.products import Products
from leakgauge.attacks.estimating import deviation
from leakgauge.core.abilities import Bound
from leakgauge.core.algorithm import Positive, algorithm
from leakgauge.core.protocols import Replay
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Observation, Params


@final
@algorithm
class Standardized:
    """`weight` times log(1 + d / `floor`), where d is the mean over tensors of (1 - cos) / s, of the angle between the two updates.

    s is the mean of 1 - cos between replays of pink noise with equal labels, four pairs of them, and what noise in the update adds
    to it, as far as its linear layers show some: it depends on the model, and on nothing else that was seen of the secret. The
    logarithm is what a Gaussian likelihood becomes when the variance is unknown and integrated out (Student's t, at a `floor` far
    below any variance that matters): the prior counts for less the better the update is explained. It is blind to the scale of the
    update and of every tensor in it, not to signs.
    """

    weight: Positive = 1.0
    floor: Positive = 1e-6

    def __call__(self, guess: Params, seen: Params, /) -> Tensor:
        """Return the likelihood of tensors that are in one unit; 0 where the two agree."""
        return Standard(self.weight, self.floor, MappingProxyType(dict.fromkeys(seen, 1.0)))(guess, seen)

    def bound(self, seen: Observation, replay: Replay, /) -> Bound:
        """Return the likelihood with the units of this model."""
        inputs, sent = seen.model.inputs, seen.update.delta
        rng, like = stream(0, "standardized"), next(iter(sent.values()))
        angles: list[dict[str, Tensor]] = []
        for _ in range(_PAIRS):
            labels = torch.randint(inputs.classes, (seen.count,), generator=rng).to(like.device)
            one, other = (replay(seen, Batch(draw(inputs, seen.count, "pink", rng=rng).to(like), labels)) for _ in range(2))
            angles.append({name: _apart(one[name], other[name]) for name in sent if name in one})
        noise = deviation(seen)
        units = {
            name: max(_LEAST, float(torch.stack([pair[name] for pair in angles]).mean()) + _blurred(sent[name], noise))
            for name in angles[0]
        }
        return Bound(Standard(self.weight, self.floor, MappingProxyType({**dict.fromkeys(sent, 1.0), **units})), replay)


@final
@dataclass(frozen=True)
class Standard:
    """The likelihood for one model, whose tensors have a unit each."""

    weight: float
    floor: float
    units: MappingProxyType[str, float]

    def __call__(self, guess: Params, seen: Params, /) -> Tensor:
        """Return the weighted logarithm, over the tensors that were seen."""
        return self._loss(torch.stack([_apart(guess[name], value) / self.units[name] for name, value in seen.items()]))

    def compare(self, found: Products, /) -> Tensor:
        """Return the weighted logarithm of each candidate."""
        return self._loss(self._distances(found))

    def is_sharp(self, found: Products, /) -> Tensor:
        """Return [candidates], whether the products hold the digits that the distance needs."""
        distances = self._distances(found).detach()
        rounding = torch.finfo(distances.dtype).eps * fmean(1 / self.units[name] for name in found.dots)
        return distances.mean(dim=0) > _SHARP * rounding

    def _distances(self, found: Products) -> Tensor:
        """The angles [tensors, candidates], in their units."""
        each = []
        for name, dots in found.dots.items():
            squares, target = found.squares[name], found.targets[name]
            cosine = dots / (squares * target).clamp_min(torch.finfo(dots.dtype).tiny).sqrt()
            each.append((((squares > 0).to(dots) + (target > 0).to(dots)) / 2 - cosine) / self.units[name])
        return torch.stack(each)

    def _loss(self, distances: Tensor) -> Tensor:
        return self.weight * torch.log1p(distances.mean(dim=0).clamp_min(0) / self.floor)


def _blurred(value: Tensor, noise: float) -> float:
    """What noise adds to 1 - cos of a tensor's angle with anything, to first order; at most 1."""
    square = float(value.square().sum())
    return min(1.0, noise**2 * value.numel() / (2 * square)) if noise and square else 0.0


def _apart(one: Tensor, other: Tensor) -> Tensor:
    """1 - cos of an angle, from the difference itself, which keeps digits near 0; of a vanishing tensor with any other, 1/2."""
    return (_directed(one) - _directed(other)).square().sum() / 2


def _directed(value: Tensor) -> Tensor:
    """A tensor of length 1, or 0; brought near to 1 by a power of two before squares leave the range of the type."""
    most = value.detach().abs().amax() if value.numel() else value.new_zeros(())
    near = value * 2.0 ** -torch.where(most > 0, most.frexp().exponent, 0).to(value.dtype)
    square = near.square().sum()
    return near / torch.where(square > 0, square, 1).sqrt()  # 0 over 1, whose slope is finite


_PAIRS = 4
_LEAST = 1e-5
"""The least unit: below it stands the rounding of a cosine in single precision."""
_SHARP = 100.0
"""How many times their rounding the products' distance has to be."""
