"""The shared wrapper of every defense that changes the weights themselves, before training and after, and not their difference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, final, runtime_checkable

from leakgauge.core import tree
from leakgauge.core.abilities import exchange_gradient
from leakgauge.core.belief import Belief
from leakgauge.core.errors import OutOfScope
from leakgauge.core.protocols import GradientRule
from leakgauge.core.types import Batch, Client, Model, Params, Rng, Update
from leakgauge.defenses.transformed import trained_on


class Cloak(Protocol):
    """A defense as a function on a snapshot of the weights."""

    def cloak(self, weights: Params, /, *, rng: Rng | None) -> Params:
        """Return what is sent in place of `weights`; without `rng`, the part that is not chance."""
        ...


@runtime_checkable
class Blurring(Protocol):
    """A cloak that says what it makes of the difference of two snapshots."""

    def spread(self, belief: Belief, seen: Params, before: Params, /) -> Belief:
        """Return the belief about the difference as it was sent, for weights before training as they were sent.

        Raises OutOfScope where it has no closed form.
        """
        ...


@final
@dataclass(frozen=True)
class Cloaked:
    """A client whose weights before and after training pass through a defense, each by itself, before they leave.

    It trains from its true weights. `before` holds all weights of the model as they are sent, also of layers that are kept back
    after training, so that none is seen as it was; `delta` is the difference of what is sent, its scale that of the client. Buffers
    are sent as they were. A client that sends a gradient is taken for one step of rate 1.
    """

    client: Client
    defense: Cloak

    def __call__(self, model: Model, batch: Batch, /, *, rng: Rng | None = None) -> Update:
        """Return the difference of the defended snapshots. The client draws first, then the snapshots before and after."""
        update = self.client(model, batch, rng=rng)
        start = {**model.params, **(update.before or {})}
        trained = {name: start[name] - value for name, value in update.delta.items()}
        before = self.defense.cloak(start, rng=rng)
        after = self.defense.cloak(trained, rng=rng)
        delta = {name: before[name] - value for name, value in after.items()}
        return replace(update, delta=delta, before=tree.detach(before))

    def spread(self, belief: Belief, seen: Params, model: Model, /) -> Belief:
        """Return the belief about the difference as it is sent. Raises OutOfScope for a cloak that says nothing of it."""
        if not isinstance(self.defense, Blurring):
            raise OutOfScope(f"{type(self.defense).__name__} says nothing of the density of what it sends; choose a likelihood")
        return self.defense.spread(belief, seen, model.params)

    def trained_on(self, model: Model, batch: Batch, /, *, rng: Rng | None) -> Batch:
        """Return what the client trains on."""
        return trained_on(self.client, model, batch, rng=rng)

    def with_gradient(self, rule: GradientRule, /) -> Client:
        """Return this defense around the client with another gradient rule. Raises UsageError where that has none."""
        return replace(self, client=exchange_gradient(self.client, rule))
