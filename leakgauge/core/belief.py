"""What is known of an update before it is seen: a density for each of its numbers, given a candidate, as defenses shape it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, final, runtime_checkable

import torch
from torch import Tensor

from leakgauge.core import tree
from leakgauge.core.errors import OutOfScope
from leakgauge.core.noise import Dropped, Noise, Normal
from leakgauge.core.types import Client, Model, Params


@final
@dataclass(frozen=True)
class Part:
    """One of several ways in which numbers may have come about, and how likely it is."""

    share: float
    center: Params
    noise: Mapping[str, Noise]


@final
@dataclass(frozen=True)
class Belief:
    """A mixture of parts: p(u given x), number by number."""

    parts: tuple[Part, ...]

    def surprises(self, seen: Params) -> Params:
        """Return -log p(u given x) in nats, number by number, for the tensors that were seen."""
        return {name: self._of(name, value) for name, value in seen.items()}

    @property
    def is_exact(self) -> bool:
        """Whether no chance has come in so far."""
        return all(isinstance(one, Normal) and one.is_exact for part in self.parts for one in part.noise.values())

    def spread(self, change: Callable[[Noise], Noise]) -> Belief:
        """Return the belief with other noise around the same centers."""
        return self.by_tensor(lambda _, noise: change(noise))

    def by_tensor(self, change: Callable[[str, Noise], Noise]) -> Belief:
        """Return the belief with other noise, which depends on the tensor's name."""
        parts = [replace(part, noise={name: change(name, one) for name, one in part.noise.items()}) for part in self.parts]
        return Belief(tuple(parts))

    def moved(self, change: Callable[[Params], Params]) -> Belief:
        """Return the belief with other centers. Raises OutOfScope where there is chance already, which would change as well."""
        if not self.is_exact:
            raise OutOfScope("a defense that changes noisy numbers has no density in closed form; choose a likelihood")
        return Belief(tuple(replace(part, center=change(part.center)) for part in self.parts))

    def among(self, names: Mapping[str, object]) -> Belief:
        """Return the belief about some of the tensors."""
        return Belief(
            tuple(
                replace(part, center={name: part.center[name] for name in names}, noise={name: part.noise[name] for name in names})
                for part in self.parts
            )
        )

    def or_dropped(self, share: float) -> Belief:
        """Return the belief with a chance of `share` that a number is set to 0."""
        kept = tuple(replace(part, share=(1 - share) * part.share) for part in self.parts)
        zeros = tree.apply(torch.zeros_like, self.parts[0].center)
        return Belief((*kept, Part(share, zeros, dict.fromkeys(zeros, Dropped()))))

    def _of(self, name: str, seen: Tensor) -> Tensor:
        """The negative log density of the numbers of one tensor."""
        atoms = [part.share for part in self.parts if isinstance(part.noise[name], Dropped)]
        terms = [
            part.noise[name].surprise(seen, part.center[name]) - math.log(part.share)
            for part in self.parts
            if not isinstance(part.noise[name], Dropped)
        ]
        density = -torch.logsumexp(-torch.stack(terms), dim=0) if len(terms) > 1 else terms[0]
        if not atoms:
            return density
        # Where a number may be exactly 0 and is, that is infinitely likelier than any density. Products, because a coin's zeros
        # make branches (where, masked_fill) 25 times as slow.
        is_told = (seen != 0).to(density)
        return density * is_told - math.log(sum(atoms)) * (1 - is_told)


@runtime_checkable
class Spreading(Protocol):
    """A defended client that says what its defense makes of a belief."""

    @property
    def client(self) -> Client:
        """What is defended."""
        ...

    def spread(self, belief: Belief, seen: Params, model: Model, /) -> Belief:
        """Return the belief about what leaves, for an update that was seen and the model that the adversary holds.

        Raises OutOfScope where it has no closed form.
        """
        ...


@runtime_checkable
class Noisy(Protocol):
    """A client, or a gradient rule, with Gaussian noise of its own in every number."""

    def deviation(self, examples: int, /) -> float:
        """Return the standard deviation of that noise for a batch, or mini-batch, of so many examples; 0 for none.

        Raises OutOfScope where it is not Gaussian.
        """
        ...


def certain(center: Params, width: float, *, is_exact: bool = True) -> Belief:
    """The belief without chance: numbers are those of the candidate, give or take `width`; or with Gaussian noise as wide."""
    return Belief((Part(1.0, center, dict.fromkeys(center, Normal(width, is_exact=is_exact))),))


def peeled(client: Client) -> tuple[Client, tuple[Spreading, ...]]:
    """Return the client inside, and the defenses around it that can say how they spread, the innermost first."""
    layers: list[Spreading] = []
    while isinstance(client, Spreading):
        layers.insert(0, client)
        client = client.client
    return client, tuple(layers)
