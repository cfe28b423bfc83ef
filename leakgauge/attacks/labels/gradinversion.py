"""GradInversion's rule: one label per class with a negative row minimum (Yin et al., CVPR 2021, Eq. 7)."""

from __future__ import annotations

from typing import final

from torch import Tensor

from leakgauge.core.algorithm import algorithm
from leakgauge.core.anatomy import head, moved_tensor
from leakgauge.core.errors import OutOfScope
from leakgauge.core.types import Capability, Observation, Rng


@final
@algorithm
class GradInversionRule:
    """The classes whose rows of the last layer's weight gradient have the smallest minima.

    It assumes that no class occurs twice. Raises OutOfScope for more examples than classes.
    """

    @property
    def needs(self) -> frozenset[Capability]:
        """Nothing but the update."""
        return frozenset()

    def infer(self, seen: Observation, count: int, /, *, rng: Rng) -> Tensor:
        """Return `count` different classes, sorted."""
        if count > seen.model.inputs.classes:
            raise OutOfScope(f"GradInversion's rule finds one label a class: {count} examples, {seen.model.inputs.classes} classes")
        minima = moved_tensor(seen, head(seen.model).weight).amin(dim=1)
        return minima.argsort()[:count].sort().values
