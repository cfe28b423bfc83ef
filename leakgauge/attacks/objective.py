"""What a search minimizes: -log p(update | x) - log p(x) of the batch that a point stands for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from leakgauge.attacks.ball import Ball
from leakgauge.attacks.dummies import draw
from leakgauge.attacks.engine.products import Target, target, unwritten
from leakgauge.attacks.terms import Losses, Terms
from leakgauge.core.abilities import Generative, conditioned
from leakgauge.core.protocols import Point, Space
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Observation, Rng
from leakgauge.core.workload import operations


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
    weight: float = 1.0  # of the likelihood

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

    def __call__(self, point: Point) -> Tensor:
        """Return the objective at a point; over a ball, its mean."""
        batch, terms = self.batch_at(point), self.terms.at(point)
        nearby = [batch] if self.ball is None else self.ball.around(batch, rng=self.rng)
        loss = torch.stack([terms.loss(self.seen, one, self.weight) for one in nearby]).mean()
        return loss + self.space.energy(point["x"]).sum() if isinstance(self.space, Generative) else loss

    def weighted(self, weight: float) -> Problem:
        """Return the same problem with the likelihood at another weight."""
        return replace(self, weight=weight)

    def worth(self, point: Point) -> float:
        """Return the weight that the likelihood deserves by how well a point explains the update.

        Of N numbers with Gaussian noise of unknown variance, -log p(u | x) is N / 2 times the logarithm of the squared misfit, to
        which the likelihood is taken to be in proportion: its slope is that of N / (2 misfit) likelihood. Of d numbers, -log p(x)
        is about d times the prior in units of what it is of pink noise, whose spectrum is that of photographs. Infinite without a
        misfit, and where the prior says nothing (a vector has no variation).
        """
        with torch.no_grad():
            batch = self.batch_at(point)
            misfit = float(self.terms.at(point).misfit(self.seen, batch))
        numbers = sum(value.numel() for one in (self.seen, *self.seen.earlier) for value in one.update.delta.values())
        return numbers * self.usual / (2 * batch.x.numel() * misfit) if misfit > 0 and self.usual > 0 else math.inf

    @cached_property
    def usual(self) -> float:
        """The prior of pink noise."""
        inputs, like = self.seen.model.inputs, next(iter(self.seen.update.delta.values()))
        x = draw(inputs, _DUMMIES, "pink", rng=stream(0, "usual")).to(like)
        labels = torch.arange(_DUMMIES, device=x.device) % inputs.classes
        with torch.no_grad():
            return float(self.terms.prior(self.seen, Batch(x, labels)))

    def project(self, point: Point) -> Point:
        """Return the nearest allowed point."""
        return {**point, "x": self.space.project(point["x"], self.seen)}

    @property
    def is_shareable(self) -> bool:
        """Whether candidates can be computed at once."""
        return self.ball is None and self.terms.can_compare(self.seen)

    @cached_property
    def unwritten(self) -> int:
        """How many numbers of a candidate's gradient need not be written down."""
        inputs, like = self.seen.model.inputs, next(iter(self.seen.update.delta.values()))
        return unwritten(self.seen.model, Batch(like.new_zeros(len(self.labels), *inputs.shape), self.labels))

    @cached_property
    def operations(self) -> int:
        """How many floating-point operations one candidate takes on its way through the network."""
        inputs, like = self.seen.model.inputs, next(iter(self.seen.update.delta.values()))
        return operations(self.seen.model, like.new_zeros(len(self.labels), *inputs.shape))

    @cached_property
    def vanishing(self) -> float:
        """The likelihood's term of an update that is zero."""
        return self.terms.vanishing(self.seen)


_DUMMIES = 8


def go_together(problems: Sequence[Problem]) -> bool:
    """Return whether problems of one attack, each of an update of its own, can be computed at once: they are of one model."""
    first = problems[0]
    return (
        all(one.is_shareable for one in problems)
        and first.terms.go_together([one.seen for one in problems])
        and all(one.labels.shape == first.labels.shape and one.is_joint == first.is_joint for one in problems)
        and all(_is_same(one.seen, first.seen) for one in problems)
    )


def _is_same(one: Observation, other: Observation) -> bool:
    """Whether two updates are of one model, and of the same tensors."""
    models, sent = (one.model, other.model), (one.update.delta, other.update.delta)
    held = [{**model.params, **model.buffers} for model in models]
    return (
        models[0].net is models[1].net
        and held[0].keys() == held[1].keys()
        and all(torch.equal(value, held[1][name]) for name, value in held[0].items())
        and sent[0].keys() == sent[1].keys()
    )


def aims_of(problems: Sequence[Problem]) -> tuple[Target, ...]:
    """Return the update of each round, to compare gradients with; one for each problem where there are several."""
    seen = {id(one.seen): one.seen for one in problems}
    each = list(seen.values()) if len(seen) == 1 else [one.seen for one in problems]
    rounds = zip(*((one, *one.earlier) for one in each), strict=True)
    return tuple(target(*(one.update.delta for one in updates)) for updates in rounds)


def losses_of(problems: Sequence[Problem], points: Point, aims: Sequence[Target]) -> Losses | None:
    """Return the terms at n stacked points, each of a problem of its own: all of one search but for labels, or updates.

    `aims` are those of the problems. None where they cannot be computed at once.
    """
    first = problems[0]
    if first.ball is not None or not points.keys() <= {"x", "y"}:
        return None
    count, size = points["x"].shape[:2]
    labels = points["y"].softmax(dim=-1).flatten(0, 1) if first.is_joint else torch.cat([one.labels for one in problems])
    x = points["x"].flatten(0, 1)
    batch = Batch(conditioned(first.space, labels).decode(x, first.seen), labels)
    found = first.terms.losses([one.seen for one in problems], batch, aims)
    if found is None or not isinstance(first.space, Generative):
        return found
    return found._replace(prior=found.prior + first.space.energy(x).reshape(count, size).sum(dim=1))
