"""What an algorithm may be able to do beside its verb: optional protocols, asked for by `isinstance`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

from torch import Tensor

from leakgauge.core.errors import UsageError
from leakgauge.core.protocols import Attack, GradientRule, Likelihood, Optimizer, Point, Replay, Space
from leakgauge.core.types import Batch, Capability, Client, Inputs, Model, Observation, Params, Rng, Tick


@runtime_checkable
class Informable(Protocol):
    """An attack that has a stronger self for when everything is granted: the positive control."""

    def informed(self) -> Attack:
        """Return the attack that uses every grant."""
        ...


@runtime_checkable
class Diagnosable(Protocol):
    """An attack whose objective can be evaluated at a batch: after the attack, to say why it failed."""

    def loss_at(self, seen: Observation, batch: Batch, /) -> Tensor:
        """Return the attack's objective at this batch, a scalar."""
        ...


@runtime_checkable
class Limited(Protocol):
    """An attack that may only be able to make certain pictures, such as those of a generator."""

    def sample(self, seen: Observation, count: int, /, *, rng: Rng) -> Batch | None:
        """Return examples that it can make, drawn by chance; None where it can make any."""
        ...

    def nearest(self, seen: Observation, batch: Batch, /, *, rng: Rng, tick: Tick) -> Batch | None:
        """Return the examples nearest to a batch that it can make; None where it can make any. For after the attack."""
        ...


@runtime_checkable
class Learned(Protocol):
    """An attack, or a part of one, that has learned from images of its own, such as a generator's."""

    def knows(self, x: Tensor, inputs: Inputs, /) -> Tensor:
        """Return [n], whether each of some examples, in pixels, is among those that it learned from."""
        ...


ROUNDS = "rounds"
"""What `Using` names beside capabilities: earlier rounds of the same batch."""


@runtime_checkable
class Using(Protocol):
    """An attack, or a part of one, that says what it makes use of, beyond what it needs, where that is granted."""

    @property
    def uses(self) -> frozenset[str]:
        """Capabilities, and `ROUNDS`: without one of them the guess would be another."""
        ...


def inmost(attack: Attack) -> Attack:
    """Return the attack inside those that do something before they run another one."""
    while isinstance(inner := getattr(attack, "attack", None), Needing):
        attack = cast(Attack, inner)
    return attack


def used_by(*parts: object) -> frozenset[str]:
    """Return what parts need, and what they say that they use."""
    needed = (part.needs for part in parts if isinstance(part, Needing))
    return frozenset[str]().union(*needed, *(part.uses for part in parts if isinstance(part, Using)))


@runtime_checkable
class Needing(Protocol):
    """An attack, or a part of one, that cannot do without some grants."""

    @property
    def needs(self) -> frozenset[Capability]:
        """The capabilities that must be granted."""
        ...


class Believed(NamedTuple):
    """Labels, and how far the rule that found them trusts itself."""

    labels: Tensor
    share: float | None  # of the labels that it expects to be right; None where it cannot say


@runtime_checkable
class Believing(Protocol):
    """A label rule that says how sure it is."""

    def believe(self, seen: Observation, count: int, /, *, rng: Rng) -> Believed:
        """Return what `infer` returns, and the share of it that the rule expects to be right."""
        ...


@runtime_checkable
class Adjustable(Protocol):
    """A likelihood or a replay with unknowns of its own, such as a scale, which are searched along with the examples.

    As it stands, such a part takes the best value that it knows for them; what it is `at` a point is a part without unknowns.
    """

    def unknowns(self, seen: Observation, /, *, restart: int) -> Point:
        """Return where the search starts, under names of this part's own; `restart` counts from 0."""
        ...

    def at(self, point: Point, /) -> Any:
        """Return the part, a likelihood or a replay, with its unknowns fixed at a point that holds their names."""
        ...

    def remarks(self, start: Point, end: Point, /) -> tuple[str, ...]:
        """Say what became of the unknowns where that tells a good search from a bad one; empty if all is well."""
        ...


@runtime_checkable
class Batched(Protocol):
    """An objective that can be evaluated at many points at once, for less than what they would take one by one."""

    def each(self, points: Point, /) -> Tensor:
        """Return the loss [n] of each of n points, whose tensors are stacked: equal to those one by one, up to rounding."""
        ...


@runtime_checkable
class Conditional(Protocol):
    """A space whose images depend on their labels."""

    def given(self, labels: Tensor, /) -> Space:
        """Return the space of images of these labels, [n] or [n, classes]."""
        ...


def conditioned(space: Space, labels: Tensor) -> Space:
    """Return the space of images of these labels; the space itself where its images depend on none."""
    return space.given(labels) if isinstance(space, Conditional) else space


@runtime_checkable
class Generative(Protocol):
    """A space of a model of images: it cannot make every image, and some of its points are likelier than others."""

    def draw(self, seen: Observation, count: int, /, *, rng: Rng) -> Tensor:
        """Return a point by chance, as likely as the model has it."""
        ...

    def energy(self, point: Tensor, /) -> Tensor:
        """Return -log p of each example's part of a point, [n], up to a constant."""
        ...


@runtime_checkable
class Deepening(Protocol):
    """A space of a model of images, in which a search can go on nearer to the pixels."""

    def deeper(self, point: Tensor, seen: Observation, /, *, radius: float) -> tuple[Space, Tensor] | None:
        """Return the next space, whose points stay within `radius`, and the same images in it; None where there is none left."""
        ...


@runtime_checkable
class Averaging(Protocol):
    """A gradient rule that averages the gradients of single examples itself, however the loss puts examples together."""

    @property
    def averages(self) -> bool:
        """True."""
        ...


class Bound(NamedTuple):
    """A likelihood for one observation, the replay that goes with it, and what was noticed, a sentence each."""

    likelihood: Likelihood
    replay: Replay
    notes: tuple[str, ...] = ()


@runtime_checkable
class Implying(Protocol):
    """A likelihood that depends on more of the observation than the update: what the client did, as far as that is granted."""

    def bound(self, seen: Observation, replay: Replay, /) -> Bound:
        """Return the likelihood for this observation, and the replay in place of the one that an attack was given."""
        ...


class Fixed(NamedTuple):
    """A replay for one observation, and what it took from the update: the settings of defenses, as `Clipping.norm`."""

    replay: Replay
    estimates: Mapping[str, float]


@runtime_checkable
class Estimating(Protocol):
    """A replay with settings that it reads off the update."""

    def fixed(self, seen: Observation, /) -> Fixed:
        """Return the replay for this observation."""
        ...


@runtime_checkable
class Uncovering(Protocol):
    """A part whose unknowns are what a client keeps to itself."""

    def uncovered(self, seen: Observation, point: Point, /) -> Params:
        """Return what it takes that for, by names as KeyLock.gamma, at a point that holds its unknowns."""
        ...


@runtime_checkable
class Keeping(Protocol):
    """A defense whose client keeps something to itself that its update depends on."""

    def kept(self, model: Model, /) -> Params:
        """Return it for the client's model, by names as KeyLock.gamma. Raises UsageError for a model without it."""
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
class Trains(Protocol):
    """A client that says what it trains on, which may be other than what it is handed; a wrapper passes it on."""

    def trained_on(self, model: Model, batch: Batch, /, *, rng: Rng | None) -> Batch:
        """Return what each example became, in the same order and shape, for the `rng` that the update is made with."""
        ...
