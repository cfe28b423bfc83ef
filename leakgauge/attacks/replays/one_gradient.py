"""One gradient: the adversary takes the update for a single gradient of the whole batch."""

from __future__ import annotations

from typing import Literal, final

from leakgauge.attacks.engine.products import Shape
from leakgauge.core import tree
from leakgauge.core.algorithm import algorithm
from leakgauge.core.autodiff import loss_gradient
from leakgauge.core.errors import OutOfScope
from leakgauge.core.types import Batch, Capability, Observation, Params


@final
@algorithm
class OneGradient:
    """The gradient at the received weights, times the known scale of the update where `scaled`.

    For local training this is the approximation that most attacks make. `batchnorm` as in FedSGD.
    """

    batchnorm: Literal["eval", "train"] = "eval"
    scaled: bool = True

    @property
    def needs(self) -> frozenset[Capability]:
        """SCALE, where it is used."""
        return frozenset({Capability.SCALE} if self.scaled else ())

    def __call__(self, seen: Observation, batch: Batch, /) -> Params:
        """Return the gradient. Raises OutOfScope where a scale is wanted and the update has none (adaptive optimizers)."""
        values = loss_gradient(seen.model, batch, training=self.batchnorm == "train").params
        scale = self._scale(seen)
        return values if scale == 1.0 else tree.apply(lambda value: scale * value, values)

    def shape(self, seen: Observation, /) -> Shape | None:
        """Return the same for products of gradients; None with statistics of the batch."""
        scale = self._scale(seen)
        return None if self.batchnorm == "train" else Shape(scale=scale)

    def _scale(self, seen: Observation) -> float:
        scale = seen.update.scale if self.scaled else 1.0
        if scale is None:
            raise OutOfScope("the update is no multiple of a gradient, so it has no scale; use a likelihood without scale")
        return scale
