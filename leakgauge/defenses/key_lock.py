"""The key-lock: what makes the locks' factors never leaves the client (FedKL, Ren et al., arXiv 2305.04095)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch

from leakgauge.core.abilities import exchange_gradient
from leakgauge.core.algorithm import algorithm
from leakgauge.core.belief import Belief
from leakgauge.core.lock import drawn, factors, private, told
from leakgauge.core.protocols import GradientRule
from leakgauge.core.types import Batch, Client, Model, Params, Rng, Update
from leakgauge.defenses.transformed import trained_on


@final
@algorithm
class KeyLock:
    """Keeps the keys of the locks and the layers behind them: they are no part of the update, nor of the weights before it.

    It wants the victim `key_locked`, which has the locks. In place of what is kept, an adversary's model holds zeros.
    """

    def protect(self, client: Client, /) -> Client:
        """Return the client that keeps its locks."""
        return Locked(client)

    def kept(self, model: Model, /) -> Params:
        """Return what the locks are set to, KeyLock.gamma and KeyLock.beta. Raises UsageError for a model without locks."""
        return told(factors(model))

    def own(self, model: Model, /, *, rng: Rng) -> Params:
        """Return a key for every lock, and the layers behind it. Raises UsageError for a model without locks."""
        return drawn(model, rng=rng)


@final
@dataclass(frozen=True)
class Locked:
    """A client whose update says nothing of how its locks are set."""

    client: Client

    def __call__(self, model: Model, batch: Batch, /, *, rng: Rng | None = None) -> Update:
        """Return the update without what is kept. Raises UsageError for a model without locks."""
        kept = private(model)
        update = self.client(model, batch, rng=rng)
        before = model.params if update.before is None else update.before
        return replace(
            update,
            delta={name: value for name, value in update.delta.items() if name not in kept},
            before={name: torch.zeros_like(value) if name in kept else value for name, value in before.items()},
        )

    def spread(self, belief: Belief, seen: Params, model: Model, /) -> Belief:
        """Return the belief about what is sent alone."""
        kept = private(model)
        return belief.among({name: value for name, value in belief.parts[0].center.items() if name not in kept})

    def trained_on(self, model: Model, batch: Batch, /, *, rng: Rng | None) -> Batch:
        """Return what the client trains on."""
        return trained_on(self.client, model, batch, rng=rng)

    def with_gradient(self, rule: GradientRule, /) -> Client:
        """Return this defense around the client with another gradient rule. Raises UsageError where that has none."""
        return replace(self, client=exchange_gradient(self.client, rule))
