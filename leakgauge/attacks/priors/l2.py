"""The L2 prior: normalized pixels are small (GradInversion, Yin et al., CVPR 2021, Eq. 9; Geng et al. 2021, arXiv 2110.09074)."""

from __future__ import annotations

from typing import Literal, final

import torch
from torch import Tensor

from leakgauge.core.algorithm import NonNegative, algorithm
from leakgauge.core.types import Batch, Observation


@final
@algorithm
class L2:
    """`weight` times the mean over examples of their norm in normalized pixels, or times the sum of all squares.

    The mean norm is GradInversion's form, the sum of squares (`form="squares"`) that of Geng et al.
    """

    weight: NonNegative = 1e-6
    form: Literal["norm", "squares"] = "norm"

    def __call__(self, batch: Batch, seen: Observation, /) -> Tensor:
        """Return the weighted size of the pixels."""
        values = seen.model.inputs.normalize(batch.x).flatten(1)
        if self.form == "squares":
            return self.weight * values.square().sum()
        norms: Tensor = torch.linalg.vector_norm(values, dim=1)
        return self.weight * norms.mean()
