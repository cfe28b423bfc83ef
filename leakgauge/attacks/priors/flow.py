"""The learned prior: images whose patches are likely (PatchNR, Altekrüger et al., Inverse Problems 2023, arXiv 2205.12021).

-log p(x) is that of a product of independent patches which tile the image, averaged over the tilings: the paper's mean over
patches, times the number of patches that make up an image.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import final

from torch import Tensor

from leakgauge.core.algorithm import Count, NonNegative, algorithm
from leakgauge.core.errors import OutOfScope
from leakgauge.core.types import Batch, Inputs, Observation
from leakgauge.generative.flows.coupling import PatchFlow
from leakgauge.generative.flows.files import load, shipped
from leakgauge.generative.flows.patches import LEVELS, grid, spread


@final
@algorithm
class Flow:
    """`weight` times -log p(x) under a normalizing flow of patches, summed over examples, in nats at 8 bits a pixel.

    A weight of 1 belongs beside a likelihood in nats; beside another loss, tune it. A patch is taken every `stride` pixels.
    `weights` is a file that `leakgauge density` has written. None means the flow that comes along for as many channels; it was
    fitted to CIFAR-10's training images, so draw secrets from others. Raises OutOfScope for inputs that are no images, that have
    other channels than the flow, or that are smaller than its patches.
    """

    weight: NonNegative = 1.0
    stride: Count = 3
    weights: str | None = None

    def __call__(self, batch: Batch, seen: Observation, /) -> Tensor:
        """Return the weighted energy of the images. Raises UsageError for a file that is missing or holds no flow."""
        x, inputs = batch.x, seen.model.inputs
        flow = self._flow(inputs).to(x)
        patches = spread(grid((x - inputs.low) / (inputs.high - inputs.low), flow.shape.side, self.stride))
        nats = math.log(LEVELS) - flow.log_density(patches).mean() / flow.shape.size  # per number
        return self.weight * x.numel() * nats

    def _flow(self, inputs: Inputs) -> PatchFlow:
        if len(inputs.shape) != 3:
            raise OutOfScope(f"examples are of shape {inputs.shape}, and a flow of patches wants images")
        path = shipped(inputs.shape[0]) if self.weights is None else Path(self.weights).expanduser()
        if path is None:
            raise OutOfScope(f"images have {inputs.shape[0]} channels, and the flows that come along are of 1 and of 3")
        shape = (flow := load("flow.weights", path)).shape
        if shape.channels != inputs.shape[0] or shape.side > min(inputs.shape[1:]):
            raise OutOfScope(
                f"images are of shape {inputs.shape}, and the flow's patches of {(shape.channels, shape.side, shape.side)}"
            )
        return flow
