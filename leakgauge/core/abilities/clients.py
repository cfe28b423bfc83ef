"""What a client, its gradient rule or its defenses may be able to do beside their verb."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from leakgauge.core.errors import UsageError
from leakgauge.core.protocols import GradientRule, Optimizer
from leakgauge.core.types import Batch, Client, Model, Params, Rng


@runtime_checkable
class Trains(Protocol):
    """A client that says what it trains on, which may be other than what it is handed; a wrapper passes it on."""

    def trained_on(self, model: Model, batch: Batch, /, *, rng: Rng | None) -> Batch:
        """Return what each example became, in the same order and shape, for the `rng` that the update is made with."""
        ...


@runtime_checkable
class Transforming(Protocol):
    """A defense that is a function of the numbers of an update, whatever client has made it."""

    def transform(self, delta: Params, /, *, rng: Rng | None) -> Params:
        """Return what leaves the client in place of `delta`; without `rng`, the part that is not chance."""
        ...


@runtime_checkable
class LocalTraining(Protocol):
    """A client that trains weights itself, so that its update is a difference of weights and no gradient."""

    @property
    def optimizer(self) -> Optimizer:
        """What it trains with."""
        ...

    def sizes(self, examples: int, /) -> list[int]:
        """Return the sizes of all mini-batches, one after the other, where it trains on so many examples."""
        ...


@runtime_checkable
class GradientDefense(Protocol):
    """A client whose gradient rule can be exchanged (what DP-SGD needs)."""

    def with_gradient(self, rule: GradientRule, /) -> Client:
        """Return this client with another gradient rule."""
        ...


def exchange_gradient(client: Client, rule: GradientRule) -> Client:
    """Return the client with another gradient rule.

    Raises UsageError if the client computes its update without a rule that could be exchanged.
    """
    if not isinstance(client, GradientDefense):
        raise UsageError(
            f"client: got {client!r}, which {type(rule).__name__} cannot defend, expected a client whose gradient rule can be "
            "exchanged (with_gradient), such as fedsgd or fedavg; choose one of these or drop the defense"
        )
    return client.with_gradient(rule)


@runtime_checkable
class Differentiating(Protocol):
    """A client that may send one gradient of its batch, in evaluation mode, and nothing else."""

    @property
    def sends_gradient(self) -> bool:
        """Whether it does, as it is set."""
        ...


@runtime_checkable
class Averaging(Protocol):
    """A gradient rule that averages the gradients of single examples itself, however the loss puts examples together."""

    @property
    def averages(self) -> bool:
        """True."""
        ...


@runtime_checkable
class Accountable(Protocol):
    """A gradient rule with a privacy loss: examples clipped one by one, and normal noise."""

    @property
    def noise_multiplier(self) -> float:
        """The noise in a sum of gradients, as a multiple of what one example can add to it."""
        ...


@runtime_checkable
class Owning(Protocol):
    """A defense that gives a client tensors of its own, such as a key, which no server has and no other client."""

    def own(self, model: Model, /, *, rng: Rng) -> Params:
        """Return what a client starts with. Raises UsageError for a model without a place for it."""
        ...


@runtime_checkable
class Keeping(Protocol):
    """A defense whose client keeps something to itself that its update depends on."""

    def kept(self, model: Model, /) -> Params:
        """Return it for the client's model, by names as KeyLock.gamma. Raises UsageError for a model without it."""
        ...
