"""Corrupted labels: the known ones with mistakes, to measure what a mistake costs (Geng et al. 2021, arXiv 2110.09074)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from leakgauge.attacks.labels.known import Known
from leakgauge.core.algorithm import NonNegativeInt, algorithm
from leakgauge.core.errors import OutOfScope
from leakgauge.core.types import Capability, Observation, Rng


@final
@algorithm
class Corrupted:
    """The true labels, `wrong` of them replaced by another class; which ones, and by what, is drawn by chance.

    One mistake makes one label of the multiset wrong; of several, some may undo each other. Raises OutOfScope for more mistakes
    than there are examples, or where there is no other class.
    """

    wrong: NonNegativeInt = 1

    @property
    def needs(self) -> frozenset[Capability]:
        """LABELS."""
        return Known().needs

    def infer(self, seen: Observation, count: int, /, *, rng: Rng) -> Tensor:
        """Return classes [count], sorted."""
        labels, classes = Known().infer(seen, count, rng=rng).clone(), seen.model.inputs.classes
        if self.wrong > len(labels) or (self.wrong and classes < 2):
            raise OutOfScope(f"{self.wrong} labels cannot be wrong: {len(labels)} examples, {classes} classes")
        rows = torch.randperm(len(labels), generator=rng)[: self.wrong].to(labels.device)
        if self.wrong:
            labels[rows] = (labels[rows] + torch.randint(1, classes, (self.wrong,), generator=rng).to(labels)) % classes
        return labels.sort().values
