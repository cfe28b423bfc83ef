"""A likelihood that leaves whole tensors out: the strong attack on Soteria (Balunovic et al., ICLR 2022, arXiv 2111.04706)."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import final

from torch import Tensor

from leakgauge.attacks.likelihoods.cosine import Cosine
from leakgauge.core.algorithm import algorithm
from leakgauge.core.errors import UsageError
from leakgauge.core.protocols import Likelihood
from leakgauge.core.types import Params


@final
@algorithm
class Without:
    """Another likelihood of the tensors alone whose name matches none of the patterns of `drop` (`fc.weight`, `head.*`).

    A tensor that a defense has perturbed misleads a match; the others were sent as they are, and tell enough. A likelihood with
    unknowns of its own takes their best values here.
    """

    drop: tuple[str, ...]
    likelihood: Likelihood = Cosine()

    def __post_init__(self) -> None:
        if not self.drop:
            raise UsageError("Without.drop: got no pattern, expected at least one such as 'fc.weight'; name what was perturbed")

    def __call__(self, guess: Params, seen: Params, /) -> Tensor:
        """Return the wrapped likelihood of the rest. Raises UsageError for a pattern without a match, and if nothing is left."""
        for pattern in self.drop:
            if not any(fnmatchcase(name, pattern) for name in seen):
                raise UsageError(
                    f"Without.drop: {pattern!r} matches no parameter, expected a pattern for some of {', '.join(seen)}"
                )
        rest = {name: value for name, value in seen.items() if not any(fnmatchcase(name, pattern) for pattern in self.drop)}
        if not rest:
            raise UsageError(f"Without.drop: {', '.join(self.drop)} match every tensor that was seen; leave one to match")
        return self.likelihood(guess, rest)
