"""Mixup: training on mixtures of two examples (Zhang et al., ICLR 2018, arXiv 1710.09412)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from leakgauge.core.abilities import exchange_gradient
from leakgauge.core.algorithm import Positive, algorithm
from leakgauge.core.belief import Belief
from leakgauge.core.errors import UsageError
from leakgauge.core.protocols import GradientRule
from leakgauge.core.types import Batch, Client, Model, Params, Rng, Update
from leakgauge.defenses.transformed import trained_on


@final
@algorithm
class Mixup:
    """Mixes the batch, labels included, with a permutation of itself: m * own + (1 - m) * partner, one m ~ Beta(alpha, alpha).

    The client's batch is mixed once, before its local training. Without an `rng` the examples are at their expectation, half
    themselves and half the mean of the batch: m has mean 1/2, and every example is an equally likely partner.
    """

    alpha: Positive = 1.0

    def protect(self, client: Client, /) -> Client:
        """Return the client on mixed examples."""
        return Mixed(client, self)

    def mix(self, batch: Batch, classes: int, /, *, rng: Rng | None) -> Batch:
        """Return the mixed batch, with soft labels [n, classes]. Raises UsageError for a single example."""
        if len(batch) < 2:
            raise UsageError("batch: got 1 example, expected at least 2, since mixup needs a partner; enlarge it or drop mixup")
        hard = batch.y if batch.y.is_floating_point() else one_hot(batch.y, classes)
        y = hard.to(batch.x.dtype)
        if rng is None:
            return Batch(_with_mean(batch.x), _with_mean(y))
        order = torch.randperm(len(batch), generator=rng).to(batch.x.device)
        seed = int(torch.randint(2**62, (), generator=rng))  # torch draws no Beta from a generator of one's own
        share = float(np.random.default_rng(seed).beta(self.alpha, self.alpha))
        return Batch(share * batch.x + (1 - share) * batch.x[order], share * y + (1 - share) * y[order])


@final
@dataclass(frozen=True)
class Mixed:
    """A client that sees mixtures of its examples."""

    client: Client
    defense: Mixup

    def __call__(self, model: Model, batch: Batch, /, *, rng: Rng | None = None) -> Update:
        """Return the client's update on the mixed batch."""
        return self.client(model, self.defense.mix(batch, model.inputs.classes, rng=rng), rng=rng)

    def trained_on(self, model: Model, batch: Batch, /, *, rng: Rng | None) -> Batch:
        """Return the mixtures, each in the place of the example that it was made for, and what the client makes of them."""
        return trained_on(self.client, model, self.defense.mix(batch, model.inputs.classes, rng=rng), rng=rng)

    def spread(self, belief: Belief, seen: Params, model: Model, /) -> Belief:
        """Return the belief as it is: candidates stand for the mixtures, which is what can be found, not for their mean."""
        return belief

    def with_gradient(self, rule: GradientRule, /) -> Client:
        """Return this defense around the client with another gradient rule. Raises UsageError where that has none."""
        return replace(self, client=exchange_gradient(self.client, rule))


def _with_mean(values: Tensor) -> Tensor:
    return (values + values.mean(0, keepdim=True)) / 2
