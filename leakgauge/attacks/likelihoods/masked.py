"""A likelihood of the numbers that say something: what a defense set to zero is left out (pruned updates, sparsified weights)."""

from __future__ import annotations

from typing import final

from torch import Tensor

from leakgauge.algorithm import Positive, algorithm
from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.protocols import Likelihood
from leakgauge.types import Params


@final
@algorithm
class Masked:
    """Another likelihood of the numbers alone whose seen value is not exactly 0, for an update that lost its small ones.

    With `trim`, numbers beyond `trim` times the median magnitude of their tensor's are left out as well: a weight that was set to
    zero in one of two snapshots jumps by itself, far more than a step of training moves it. A tensor's large gradients go with
    them, so `trim` must be far above what they span; 30 is for the layers of a LeNet. A likelihood with unknowns of its own takes
    their best values here.
    """

    likelihood: Likelihood = Gaussian()
    trim: Positive | None = None

    def __call__(self, guess: Params, seen: Params, /) -> Tensor:
        """Return the wrapped likelihood of what is left, flat, of every tensor that was seen."""
        told = {name: self._told(value) for name, value in seen.items()}
        return self.likelihood(
            {name: guess[name][mask] for name, mask in told.items()}, {name: seen[name][mask] for name, mask in told.items()}
        )

    def _told(self, value: Tensor) -> Tensor:
        size = value.abs()
        told = size > 0
        if self.trim is None or not told.any():
            return told
        return told & (size <= self.trim * size[told].median())
