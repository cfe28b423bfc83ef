"""Partial sharing: some layers never leave the client (Arivazhagan et al., FedPer, 2019, arXiv 1912.00818)."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import final

from leakgauge.core.algorithm import algorithm
from leakgauge.core.belief import Belief
from leakgauge.core.errors import UsageError
from leakgauge.core.types import Client, Params, Rng
from leakgauge.defenses.transformed import Transformed


@final
@algorithm
class PartialSharing:
    """Sends only the parameters whose name matches one of the patterns of `share` (`conv*`, `features.*.weight`)."""

    share: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.share:
            raise UsageError("PartialSharing.share: got no pattern, expected at least one such as 'conv*'; name what may leave")

    def protect(self, client: Client, /) -> Client:
        """Return the client that keeps the other parameters to itself."""
        return Transformed(client, self)

    def spread(self, belief: Belief, seen: Params, /) -> Belief:
        """Return the belief about the shared tensors alone."""
        return belief.among(self.transform(belief.parts[0].center, rng=None))

    def transform(self, delta: Params, /, *, rng: Rng | None) -> Params:
        """Return the shared tensors. Raises UsageError for a pattern that matches nothing, for a typo would look like safety."""
        for pattern in self.share:
            if not any(fnmatchcase(name, pattern) for name in delta):
                raise UsageError(f"PartialSharing.share: {pattern!r} matches no parameter, {_known(delta)}")
        return {name: value for name, value in delta.items() if any(fnmatchcase(name, pattern) for pattern in self.share)}


def _known(names: Iterable[str]) -> str:
    return f"expected a pattern for some of {', '.join(names)}"
