"""Algorithms to test the spec with: named in files as `algorithms:NAME`, small enough to see what an audit does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

import annotated_types as at
import torch
from torch import Tensor, nn

from leakgauge.core.algorithm import Count, NonNegative, NonNegativeInt, OpenShare, Positive, Share, algorithm
from leakgauge.core.algorithm import recipe as declared
from leakgauge.core.protocols import Labels, Likelihood, Metric, Pool, Prior, Search
from leakgauge.core.types import Batch, Capability, Inputs, Model, Observation, Reconstruction


@algorithm
class Checkers:
    """Images of 1x4x4 pixels, no two alike but for the copies: `copies` more of each."""

    count: Count = 12
    classes: Count = 3
    copies: NonNegativeInt = 0

    def load(self) -> Pool:
        x = torch.arange(self.count).reshape(-1, 1, 1, 1).expand(-1, 1, 4, 4) / self.count
        x = x.repeat(self.copies + 1, 1, 1, 1).clone()
        return Pool(x, torch.arange(len(x)) % self.classes, Inputs((1, 4, 4), self.classes), tuple("abcdefgh"[: self.classes]))


@algorithm
class Flat:
    """One linear layer, for images of `side` pixels a side."""

    side: Count = 4

    def build(self, inputs, /, *, rng) -> Model:
        net = nn.Sequential(nn.Flatten(), nn.Linear(self.side**2, inputs.classes, device="meta"))
        params = {name: torch.randn(value.shape, generator=rng) for name, value in net.named_parameters()}
        return Model(net, params, {}, nn.functional.cross_entropy, inputs)


@algorithm
class Weighted:
    weight: Positive = 1.0

    def __call__(self, *values) -> Tensor:
        return torch.zeros(())


@algorithm
class Everything:
    """An attack with a setting of every kind."""

    must: Count
    steps: Count = 10
    rate: Positive = 0.1
    share: Share = 0.5
    momentum: OpenShare = 0.0
    offset: float = 0.0
    decay: NonNegative = 0.0
    boxed: bool = True
    schedule: Literal["none", "step"] = "none"
    text: str = "no"
    where: Path = Path("here")
    limit: Count | None = None
    seeds: tuple[NonNegativeInt, ...] = (1, 2)
    betas: tuple[OpenShare, OpenShare] = (0.9, 0.99)
    grants: frozenset[Capability] = frozenset()
    angle: Annotated[float, at.Ge(-1), at.Le(1)] = 0.0
    likelihood: Likelihood = Weighted()
    fallback: Likelihood | None = None
    priors: tuple[Prior, ...] = (Weighted(weight=2.0), Weighted(weight=3.0))
    labels: Labels | None = None
    search: Search | None = None
    named: Mapping[str, Metric] = field(default_factory=dict)

    @property
    def needs(self) -> frozenset[Capability]:
        return frozenset({Capability.LABELS}) if self.text == "labels" else frozenset()

    def run(self, seen: Observation, /, *, rng, tick) -> Reconstruction:
        return Reconstruction(Batch(torch.zeros(1, 1, 4, 4), torch.zeros(1)), torch.zeros(1))


@declared
def recipe(steps: Count = 5, likelihood: Likelihood = Weighted(weight=4.0)) -> Everything:
    """A paper."""
    return Everything(must=1, steps=steps, likelihood=likelihood)


@declared
def unannotated(steps=3) -> Everything:
    return Everything(must=steps)


@declared
def greedy(**settings: int) -> Everything:
    return Everything(**settings)


@declared
def picky(steps: Count = 1) -> Everything:
    raise ValueError("not today")


@algorithm
class Reserved:
    """An attack with a setting that cannot be told from its name."""

    name: str = "x"
    needs: frozenset[Capability] = frozenset()

    def run(self, seen, /, *, rng, tick) -> None: ...


@algorithm
class Holding:
    """An attack with a setting that no file can hold."""

    image: Tensor | None = None
    needs: frozenset[Capability] = frozenset()

    def run(self, seen, /, *, rng, tick) -> None: ...


@algorithm
class Levels:
    """An attack with a setting whose name Matching has as well, and another default."""

    deep: Count | None = 3
    needs: frozenset[Capability] = frozenset()

    def run(self, seen, /, *, rng, tick) -> None: ...


class Bare:
    """An attack that is no dataclass."""

    needs = frozenset()

    def run(self, seen, /, *, rng, tick) -> None: ...
