"""DLM's learned scale: the update is multiplied by an unknown that is searched along (Zhao et al., CPAL 2024, arXiv 2206.04887)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.attacks.likelihoods.profiled import Profiled
from leakgauge.core import tree
from leakgauge.core.algorithm import Positive, algorithm
from leakgauge.core.protocols import Likelihood, Point
from leakgauge.core.types import Observation, Params

_NAME = "scale"


@final
@algorithm
class FreeScale:
    """The squared distance |g - k D|^2, k searched from `starts` in turn, one a restart; the true k is 1 / learning rate.

    For a fixed gradient the best k gives |g|^2 sin^2 of the angle between g and D, so that a gradient that vanishes, with k, is
    as good as the truth: k collapses. A k that ends below `collapsed` of its start is told. As it stands, without a k, this is
    the scale-free share of the update that is not explained (Profiled), by which restarts are compared.
    """

    starts: tuple[Positive, ...] = (60.0, 80.0, 100.0, 120.0, 140.0, 160.0, 180.0, 200.0, 220.0, 240.0)
    collapsed: Positive = 0.01

    def __call__(self, guess: Params, seen: Params, /) -> Tensor:
        """Return the unexplained share at the best scale."""
        return Profiled()(guess, seen)

    def unknowns(self, seen: Observation, /, *, restart: int) -> Point:
        """Return the scale that this restart begins with, a scalar."""
        like = next(iter(seen.update.delta.values()))
        return {_NAME: like.new_tensor(self.starts[restart % len(self.starts)])}

    def at(self, point: Point, /) -> Likelihood:
        """Return the squared distance at the scale of a point."""
        return _Scaled(point[_NAME])

    def remarks(self, start: Point, end: Point, /) -> tuple[str, ...]:
        """Tell of a scale that collapsed."""
        first, last = float(start[_NAME]), float(end[_NAME])
        if abs(last) >= self.collapsed * first:
            return ()
        return (f"The learned scale collapsed from {first:g} to {last:.3g}: the loss fell without a match of directions.",)


@final
@dataclass(frozen=True)
class _Scaled:
    scale: Tensor

    def __call__(self, guess: Params, seen: Params, /) -> Tensor:
        return Gaussian()(guess, tree.apply(lambda value: self.scale * value, seen))
