"""SME's surrogate: one gradient at weights between before and after (Zhu, Yao, Blaschko, ICML 2023, arXiv 2306.00127)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, final

import torch
from torch import Tensor

from leakgauge.core import tree
from leakgauge.core.algorithm import NonNegative, Share, algorithm
from leakgauge.core.autodiff import loss_gradient
from leakgauge.core.protocols import Point, Replay
from leakgauge.core.types import Batch, Capability, Observation, Params

_NAME = "share"
_PARTS = 10


@final
@algorithm
class Surrogate:
    """The gradient at W - share * D, a point on the line from the weights before (W) to those after (W - D) local training.

    `share` is searched from its start along with the examples, `pace` times as fast as they are, and kept in [0, 1]. Local steps
    average gradients along a path, and the mean of a curve lies near the gradient at some point of the chord. Wants a likelihood
    without scale, and an update that is a difference of weights.
    """

    share: Share = 0.5
    pace: NonNegative = 0.01
    batchnorm: Literal["eval", "train"] = "eval"

    @property
    def needs(self) -> frozenset[Capability]:
        """Nothing."""
        return frozenset()

    def __call__(self, seen: Observation, batch: Batch, /) -> Params:
        """Return the gradient at the share, of eleven, where it points most as the update does."""
        with torch.no_grad():
            shares = [step / _PARTS for step in range(_PARTS + 1)]
            best = max(shares, key=lambda share: float(tree.cosine(self.gradient(seen, batch, share), seen.update.delta)))
        return self.gradient(seen, batch, best)

    def unknowns(self, seen: Observation, /, *, restart: int) -> Point:
        """Return the unknown, a scalar: how far to go from the start, in units of `pace`."""
        return {_NAME: next(iter(seen.update.delta.values())).new_zeros(())}

    def at(self, point: Point, /) -> Replay:
        """Return the surrogate at the share of a point."""
        return _At(self, (self.share + self.pace * point[_NAME]).clamp(0, 1))

    def remarks(self, start: Point, end: Point, /) -> tuple[str, ...]:
        """Nothing: every share is a sound one."""
        return ()

    def gradient(self, seen: Observation, batch: Batch, share: Tensor | float) -> Params:
        """Return the gradient at `share` of the way."""
        params = {
            name: value - share * seen.update.delta[name] if name in seen.update.delta else value
            for name, value in seen.model.params.items()
        }
        return loss_gradient(replace(seen.model, params=params), batch, training=self.batchnorm == "train").params


@final
@dataclass(frozen=True)
class _At:
    surrogate: Surrogate
    share: Tensor

    @property
    def needs(self) -> frozenset[Capability]:
        return self.surrogate.needs

    def __call__(self, seen: Observation, batch: Batch, /) -> Params:
        return self.surrogate.gradient(seen, batch, self.share)
