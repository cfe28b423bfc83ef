"""Joint labels: soft labels are searched for along with the images (DLG, Zhu et al., NeurIPS 2019, Algorithm 1)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from leakgauge.core.algorithm import algorithm
from leakgauge.core.types import Capability, Observation, Rng


@final
@algorithm
class Joint:
    """Standard normal logits to start from; their softmax is the label."""

    @property
    def needs(self) -> frozenset[Capability]:
        """Nothing."""
        return frozenset()

    def infer(self, seen: Observation, count: int, /, *, rng: Rng) -> Tensor:
        """Return logits [count, classes]."""
        like = next(iter(seen.update.delta.values()))
        return torch.randn(count, seen.model.inputs.classes, generator=rng).to(like)
