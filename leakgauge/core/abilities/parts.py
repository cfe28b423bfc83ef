"""What a likelihood, a replay, a label rule or an objective may be able to do beside its verb."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from leakgauge.core.protocols import Found, Likelihood, Objective, Point, Replay
from leakgauge.core.types import Batch, Observation, Params, Rng, Tick


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
class Uncovering(Protocol):
    """A part whose unknowns are what a client keeps to itself."""

    def uncovered(self, seen: Observation, point: Point, /) -> Params:
        """Return what it takes that for, by names as KeyLock.gamma, at a point that holds its unknowns."""
        ...


@runtime_checkable
class Opening(Protocol):
    """A replay that sets locks itself, and not as the model has them that the adversary holds."""

    @property
    def opens(self) -> bool:
        """True."""
        ...


@runtime_checkable
class Batched(Protocol):
    """An objective that can be evaluated at many points at once, for less than what they would take one by one."""

    def each(self, points: Point, /) -> Tensor:
        """Return the loss [n] of each of n points, whose tensors are stacked: equal to those one by one, up to rounding."""
        ...


class Descents(NamedTuple):
    """Losses [n] of n points, and the slope of each at its own point, under the names of the unknowns and stacked as they are."""

    losses: Tensor
    slopes: Point


@runtime_checkable
class Descending(Protocol):
    """An objective that has a way of its own to its slopes, such as one for many points at once."""

    def descents(self, points: Point, /) -> Descents:
        """Return losses and slopes at each of n points, whose tensors are stacked: equal to those one by one, up to rounding."""
        ...


@runtime_checkable
class Concurrent(Protocol):
    """A search that can follow many starts at once."""

    def minimize_each(
        self,
        objective: Objective | Descending,
        starts: Point,
        /,
        *,
        project: Callable[[Point], Point],
        goals: Sequence[float],
        targets: Sequence[int],
        rngs: Sequence[Rng],
        tick: Tick,
    ) -> list[Found]:
        """Return what `minimize` finds from each of n starts, whose tensors are stacked.

        `goals` are one for each start, and so are `targets`, which say what it is after: starts of one target end where one of
        them reaches its goal.
        """
        ...


@runtime_checkable
class Separable(Protocol):
    """A prior that is a mean over examples, whatever the update is that was seen."""

    def each(self, batch: Batch, seen: Observation, /) -> Tensor:
        """Return -log p of each example [n], up to a constant: their mean is the prior of the batch."""
        ...


@runtime_checkable
class Foreseeing(Protocol):
    """A search that can say beforehand how long it will take."""

    @property
    def evaluations(self) -> int:
        """How often it asks for slopes, unless it ends early."""
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
