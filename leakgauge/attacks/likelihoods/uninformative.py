"""No likelihood: the update is not looked at."""

from __future__ import annotations

from typing import final

from torch import Tensor

from leakgauge.core.algorithm import algorithm
from leakgauge.core.types import Params


@final
@algorithm
class Uninformative:
    """Zero for every update, so that what a prior alone finds can be told from what the update gave away."""

    def __call__(self, guess: Params, seen: Params, /) -> Tensor:
        """Return zero."""
        return next(iter(seen.values())).new_zeros(())
