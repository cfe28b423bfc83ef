"""The plain gradient rule: the mean over the mini-batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from leakgauge.core.abilities import Averaging
from leakgauge.core.algorithm import algorithm
from leakgauge.core.autodiff import loss_gradient
from leakgauge.core.differentiation import Gradient
from leakgauge.core.protocols import GradientRule
from leakgauge.core.types import Batch, Model, Rng


@final
@algorithm
class MeanGradient:
    """The gradient of the mean loss, without protection."""

    def __call__(self, model: Model, batch: Batch, /, *, training: bool, rng: Rng | None) -> Gradient:
        """Return the gradient; no chance is involved."""
        return loss_gradient(model, batch, training=training)


def factor(rule: GradientRule, model: Model, sizes: Iterable[int]) -> float | None:
    """Return what multiple of a mean gradient the gradients of mini-batches of these sizes add up to; None where it is unknown."""
    each = [1.0 if isinstance(rule, Averaging) else model.factor(size) for size in sizes]
    return None if None in each else sum(one for one in each if one is not None)
