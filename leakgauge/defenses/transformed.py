"""The shared wrapper of every defense that changes the update after the client has computed it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, final, runtime_checkable

from leakgauge.core.abilities import Trains, Transforming, exchange_gradient
from leakgauge.core.belief import Belief
from leakgauge.core.protocols import GradientRule
from leakgauge.core.types import Batch, Client, Model, Params, Rng, Update


@runtime_checkable
class Chance(Protocol):
    """A transform with chance in it, whose density is known."""

    def spread(self, belief: Belief, seen: Params, /) -> Belief:
        """Return the belief about what leaves, from that about what came. Raises OutOfScope where it has no closed form."""
        ...


@final
@dataclass(frozen=True)
class Transformed:
    """A client whose `delta` passes through a defense before it leaves; all else is sent as it was."""

    client: Client
    defense: Transforming

    def __call__(self, model: Model, batch: Batch, /, *, rng: Rng | None = None) -> Update:
        """Return the defended update. The client draws first, so that its own chance is the same with and without defense."""
        update = self.client(model, batch, rng=rng)
        return replace(update, delta=self.defense.transform(update.delta, rng=rng))

    def spread(self, belief: Belief, seen: Params, model: Model, /) -> Belief:
        """Return the belief about what leaves: a transform that says nothing of chance moves the numbers, and no more."""
        if isinstance(self.defense, Chance):
            return self.defense.spread(belief, seen)
        return belief.moved(lambda center: self.defense.transform(center, rng=None))

    def trained_on(self, model: Model, batch: Batch, /, *, rng: Rng | None) -> Batch:
        """Return what the client trains on."""
        return trained_on(self.client, model, batch, rng=rng)

    def with_gradient(self, rule: GradientRule, /) -> Client:
        """Return this defense around the client with another gradient rule. Raises UsageError where that has none."""
        return replace(self, client=exchange_gradient(self.client, rule))


def trained_on(client: Client, model: Model, batch: Batch, *, rng: Rng | None) -> Batch:
    """Return what a client trains on: the batch itself, unless it says otherwise."""
    return client.trained_on(model, batch, rng=rng) if isinstance(client, Trains) else batch
