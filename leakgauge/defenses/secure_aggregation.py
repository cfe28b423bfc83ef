"""Secure aggregation: the server sees the sum over many clients only (Bonawitz et al., CCS 2017, doi 10.1145/3133956.3133982)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from leakgauge.core import tree
from leakgauge.core.abilities import exchange_gradient
from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.errors import UsageError
from leakgauge.core.protocols import GradientRule
from leakgauge.core.types import Batch, Client, Model, Rng, Update
from leakgauge.defenses.transformed import trained_on


@final
@algorithm
class SecureAggregation:
    """Spreads the batch evenly over `clients`, in order, and sends the mean of their updates alone.

    An idealized protocol: exact arithmetic, no dropouts, and no client on the server's side. Defenses listed before it act
    within each client, those after it on the mean.
    """

    clients: Count = 4

    def protect(self, client: Client, /) -> Client:
        """Return a group of such clients behind an aggregator."""
        return Aggregated(client, self)


@final
@dataclass(frozen=True)
class Aggregated:
    """Equal clients, each with its part of the batch, seen as one."""

    client: Client
    defense: SecureAggregation

    def __call__(self, model: Model, batch: Batch, /, *, rng: Rng | None = None) -> Update:
        """Return the mean update for all examples, at the clients' scale. Raises UsageError if the batch does not divide."""
        first, *rest = [self.client(model, part, rng=rng) for part in self._parts(batch)]
        return replace(
            first,
            delta=tree.apply(_mean, first.delta, *(update.delta for update in rest)),
            buffers=tree.apply(_mean, first.buffers, *(update.buffers for update in rest)),
            before=None if first.before is None else tree.apply(_mean, first.before, *(update.before or {} for update in rest)),
            examples=len(batch),
        )

    def trained_on(self, model: Model, batch: Batch, /, *, rng: Rng | None) -> Batch:
        """Return what the clients train on, one after the other."""
        parts = []
        for part in self._parts(batch):
            parts.append(trained_on(self.client, model, part, rng=None if rng is None else rng.clone_state()))
            self.client(model, part, rng=rng)  # all that a client draws is drawn before the next one begins
        return Batch(torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts]))

    def with_gradient(self, rule: GradientRule, /) -> Client:
        """Return such clients with another gradient rule each. Raises UsageError where they have none."""
        return replace(self, client=exchange_gradient(self.client, rule))

    def _parts(self, batch: Batch) -> list[Batch]:
        count = self.defense.clients
        if len(batch) == 0 or len(batch) % count:
            raise UsageError(
                f"SecureAggregation.clients: got {count} for {len(batch)} examples, expected a divisor of the batch; "
                "change the number of clients or of examples"
            )
        rows = torch.split(torch.arange(len(batch), device=batch.x.device), len(batch) // count)
        return [batch[part] for part in rows]


def _mean(*values: Tensor) -> Tensor:
    """The mean; of counters (BatchNorm's num_batches_tracked) the first, which all clients share."""
    return torch.stack(values).mean(0) if values[0].is_floating_point() else values[0]
