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
        """Return their sum, a scalar, with the likelihood at a weight."""
        loss = weight * self.misfit(seen, batch) + self.prior(seen, batch)
        return loss if self.copies is None else loss + self.copies.penalty(batch)

    def misfit(self, seen: Observation, batch: Batch) -> Tensor:
        """Return the likelihood's term, a scalar; rounds of one batch add up."""
        with sdpa_kernel(SDPBackend.MATH):  # the only attention kernel that can be differentiated twice on every device
            rounds = (seen, *seen.earlier)
            return torch.stack([self.likelihood(_whole(self.replay(one, batch), one), one.update.delta) for one in rounds]).sum()

    def can_compare(self, seen: Observation) -> bool:
        """Return whether products of gradients say all that the likelihood asks for."""
        is_one = self.copies is None and isinstance(self.likelihood, Comparing)
        return is_one and all(self._shape(one) is not None for one in (seen, *seen.earlier))

    def go_together(self, seen: Sequence[Observation]) -> bool:
        """Return whether candidates for several updates of one model can be compared at once."""
        shapes = [self._shape(one) for one in seen]
        return all(shape is not None and shape.is_plain and not one.earlier for shape, one in zip(shapes, seen, strict=True))

    def losses(self, seen: Sequence[Observation], batch: Batch, aims: Sequence[Target]) -> Losses | None:
        """Return the terms of batches that stand one behind the other, one for each of `seen`, which may all be the same.

        `aims` are the updates of each round as targets. None where one by one is all there is.
        """
        if self.copies is not None or not isinstance(self.likelihood, Comparing):
            return None
        rounds = zip(*((one, *one.earlier) for one in seen), strict=True)
        with sdpa_kernel(SDPBackend.MATH):
            found = [self._products(each, batch, aim) for each, aim in zip(rounds, aims, strict=True)]
        compared = [one for one in found if one is not None]
        if len(compared) < len(found):
            return None
        return Losses(
            torch.stack([self.likelihood.compare(one) for one in compared]).sum(dim=0),
            self._priors(seen, batch),
            torch.stack([one.are_sound for one in compared]).all(dim=0),
        )

    def vanishing(self, seen: Observation) -> float:
        """Return the likelihood's term for an update that is zero."""
        rounds = [one.update.delta for one in (seen, *seen.earlier)]
        return sum(float(self.likelihood(tree.apply(torch.zeros_like, delta), delta)) for delta in rounds)

    def at(self, point: Point) -> Terms:
        """Return the terms with their own unknowns fixed."""
        return replace(self, likelihood=_at(self.likelihood, point), replay=_at(self.replay, point))

    def prior(self, seen: Observation, batch: Batch) -> Tensor:
        """Return the priors' sum, a scalar."""
        return torch.stack([batch.x.new_zeros(()), *(prior(batch, seen) for prior in self.priors)]).sum()

    def _priors(self, seen: Sequence[Observation], batch: Batch) -> Tensor:
        """The priors' term of each candidate."""
        size = len(batch) // len(seen)
        each = [batch[row : row + size] for row in range(0, len(batch), size)]
        found = [
            prior.each(batch, seen[0]).reshape(len(seen), size).mean(dim=1)
            if isinstance(prior, Separable)
            else torch.stack([prior(one, own) for one, own in zip(each, seen, strict=True)])
            for prior in self.priors
        ]
        return torch.stack([batch.x.new_zeros(len(seen)), *found]).sum(dim=0)

    def _products(self, seen: Sequence[Observation], batch: Batch, aim: Target) -> Products | None:
        shapes = {id(one): self._shape(one) for one in seen}
        each = [shape for one in seen if (shape := shapes[id(one)]) is not None]
        if len(each) < len(seen) or (len(shapes) > 1 and not all(shape.is_plain for shape in each)):
            return None
        found = products(seen[0].model, batch, len(seen), aim, each[0].changes)
        if found is None:
            return None
        scales = [shape.scale for shape in each]
        scaled = found if set(scales) == {1.0} else found.scaled(batch.x.new_tensor(scales))
        return scaled if each[0].ended is None else each[0].ended(scaled)

    def _shape(self, seen: Observation) -> Shape | None:
        return self.replay.shape(seen) if isinstance(self.replay, Shaping) else None


def _whole(replayed: Params, seen: Observation) -> Params:
    """The replayed update, with zeros for what was sent and no candidate moves, such as a parameter that is left unused."""
    return {**{name: torch.zeros_like(value) for name, value in seen.update.delta.items() if name not in replayed}, **replayed}


def _at(part: _Part, point: Point) -> _Part:
    return part.at(point) if isinstance(part, Adjustable) else part
