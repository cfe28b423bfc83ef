"""What a search minimizes: -log p(update | x) - log p(x) of the batch that a point stands for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar, final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from leakgauge.attacks.ball import Ball
from leakgauge.attacks.copies import EpochCopies
from leakgauge.attacks.population.products import Comparing, Products, Shape, Shaping, products
from leakgauge.core.abilities import Adjustable, Generative, conditioned
from leakgauge.core.protocols import Likelihood, Point, Prior, Replay, Space
from leakgauge.core.types import Batch, Observation, Params, Rng

_Part = TypeVar("_Part", Likelihood, Replay)
_AT_ONCE = 16
"""Examples of a population that run through the network together: more take more memory, and hardly less time."""


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

    def losses(self, seen: Observation, batch: Batch, candidates: int) -> Tensor | None:
        """Return the loss [candidates] of batches that stand one behind the other; None where one by one is all there is."""
        rounds = (seen, *seen.earlier)
        if self.copies is not None or not isinstance(self.likelihood, Comparing):
            return None
        with sdpa_kernel(SDPBackend.MATH):
            found = [_products(self.replay, one, batch, candidates) for one in rounds]
        if any(one is None for one in found):
            return None
        size = len(batch) // candidates
        each = [batch[row * size : (row + 1) * size] for row in range(candidates)]
        priors = torch.stack([self._prior(seen, one) for one in each])
        return torch.stack([self.likelihood.compare(one) for one in found if one is not None]).sum(dim=0) + priors

    def at(self, point: Point) -> Terms:
        """Return the terms with their own unknowns fixed."""
        return replace(self, likelihood=_at(self.likelihood, point), replay=_at(self.replay, point))

    def _prior(self, seen: Observation, batch: Batch) -> Tensor:
        return torch.stack([batch.x.new_zeros(()), *(prior(batch, seen) for prior in self.priors)]).sum()


@final
@dataclass(frozen=True)
class Problem:
    """One search: the terms, the space that it walks in, and labels to hold fixed, or logits that it starts from."""

    seen: Observation
    terms: Terms
    space: Space
    labels: Tensor
    ball: Ball | None
    rng: Rng  # for the ball

    @property
    def is_joint(self) -> bool:
        """Whether labels are among the unknowns."""
        return self.labels.is_floating_point()

    def labels_at(self, point: Point) -> Tensor:
        """Return the labels of a point: classes [n], or shares [n, classes]."""
        return point["y"].softmax(dim=-1) if self.is_joint else self.labels

    def batch_at(self, point: Point) -> Batch:
        """Return the batch that a point stands for."""
        labels = self.labels_at(point)
        return Batch(conditioned(self.space, labels).decode(point["x"], self.seen), labels)

    def __call__(self, point: Point, weight: float = 1.0) -> Tensor:
        """Return the objective at a point, with the likelihood at a weight; over a ball, its mean."""
        batch, terms = self.batch_at(point), self.terms.at(point)
        nearby = [batch] if self.ball is None else self.ball.around(batch, rng=self.rng)
        loss = torch.stack([terms.loss(self.seen, one, weight) for one in nearby]).mean()
        return loss + self.space.energy(point["x"]).sum() if isinstance(self.space, Generative) else loss

    def each(self, points: Point, /) -> Tensor:
        """Return the objective at each of n points, whose tensors are stacked."""
        count = len(points["x"])
        at_once = max(1, _AT_ONCE // points["x"].shape[1])
        parts = [{name: value[row : row + at_once] for name, value in points.items()} for row in range(0, count, at_once)]
        return torch.cat([self._part(part) for part in parts])

    def project(self, point: Point) -> Point:
        """Return the nearest allowed point."""
        return {**point, "x": self.space.project(point["x"], self.seen)}

    def _part(self, points: Point) -> Tensor:
        count, size = points["x"].shape[:2]
        if self.ball is None and points.keys() <= {"x", "y"}:
            labels = points["y"].softmax(dim=-1).flatten(0, 1) if self.is_joint else self.labels.repeat(count)
            x = points["x"].flatten(0, 1)
            batch = Batch(conditioned(self.space, labels).decode(x, self.seen), labels)
            losses = self.terms.losses(self.seen, batch, count)
            if losses is not None:
                energy = self.space.energy(x) if isinstance(self.space, Generative) else x.new_zeros(len(x))
                return losses + energy.reshape(count, size).sum(dim=1)
        return torch.stack([self({name: value[row] for name, value in points.items()}) for row in range(count)])


def _products(replay: Replay, seen: Observation, batch: Batch, candidates: int) -> Products | None:
    shape: Shape | None = replay.shape(seen) if isinstance(replay, Shaping) else None
    if shape is None:
        return None
    found = products(seen.model, batch, candidates, seen.update.delta, shape.changes)
    return None if found is None else shape.scaled(found)


def _whole(replayed: Params, seen: Observation) -> Params:
    """The replayed update, with zeros for what was sent and no candidate moves, such as a parameter that is left unused."""
    return {**{name: torch.zeros_like(value) for name, value in seen.update.delta.items() if name not in replayed}, **replayed}


def _at(part: _Part, point: Point) -> _Part:
    return part.at(point) if isinstance(part, Adjustable) else part
