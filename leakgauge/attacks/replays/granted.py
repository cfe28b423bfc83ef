"""The granted procedure: the adversary does with its candidate what the client did with its data."""

from __future__ import annotations

from typing import final

from leakgauge.attacks.engine.products import Shape
from leakgauge.core.abilities import Differentiating
from leakgauge.core.algorithm import algorithm
from leakgauge.core.errors import UsageError
from leakgauge.core.types import Batch, Capability, Observation, Params


@final
@algorithm
class Granted:
    """Runs the client that the threat model grants: local training is unrolled, a known defense applied."""

    @property
    def needs(self) -> frozenset[Capability]:
        """PROCEDURE."""
        return frozenset({Capability.PROCEDURE})

    @property
    def uses(self) -> frozenset[str]:
        """DEFENSE: the client is granted inside its defenses."""
        return frozenset({Capability.DEFENSE})

    def __call__(self, seen: Observation, batch: Batch, /) -> Params:
        """Return the update of the candidate, without any chance in it."""
        if seen.client is None:
            raise UsageError("threat: does not grant procedure, which the replay 'granted' needs; use the replay one_gradient")
        return seen.client(seen.model, batch).delta

    def shape(self, seen: Observation, /) -> Shape | None:
        """Return that of a gradient, for a client that sends it."""
        is_one = isinstance(seen.client, Differentiating) and seen.client.sends_gradient
        return Shape() if is_one else None
