"""The ball of the Bayes-optimal adversary, to whom a guess near the truth is as good (Balunovic et al., ICLR 2022, Sec. 4.1)."""

from __future__ import annotations

from typing import final

import torch

from leakgauge.core.algorithm import Count, NonNegative, algorithm
from leakgauge.core.types import Batch, Rng


@final
@algorithm
class Ball:
    """`samples` points drawn uniformly from the ball of `radius` (L2, in pixels) around every example, anew at every evaluation.

    The adversary who wins by any guess within the radius maximizes the mass of p(x given u) in the ball. By Jensen's inequality
    the mean of the log density over the ball bounds its logarithm from below; the draws are its Monte-Carlo estimate.
    Radius 0 is the maximum a posteriori. A search with line searches wants an objective that does not change: take Adam.
    """

    radius: NonNegative = 1.0
    samples: Count = 4

    def around(self, batch: Batch, /, *, rng: Rng) -> list[Batch]:
        """Return batches near a batch, each example moved by a draw of its own."""
        return [Batch(batch.x + self._offsets(batch, rng), batch.y) for _ in range(self.samples)]

    def _offsets(self, batch: Batch, rng: Rng) -> torch.Tensor:
        """Uniform in the ball: a normal direction, and a length whose power is uniform."""
        size = batch.x[0].numel()
        directions = torch.randn(len(batch), size, generator=rng)
        lengths = self.radius * torch.rand(len(batch), 1, generator=rng) ** (1 / size)
        offsets: torch.Tensor = lengths * directions / directions.norm(dim=1, keepdim=True)
        return offsets.reshape(batch.x.shape).to(batch.x)
