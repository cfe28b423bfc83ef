"""Label counts beyond the papers: answers moved to where the batch lies, integers at an unknown scale, and the path of training."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from leakgauge.attacks.dummies import Images
from leakgauge.attacks.labels.ilrg import line
from leakgauge.attacks.labels.integers import Posterior, expected_right, mixed, weigh
from leakgauge.attacks.labels.last_layer import LastLayer, known_factor, look, moved_answers, readings, scatter
from leakgauge.attacks.labels.rounding import spelled_out, whole
from leakgauge.attacks.labels.signs import keeps_signs, present
from leakgauge.core.abilities import Believed
from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.types import Capability, Observation, Rng


@final
@algorithm
class Counts:
    """The counts K (p - k db), with six things that Geng's rule lacks.

    The probabilities p are those of dummies that were moved, in the last layer, to the mean embedding of the batch, which the
    update gives away whatever its scale. The factor k, where it is not granted, is weighed by Bayes' rule: counts are integers,
    none is negative, and embeddings scatter by so much and no more. A trained net is right on average (see `posterior`). And p may
    have changed while the client trained: p at the weights before is weighed against p along the line from the weights before to
    those after, and against the probabilities that iLRG finds for each class by itself, by what each makes of the integers. The
    bias's update db is weighed against what the weights' says of it (`readings`). The mean over these accounts is the answer, and
    how far they agree says how sure it is. Of one example, and of updates that keep
    little but signs, it takes what signs say (see `present`). Raises OutOfScope as `look` does.
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
        return self.believe(seen, count, rng=rng).labels

    def believe(self, seen: Observation, count: int, /, *, rng: Rng) -> Believed:
        """Return `count` classes, sorted, and which share of them the posterior expects to be right; None for signs."""
        layer = look(seen, self.samples, self.images, rng=rng)
        if count == 1 or keeps_signs(seen.update.delta):
            return Believed(present(layer, count), None)
        found = explained(layer, seen, count)
        counts = whole(found.counts.cpu(), count)
        return Believed(spelled_out(counts).to(layer.rows.device), expected_right(found, counts.to(found.chances.device)))


def explained(layer: LastLayer, seen: Observation, count: int) -> Posterior:
    """What the last layer's update says of the counts, over all accounts of how the answers came about and changed in training."""
    factor, size = known_factor(seen), scatter(layer, count)
    told = {share: moved_answers(layer, seen, ahead=share) for share in sorted({share for path in _PATHS for share in path})}
    drift = float((told[max(told)] - told[0.0]).abs().sum(dim=1).mean())
    accounts = [
        posterior(
            torch.cat([told[share] for share in path]),
            sums,
            count,
            factor,
            scatter=size,
            drift=drift if any(path) else 0.0,
            unevenness=unevenness,
            is_calibrated=is_calibrated,
        )
        for sums, unevenness in readings(layer)
        for path in _PATHS
        for is_calibrated in (False, True)
    ]
    for share in _BY_CLASS:
        one = line(layer, seen, count, ahead=share)
        found = weigh(one.offset, one.slope, one.spread, count, factor=factor, scatter=size, drift=drift)
        accounts.append(found._replace(evidence=found.evidence + one.stretch))
    return mixed(accounts)


def posterior(
    chances: Tensor,
    sums: Tensor,
    count: int,
    factor: float | None,
    *,
    scatter: float | None = None,
    drift: float = 0.0,
    unevenness: float = 0.0,
    is_calibrated: bool = False,
) -> Posterior:
    """What the bias's update `sums` says, given what stand-ins are answered: probabilities [n, classes].

    A trained net is right on average: for real examples of all classes its mean probabilities are even, whatever it makes of
    dummies. With `is_calibrated`, the truth is taken to lie halfway, give or take as much. `unevenness` is by what share one
    example counts for more than another in `sums`, as a standard deviation. `scatter` and `drift` as in `weigh`.
    """
    mean, spread = chances.mean(dim=0), chances.std(dim=0) * (1 / count + _BIAS**2) ** 0.5
    if is_calibrated:
        pull = (1 / len(mean) - mean) / 2
        mean, spread = mean + pull, (spread.square() + pull.square()).sqrt()
    spread = (spread.square() + unevenness**2 * mean / count).sqrt()  # of a sum of about count * mean examples
    return weigh(count * mean, count * sums, count * spread, count, factor=factor, scatter=scatter, drift=drift)


_PATHS = ((0.0,), (0.0, 0.0, 0.2, 0.5), (0.0, 0.25, 0.5, 0.75))
"""How much of its way the training has gone at each step: one step, three with momentum, several without."""
_BY_CLASS = (0.0, 0.2)
"""How much of its way it has gone where the rule of iLRG is asked."""
_BIAS = 0.5
"""How far stand-ins may be off on the whole, in standard deviations of one of them (settled on training images of CIFAR-10)."""
