"""Label counts beyond the papers: answers moved to where the batch lies, integers at an unknown scale, and the path of training."""

from __future__ import annotations

from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from leakgauge.attacks.dummies import Images, answers
from leakgauge.attacks.labels.integers import Posterior, weigh
from leakgauge.attacks.labels.last_layer import LastLayer, known_factor, look, moved_answers, scatter
from leakgauge.attacks.labels.rounding import spelled_out, whole
from leakgauge.attacks.labels.signs import keeps_signs, present
from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.types import Capability, Model, Observation, Rng


@final
@algorithm
class Counts:
    """The counts K (p - k db), with four things that Geng's rule lacks.

    The probabilities p are those of dummies that were moved, in the last layer, to the mean embedding of the batch, which the
    update gives away whatever its scale. The factor k, where it is not granted, is weighed by Bayes' rule: counts are integers,
    none is negative, and embeddings scatter by so much and no more. A trained net is right on average (see `posterior`). And p may
    have changed while the client trained: p at the weights before is weighed against p along the line from the weights before to
    those after, by what either makes of the integers. Of one example, and of updates that keep little but signs, it
    takes what signs say (see `present`). Raises OutOfScope as `look` does.
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
        if count == 1 or keeps_signs(seen.update.delta):
            return present(layer, count)
        factor, size = known_factor(seen), scatter(layer, count)
        guesses = [
            posterior(chances, layer.sums, count, factor, scatter=size, is_calibrated=is_calibrated)
            for chances in _histories(layer, seen)
            for is_calibrated in (False, True)
        ]
        weights = torch.tensor([guess.evidence for guess in guesses], dtype=torch.float64).softmax(dim=0)
        mean = sum(weight * guess.counts.cpu() for weight, guess in zip(weights, guesses, strict=True))
        return spelled_out(whole(torch.as_tensor(mean), count)).to(layer.rows.device)


def posterior(
    chances: Tensor,
    sums: Tensor,
    count: int,
    factor: float | None,
    *,
    scatter: float | None = None,
    is_calibrated: bool = False,
) -> Posterior:
    """What the bias's update `sums` says, given what stand-ins are answered: probabilities [n, classes].

    A trained net is right on average: for real examples of all classes its mean probabilities are even, whatever it makes of
    dummies. With `is_calibrated`, the truth is taken to lie halfway, give or take as much. `scatter` as in `weigh`.
    """
    mean, spread = chances.mean(dim=0), chances.std(dim=0) * (1 / count + _BIAS**2) ** 0.5
    if is_calibrated:
        pull = (1 / len(mean) - mean) / 2
        mean, spread = mean + pull, (spread.square() + pull.square()).sqrt()
    return weigh(count * mean, count * sums, count * spread, count, factor=factor, scatter=scatter)


def _histories(layer: LastLayer, seen: Observation) -> list[Tensor]:
    """Probabilities of the stand-ins under one gradient, and along a path of training."""
    before = moved_answers(layer, layer.found, seen.model)
    later = [_ahead(seen, share) for share in (0.5, 1.0)]
    path = [before, *(moved_answers(layer, answers(model, layer.x), model) for model in later)]
    return [before, torch.cat(path)]


def _ahead(seen: Observation, share: float) -> Model:
    delta = seen.update.delta
    params = {name: value - share * delta[name] if name in delta else value for name, value in seen.model.params.items()}
    return replace(seen.model, params=params)


_BIAS = 0.5
"""How far stand-ins may be off on the whole, in standard deviations of one of them (settled on training images of CIFAR-10)."""
