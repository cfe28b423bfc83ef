"""iDLG's rule: the one label is the class whose gradient in the last layer is negative (Zhao et al. 2020, arXiv 2001.02610)."""

from __future__ import annotations

from typing import final

from torch import Tensor

from leakgauge.core.algorithm import algorithm
from leakgauge.core.anatomy import head, moved_tensor
from leakgauge.core.errors import OutOfScope
from leakgauge.core.types import Capability, Observation, Rng


@final
@algorithm
class IDLG:
    """The class with the smallest gradient of the last layer's bias, or row sum of its weights where no bias was sent.

    The bias gradient is p - y, negative at the label alone, whatever the activations; the paper's row sums need activations that
    are not negative. Raises OutOfScope for more than one example.
    """

    @property
    def needs(self) -> frozenset[Capability]:
        """Nothing but the update."""
        return frozenset()

    def infer(self, seen: Observation, count: int, /, *, rng: Rng) -> Tensor:
        """Return the class [1]."""
        if count != 1:
            raise OutOfScope(f"iDLG's rule finds the label of one example, the update holds {count}")
        weight, bias = head(seen.model)
        if bias is not None and bias in seen.update.delta:
            return moved_tensor(seen, bias).argmin().reshape(1)
        return moved_tensor(seen, weight).sum(dim=1).argmin().reshape(1)
