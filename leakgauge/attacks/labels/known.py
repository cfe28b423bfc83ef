"""Known labels: the adversary was granted them."""

from __future__ import annotations

from typing import final

from torch import Tensor

from leakgauge.core.algorithm import algorithm
from leakgauge.core.errors import UsageError
from leakgauge.core.types import Capability, Observation, Rng


@final
@algorithm
class Known:
    """The true labels, in sorted order."""

    @property
    def needs(self) -> frozenset[Capability]:
        """LABELS."""
        return frozenset({Capability.LABELS})

    def infer(self, seen: Observation, count: int, /, *, rng: Rng) -> Tensor:
        """Return the granted classes [count]."""
        if seen.labels is None:
            raise UsageError("threat: does not grant labels, which the label rule 'known' needs; choose informed, or another rule")
        return seen.labels
