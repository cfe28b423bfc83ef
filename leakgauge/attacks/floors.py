"""Floors: guesses that no update helped, above which a score must rise to count as leakage."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from leakgauge.attacks.labels.joint import Joint
from leakgauge.attacks.likelihoods.uninformative import Uninformative
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.attacks.replays.one_gradient import OneGradient
from leakgauge.attacks.searches.adam import Adam
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.core.algorithm import Count, NonNegative, Positive, algorithm
from leakgauge.core.errors import UsageError
from leakgauge.core.types import Batch, Capability, Observation, Reconstruction, Rng, Tick


@final
@algorithm
class MeanImage:
    """The mean of public images, or gray where there are none: the best blind guess under squared error.

    Where labels are granted it is the mean of each example's class, as far as there are public images of it. Else its labels are
    drawn by chance: those of public examples, or any class where there are none.
    """

    @property
    def needs(self) -> frozenset[Capability]:
        """COUNT."""
        return frozenset({Capability.COUNT})

    @property
    def uses(self) -> frozenset[str]:
        """LABELS and PUBLIC_DATA."""
        return frozenset({Capability.LABELS, Capability.PUBLIC_DATA})

    def run(self, seen: Observation, /, *, rng: Rng, tick: Tick) -> Reconstruction:
        """Return the same image for every example, or for every example of a class."""
        inputs, count = seen.model.inputs, seen.count
        like = next(iter(seen.update.delta.values()))
        tick(1.0)
        if seen.public is None:
            image = like.new_full(inputs.shape, (inputs.low + inputs.high) / 2)
            labels = torch.randint(inputs.classes, (count,), generator=rng) if seen.labels is None else seen.labels
            return _guess(Batch(image.expand(count, *inputs.shape).clone(), labels))
        if seen.labels is None:
            labels = seen.public.y[torch.randint(len(seen.public), (count,), generator=rng).to(seen.public.y.device)]
            return _guess(Batch(seen.public.x.mean(dim=0).expand(count, *inputs.shape).clone(), labels))
        return _guess(Batch(torch.stack([_class_mean(seen.public, label) for label in seen.labels]), seen.labels))


def _class_mean(public: Batch, label: Tensor) -> Tensor:
    of_class = public.y == label
    return (public.x[of_class] if bool(of_class.any()) else public.x).mean(dim=0)


@final
@algorithm
class RandomImage:
    """Other images of the same kind, drawn by chance."""

    @property
    def needs(self) -> frozenset[Capability]:
        """COUNT and PUBLIC_DATA."""
        return frozenset({Capability.COUNT, Capability.PUBLIC_DATA})

    def run(self, seen: Observation, /, *, rng: Rng, tick: Tick) -> Reconstruction:
        """Return public examples with their labels."""
        if seen.public is None:
            raise UsageError("threat: does not grant public_data, which random_image needs; choose informed or wider")
        rows = torch.randint(len(seen.public), (seen.count,), generator=rng).to(seen.public.x.device)
        tick(1.0)
        return _guess(seen.public[rows])


def prior_only(steps: Count = 300, learning_rate: Positive = 0.1, total_variation: NonNegative = 0.1) -> Matching:
    """What Inverting Gradients finds when it looks at its prior alone."""
    return Matching(
        likelihood=Uninformative(),
        priors=(TotalVariation(weight=total_variation),),
        space=Pixels(),
        replay=OneGradient(scaled=False),
        labels=Joint(),
        search=Adam(learning_rate=learning_rate, steps=steps, signed=True, schedule="step"),
    )


def _guess(batch: Batch) -> Reconstruction:
    return Reconstruction(batch, losses=torch.full((1,), torch.nan))
