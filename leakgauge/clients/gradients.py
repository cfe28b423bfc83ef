"""The plain gradient rule: the mean over the mini-batch."""

from __future__ import annotations

from typing import final

from leakgauge.core.algorithm import algorithm
from leakgauge.core.autodiff import Gradient, loss_gradient
from leakgauge.core.types import Batch, Model, Rng


@final
@algorithm
class MeanGradient:
    """The gradient of the mean loss, without protection."""

    def __call__(self, model: Model, batch: Batch, /, *, training: bool, rng: Rng | None) -> Gradient:
        """Return the gradient; no chance is involved."""
        return loss_gradient(model, batch, training=training)
