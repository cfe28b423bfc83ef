"""What an attack may be able to do beside its verb, and what all its parts may."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast, runtime_checkable

from torch import Tensor

from leakgauge.core.protocols import Attack
from leakgauge.core.types import Batch, Capability, Inputs, Observation, Reconstruction, Rng, Tick


@runtime_checkable
class Informable(Protocol):
    """An attack that has a stronger self for when everything is granted: the positive control."""

    def informed(self) -> Attack:
        """Return the attack that uses every grant."""
        ...


@runtime_checkable
class Simultaneous(Protocol):
    """An attack that can look for the batches behind several updates at once, for less than what they would take in turn."""

    def run_each(self, seen: Sequence[Observation], /, *, rngs: Sequence[Rng], tick: Tick) -> list[Reconstruction]:
        """Return what `run` returns for each, up to rounding. Raises OutOfScope where it does not apply to one of them."""
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


@runtime_checkable
class Needing(Protocol):
    """An attack, or a part of one, that cannot do without some grants."""

    @property
    def needs(self) -> frozenset[Capability]:
        """The capabilities that must be granted."""
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
