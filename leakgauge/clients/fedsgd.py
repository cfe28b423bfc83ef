"""FedSGD: one gradient of the whole batch (McMahan et al., AISTATS 2017, arXiv 1602.05629)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, final

from leakgauge.clients.gradients import MeanGradient, factor
from leakgauge.core.algorithm import algorithm
from leakgauge.core.belief import Noisy
from leakgauge.core.protocols import GradientRule
from leakgauge.core.types import Batch, Client, Model, Rng, Update


@final
@algorithm
class FedSGD:
    """Sends the mean gradient of its batch.

    `batchnorm` is the mode of BatchNorm layers: with running statistics ("eval", the setting of most attack papers) or with
    those of the batch ("train", what clients do in practice).
    """

    batchnorm: Literal["eval", "train"] = "eval"
    gradient: GradientRule = MeanGradient()

    def __call__(self, model: Model, batch: Batch, /, *, rng: Rng | None = None) -> Update:
        """Return the gradient, with scale 1 for a mean loss."""
        values, buffers = self.gradient(model, batch, training=self.batchnorm == "train", rng=rng)
        return Update(delta=values, examples=len(batch), scale=factor(self.gradient, model, [len(batch)]), buffers=buffers)

    @property
    def sends_gradient(self) -> bool:
        """Whether nothing is done to the gradient, and BatchNorm takes running statistics."""
        return self.batchnorm == "eval" and isinstance(self.gradient, MeanGradient)

    def deviation(self, examples: int, /) -> float:
        """Return the standard deviation of the noise in every number: that of the gradient rule."""
        return self.gradient.deviation(examples) if isinstance(self.gradient, Noisy) else 0.0

    def with_gradient(self, rule: GradientRule, /) -> Client:
        """Return this client with another gradient rule."""
        return replace(self, gradient=rule)
