"""Zero-shot label counts from dummy data (Geng et al. 2021, arXiv 2110.09074)."""

from __future__ import annotations

from typing import Literal, final

from torch import Tensor

from leakgauge.attacks.dummies import Images
from leakgauge.attacks.labels.counts import posterior
from leakgauge.attacks.labels.last_layer import check_mean, known_factor, look
from leakgauge.attacks.labels.rounding import spelled_out, whole
from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.anatomy import head
from leakgauge.core.errors import OutOfScope
from leakgauge.core.types import Capability, Observation, Rng


@final
@algorithm
class Geng:
    """Counts K p - K g, where p are mean probabilities and g the mean of p - y, which the last layer gives.

    g is the bias gradient ("bias"), or the row sums of the weight gradient over the sum of the mean embedding ("weight", the
    paper's formula); "auto" takes the bias where it was sent. p and the mean embedding are those of dummies: uniform noise in the
    paper. Departs from it where the scale is not granted (the paper knows it): see `integers`; and in its rounding. Raises
    OutOfScope for "bias" where none was sent, and for weights where the mean embedding is 0.
    """

    using: Literal["auto", "weight", "bias"] = "auto"
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
        _, bias = head(seen.model)
        has_bias = bias is not None and bias in seen.update.delta
        if self.using == "bias" and not has_bias:
            raise OutOfScope("the bias of the last layer was not sent; use its weights")
        sums = layer.sums
        if self.using == "weight" or not has_bias:
            check_mean(layer.found.embeddings)
            sums = layer.rows.sum(dim=1) / layer.found.embeddings.mean(dim=0).sum()
        chances = layer.found.logits.softmax(dim=1)
        factor = known_factor(seen) or posterior(chances, sums - sums.mean(), count, None).factor
        return spelled_out(whole(count * (chances.mean(dim=0) - factor * sums), count))
