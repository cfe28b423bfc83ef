"""A whole plugin: an attack that guesses stripes, and a defense that sends less and less."""

from __future__ import annotations

from dataclasses import replace
from typing import final

import torch

from leakgauge.core import tree
from leakgauge.core.algorithm import Count, Share, algorithm
from leakgauge.core.types import Batch, Capability, Client, Model, Observation, Reconstruction, Rng, Tick, Update


@final
@algorithm
class Zebra:
    """Vertical stripes of `width` pixels, whatever the update says."""

    width: Count = 2

    @property
    def needs(self) -> frozenset[Capability]:
        """COUNT."""
        return frozenset({Capability.COUNT})

    def run(self, seen: Observation, /, *, rng: Rng, tick: Tick) -> Reconstruction:
        """Return the same stripes for every example."""
        shape = seen.model.inputs.shape
        stripes = (torch.arange(shape[-1]) // self.width % 2).float().expand(seen.update.examples or 1, *shape)
        tick(1.0)
        return Reconstruction(Batch(stripes, torch.zeros(len(stripes), dtype=torch.long)), torch.full((1,), torch.nan))


@final
@algorithm
class Fading:
    """Multiplies the update by `keep`."""

    keep: Share

    def protect(self, client: Client, /) -> Client:
        """Return the client that sends less."""

        def faded(model: Model, batch: Batch, /, *, rng: Rng | None = None) -> Update:
            update = client(model, batch, rng=rng)
            return replace(update, delta=tree.apply(lambda value: value * self.keep, update.delta))

        return faded


def silence(rest: Share = 0.0) -> Fading:
    """Sends next to nothing."""
    return Fading(keep=rest)
