"""The client inside its defenses: the replay for likelihoods that know what the defenses do."""

from __future__ import annotations

from typing import final

from leakgauge.core.algorithm import algorithm
from leakgauge.core.belief import peeled
from leakgauge.core.errors import UsageError
from leakgauge.core.types import Batch, Capability, Observation, Params


@final
@algorithm
class Undefended:
    """Runs the granted client without the defenses that can say how they spread numbers; all others stay (mixup, Soteria)."""

    @property
    def needs(self) -> frozenset[Capability]:
        """PROCEDURE."""
        return frozenset({Capability.PROCEDURE})

    def __call__(self, seen: Observation, batch: Batch, /) -> Params:
        """Return the update of the candidate before any such defense, without any chance in it."""
        if seen.client is None:
            raise UsageError("threat: does not grant procedure, which the replay 'undefended' needs; use the replay one_gradient")
        client, _ = peeled(seen.client)
        return client(seen.model, batch).delta
