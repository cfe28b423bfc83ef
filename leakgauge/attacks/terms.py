"""The terms of the objective: -log p(update | x), round by round, and -log p(x)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar, final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from leakgauge.attacks.copies import EpochCopies
from leakgauge.attacks.engine.products import Comparing, Products, Shape, Shaping, Target, products
from leakgauge.core import tree
from leakgauge.core.abilities import Adjustable, Separable
from leakgauge.core.protocols import Likelihood, Point, Prior, Replay
from leakgauge.core.types import Batch, Observation, Params

_Part = TypeVar("_Part", Likelihood, Replay)


class Losses(NamedTuple):
    """The two terms of each candidate, [candidates], and whether they can be relied on."""

    likelihood: Tensor
    prior: Tensor
    are_sound: Tensor


@final
@dataclass(frozen=True)
class Terms:
    """The terms of the objective, for a batch."""

    likelihood: Likelihood
    priors: tuple[Prior, ...]
    replay: Replay
    copies: EpochCopies | None

    def loss(self, seen: Observation, batch: Batch, weight: float = 1.0) -> Tensor:
        """Return their sum, a scalar, with the likelihood at a weight; rounds of one batch add up."""
        with sdpa_kernel(SDPBackend.MATH):  # the only attention kernel that can be differentiated twice on every device
            rounds = (seen, *seen.earlier)
            found = [self.likelihood(_whole(self.replay(one, batch), one), one.update.delta) for one in rounds]
            loss = weight * torch.stack(found).sum() + self._prior(seen, batch)
            return loss if self.copies is None else loss + self.copies.penalty(batch)

    def can_compare(self, seen: Observation) -> bool:
        """Return whether products of gradients say all that the likelihood asks for."""
        is_one = self.copies is None and isinstance(self.likelihood, Comparing)
        return is_one and all(self._shape(one) is not None for one in (seen, *seen.earlier))

    def losses(self, seen: Observation, batch: Batch, candidates: int, aims: Sequence[Target]) -> Losses | None:
        """Return the terms of batches that stand one behind the other, for the update of each round as a target.

        None where one by one is all there is.
        """
        if self.copies is not None or not isinstance(self.likelihood, Comparing):
            return None
        with sdpa_kernel(SDPBackend.MATH):
            found = [self._products(one, batch, candidates, aim) for one, aim in zip((seen, *seen.earlier), aims, strict=True)]
        compared = [one for one in found if one is not None]
        if len(compared) < len(found):
            return None
        return Losses(
            torch.stack([self.likelihood.compare(one) for one in compared]).sum(dim=0),
            self._priors(seen, batch, candidates),
            torch.stack([one.are_sound for one in compared]).all(dim=0),
        )

    def vanishing(self, seen: Observation) -> float:
        """Return the likelihood's term for an update that is zero."""
        rounds = [one.update.delta for one in (seen, *seen.earlier)]
        return sum(float(self.likelihood(tree.apply(torch.zeros_like, delta), delta)) for delta in rounds)

    def at(self, point: Point) -> Terms:
        """Return the terms with their own unknowns fixed."""
        return replace(self, likelihood=_at(self.likelihood, point), replay=_at(self.replay, point))

    def _prior(self, seen: Observation, batch: Batch) -> Tensor:
        return torch.stack([batch.x.new_zeros(()), *(prior(batch, seen) for prior in self.priors)]).sum()

    def _priors(self, seen: Observation, batch: Batch, candidates: int) -> Tensor:
        """The priors' term of each candidate."""
        size = len(batch) // candidates
        each = [batch[row : row + size] for row in range(0, len(batch), size)]
        found = [
            prior.each(batch, seen).reshape(candidates, size).mean(dim=1)
            if isinstance(prior, Separable)
            else torch.stack([prior(one, seen) for one in each])
            for prior in self.priors
        ]
        return torch.stack([batch.x.new_zeros(candidates), *found]).sum(dim=0)

    def _products(self, seen: Observation, batch: Batch, candidates: int, aim: Target) -> Products | None:
        shape = self._shape(seen)
        found = None if shape is None else products(seen.model, batch, candidates, aim, shape.changes)
        return None if shape is None or found is None else shape.scaled(found)

    def _shape(self, seen: Observation) -> Shape | None:
        return self.replay.shape(seen) if isinstance(self.replay, Shaping) else None


def _whole(replayed: Params, seen: Observation) -> Params:
    """The replayed update, with zeros for what was sent and no candidate moves, such as a parameter that is left unused."""
    return {**{name: torch.zeros_like(value) for name, value in seen.update.delta.items() if name not in replayed}, **replayed}


def _at(part: _Part, point: Point) -> _Part:
    return part.at(point) if isinstance(part, Adjustable) else part
