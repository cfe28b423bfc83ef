"""A likelihood of the numbers that say something: what a defense set to zero is left out (pruned updates, sparsified weights)."""

from __future__ import annotations

from typing import final

from torch import Tensor

from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.core.algorithm import algorithm
from leakgauge.core.protocols import Likelihood
from leakgauge.core.types import Params


@final
@algorithm
class Masked:
    """Another likelihood of the numbers alone whose seen value is not exactly 0, for an update that lost some of its numbers.

    Against weights that were sparsified, jumps have to go first (`without_jumps`). A likelihood with unknowns of its own takes
    their best values here.
    """

    likelihood: Likelihood = Gaussian()

    def __call__(self, guess: Params, seen: Params, /) -> Tensor:
        """Return the wrapped likelihood of what is left, flat, of every tensor that was seen."""
        told = {name: value != 0 for name, value in seen.items()}
        return self.likelihood(
            {name: guess[name][mask] for name, mask in told.items()}, {name: seen[name][mask] for name, mask in told.items()}
        )
