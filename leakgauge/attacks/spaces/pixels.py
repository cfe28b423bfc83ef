"""The space of pixels: the search walks in the image itself."""

from __future__ import annotations

from typing import Literal, final

import torch
from torch import Tensor

from leakgauge.attacks.dummies import draw
from leakgauge.core.algorithm import algorithm
from leakgauge.core.rng import uniform
from leakgauge.core.types import Observation


@final
@algorithm
class Pixels:
    """Normalized pixels, started from "normal", "uniform" or "pink" noise, from "tiles", or from "gray", the middle of the range.

    Tiles are uniform noise in a quarter of the image, four times (CPL, Wei et al., ESORICS 2020, arXiv 2004.10397). Pink noise
    has the spectrum of photographs, and so have gradients of it something of theirs: where local training is unrolled, searches
    that get stuck from pixels without order come through. `boxed` keeps every step within the allowed range.
    """

    start_from: Literal["normal", "uniform", "gray", "pink", "tiles"] = "normal"
    boxed: bool = True

    def start(self, seen: Observation, count: int, /, *, rng: torch.Generator) -> Tensor:
        """Return normalized pixels [count, *shape]."""
        inputs = seen.model.inputs
        shape = (count, *inputs.shape)
        like = next(iter(seen.update.delta.values()))
        if self.start_from == "normal":
            return torch.randn(shape, generator=rng).to(like)
        if self.start_from == "pink":
            return inputs.normalize(draw(inputs, count, "pink", rng=rng).to(like))
        if self.start_from == "tiles":
            share = _tiled(shape, rng)
        else:
            share = uniform(shape, rng) if self.start_from == "uniform" else torch.full(shape, 0.5)
        return inputs.normalize((inputs.low + (inputs.high - inputs.low) * share).to(like))

    def decode(self, point: Tensor, seen: Observation, /) -> Tensor:
        """Return pixels."""
        return seen.model.inputs.denormalize(point)

    def project(self, point: Tensor, seen: Observation, /) -> Tensor:
        """Return the point with every pixel in range."""
        inputs = seen.model.inputs
        return inputs.normalize(inputs.denormalize(point).clamp(inputs.low, inputs.high)) if self.boxed else point


def _tiled(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """Uniform noise that repeats itself after half the height and half the width; inputs that are no images are all noise."""
    if len(shape) != 4:
        return uniform(shape, rng)
    *rest, height, width = shape
    return uniform((*rest, -(-height // 2), -(-width // 2)), rng).tile(2, 2)[..., :height, :width]
