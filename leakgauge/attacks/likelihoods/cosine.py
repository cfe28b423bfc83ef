"""The cosine likelihood: only the direction counts (Inverting Gradients, Geiping et al., NeurIPS 2020, Eq. 4)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from leakgauge.attacks.engine.products import Products
from leakgauge.core import tree
from leakgauge.core.algorithm import Positive, algorithm
from leakgauge.core.types import Params


@final
@algorithm
class Cosine:
    """`weight` times 1 - cos of the angle between the two updates as single vectors; blind to their scale, not to their sign.

    A zero vector on either side has cosine 0.
    """

    weight: Positive = 1.0

    def __call__(self, guess: Params, seen: Params, /) -> Tensor:
        """Return the weighted angular distance over the tensors that were seen."""
        return self.weight * (1 - tree.cosine(guess, seen))

    def compare(self, found: Products, /) -> Tensor:
        """Return the weighted angular distance of each candidate."""
        dots, squares, target = found.total()
        return self.weight * (1 - dots / (squares * target).clamp_min(torch.finfo(squares.dtype).tiny).sqrt())
