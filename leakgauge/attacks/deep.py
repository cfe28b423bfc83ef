"""What takes the place of some parts of an attack in a network of many rectifiers, where every way to the image is broken."""

from __future__ import annotations

from typing import Any, final

from leakgauge.attacks.annealing import Annealing
from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.kinks import kinks
from leakgauge.core.protocols import Search
from leakgauge.core.types import Model


@final
@algorithm
class Deep:
    """The search, annealing and restarts for networks of more than `beyond` rectifiers and pools in a forward pass.

    Up to there a search can follow an update to the very image behind it; beyond, a rectifier switches at every step of the way.
    It depends on the network alone, which everybody has.
    """

    search: Search
    annealing: Annealing | None = None
    restarts: Count = 1
    beyond: Count = 3

    def instead(self, model: Model, /) -> dict[str, Any]:
        """Return parts by name that take the place of an attack's: none in a shallower network.

        Raises UsageError for whatever the network raises.
        """
        if kinks(model) <= self.beyond:
            return {}
        return {"search": self.search, "annealing": self.annealing, "restarts": self.restarts, "deep": None}
