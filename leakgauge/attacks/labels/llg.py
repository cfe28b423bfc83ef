"""LLG*: labels one by one, by impact and offset (Wainakh et al., PoPETs 2022, arXiv 2105.09369)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from leakgauge.attacks.dummies import Images
from leakgauge.attacks.labels.counts import posterior
from leakgauge.attacks.labels.last_layer import check_mean, known_factor, look
from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.errors import OutOfScope
from leakgauge.core.types import Capability, Observation, Rng


@final
@algorithm
class LLG:
    """Every class whose row sum is negative occurs; the rest are taken greedily, the most negative row sum first.

    Each label that is taken raises its row sum by the impact, what one example of a class adds to it, once the offset, what the
    other examples add, is subtracted. Both are estimated on dummies, labeled with each class in turn (LLG*, the server's variant).
    Departs from the paper where the scale is not granted (see `integers`). Raises OutOfScope where row sums say nothing, because
    the mean of what enters the layer is 0.
    """

    images: Images = "uniform"
    samples: Count = 256

    @property
    def needs(self) -> frozenset[Capability]:
        """Nothing but the update."""
        return frozenset()

    @property
    def uses(self) -> frozenset[str]:
        """SCALE and PUBLIC_DATA."""
        return frozenset({Capability.SCALE, Capability.PUBLIC_DATA})

    def infer(self, seen: Observation, count: int, /, *, rng: Rng) -> Tensor:
        """Return `count` classes, sorted."""
        layer = look(seen, self.samples, self.images, rng=rng)
        check_mean(layer.found.embeddings)
        chances, sizes = layer.found.logits.softmax(dim=1), layer.found.embeddings.sum(dim=1)
        if float(sizes.mean()) <= 0:
            raise OutOfScope("the mean of what enters the last layer is not positive, which LLG's signs need")
        sums = layer.rows.sum(dim=1)
        factor = known_factor(seen) or posterior(chances, (sums - sums.mean()) / sizes.mean(), count, None).factor
        offset = (chances * sizes[:, None]).mean(dim=0)  # the row sum of a class that does not occur
        own = ((chances - 1) * sizes[:, None]).mean(dim=0)  # that of a class that every example has
        impact = float(own.mean()) * (1 + 1 / len(own)) / count
        left = factor * sums
        counts = (left < 0).long()
        if int(counts.sum()) > count:
            counts = torch.zeros_like(counts).index_fill(0, left.argsort()[:count], 1)
        left = left - impact * counts - offset
        for _ in range(count - int(counts.sum())):
            lowest = int(left.argmin())
            counts[lowest] += 1
            left[lowest] -= impact
        return torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
