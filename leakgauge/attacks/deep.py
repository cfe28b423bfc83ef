"""What takes the place of some parts of an attack in a network of many rectifiers, where an update is explained by other means."""

from __future__ import annotations

from typing import Any, final

from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.kinks import kinks
from leakgauge.core.protocols import Likelihood, Prior, Search
from leakgauge.core.types import Model


@final
@algorithm
class Deep:
    """The likelihood, priors, search and restarts for networks of more than `beyond` rectifiers and pools in a forward pass.

    Up to there a search can follow an update to the very image behind it; beyond, every step of the way is broken by rectifiers
    that switch, and what fits best is not what is nearest. It depends on the network alone, which everybody has.
    """

    likelihood: Likelihood
    priors: tuple[Prior, ...]
    search: Search
    restarts: Count = 1
    beyond: Count = 6

    def instead(self, model: Model, /) -> dict[str, Any]:
        """Return parts by name that take the place of an attack's: none in a shallower network.

        Raises UsageError for whatever the network raises.
        """
        if kinks(model) <= self.beyond:
            return {}
        parts = {"likelihood": self.likelihood, "priors": self.priors, "search": self.search, "restarts": self.restarts}
        return {**parts, "annealing": None, "deep": None}
