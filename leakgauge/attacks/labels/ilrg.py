"""iLRG: label counts from the mean embedding of each class (Ma et al., ICLR 2023, "Instance-wise Batch Label Restoration")."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor

from leakgauge.attacks.dummies import Images
from leakgauge.attacks.labels.integers import weigh
from leakgauge.attacks.labels.last_layer import LastLayer, known_factor, look, on_the_way
from leakgauge.attacks.labels.rounding import spelled_out, whole
from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.anatomy import head
from leakgauge.core.types import Capability, Observation, Rng


@final
@algorithm
class ILRG:
    """Solves sum_j P[j, i] n_j - n_i = K g_i and sum_j n_j = K for the counts n, by the pseudo-inverse.

    P[j] are the probabilities at the mean embedding of class j, which is row j of the last layer's weight update over entry j of
    the bias's, whatever the scale; g is the bias gradient. Departs from the paper where no bias was sent (its update is the
    weights' along the mean embedding of dummies) and where the scale is not granted (see `integers`). Raises OutOfScope as `look`.
    """

    images: Images = "pink"
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
        found = line(layer, seen, count)
        factor = known_factor(seen)
        if factor is None:
            factor = weigh(found.offset, found.slope, found.spread, count, factor=None).factor
        return spelled_out(whole(found.offset - factor * found.slope, count))


class Line(NamedTuple):
    """Where the counts [classes] lie: offset - k * slope, for a factor k of the update; and how a guess of theirs is weighed."""

    offset: Tensor
    slope: Tensor
    spread: Tensor  # of the errors
    stretch: float  # log of how much a volume of updates grows on its way to counts, beyond K per class


def line(layer: LastLayer, seen: Observation, count: int, *, ahead: float = 0.0) -> Line:
    """Return the rule's counts for an update of unknown scale, with the weights of `ahead` of the way through training."""
    name, bias = head(seen.model)
    least = torch.finfo(layer.sums.dtype).eps * layer.sums.abs().max()
    sums = torch.where(layer.sums.abs() > least, layer.sums, least)
    model = on_the_way(seen, ahead)
    logits = (layer.rows / sums[:, None]) @ model.params[name].T
    if bias is not None:
        logits = logits + model.params[bias]
    classes = len(sums)
    system = torch.eye(classes).to(logits) - logits.softmax(dim=1).T
    inverse = torch.linalg.pinv(torch.cat([system, torch.ones(1, classes).to(logits)]).double())
    offset, slope = count * inverse[:, -1], count * inverse[:, :-1] @ layer.sums.double()
    sizes = torch.linalg.svdvals(inverse[:, :-1])[:-1]  # counts that sum to K have one number less
    return Line(offset, slope, offset.new_full((classes,), _SPREAD), float(sizes.clamp_min(_LEAST).log().sum()))


_SPREAD = 0.3
"""How far, in counts, the rule is taken to be off when an unknown scale is weighed."""
_LEAST = 1e-12
