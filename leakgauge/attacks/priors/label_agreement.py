"""The label-agreement prior: an example looks to the model like its label (CPL, Wei et al., ESORICS 2020, arXiv 2004.10397)."""

from __future__ import annotations

from typing import final

from torch import Tensor
from torch.nn.functional import one_hot

from leakgauge.core.algorithm import NonNegative, algorithm
from leakgauge.core.types import Batch, Observation


@final
@algorithm
class LabelAgreement:
    """`weight` times the squared distance of the predicted probabilities from the labels, mean over examples.

    It says something where the model was trained; a fresh one has no opinion of what goes with a label.
    """

    weight: NonNegative = 0.01

    def __call__(self, batch: Batch, seen: Observation, /) -> Tensor:
        """Return the weighted distance, for labels that are classes [n] or probabilities [n, classes]."""
        predicted = seen.model.logits(batch.x).softmax(dim=-1)
        labels = batch.y if batch.y.is_floating_point() else one_hot(batch.y, predicted.shape[-1])
        return self.weight * (predicted - labels).square().sum(dim=-1).mean()
