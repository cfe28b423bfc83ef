"""A model with examples to check algorithms on: chance images of 8x8 pixels in four classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch

from leakgauge.core.capabilities import ADAPTIVE
from leakgauge.core.protocols import Defense, Victim
from leakgauge.core.rng import stream
from leakgauge.core.threat import observe
from leakgauge.core.types import Batch, Client, Inputs, Model, Observation, ThreatModel
from leakgauge.victims.resnet import ResNet

INPUTS = Inputs((1, 8, 8), 4, mean=(0.5,), std=(0.25,))
SMALL_RESNET = ResNet(blocks=(1,), widths=(4,))
"""Convolutions, BatchNorm and a linear head."""


@final
@dataclass(frozen=True)
class Sample:
    """What a client would hold, and other data of its kind."""

    model: Model
    batch: Batch
    public: Batch

    def observe(self, client: Client, *, defenses: Sequence[Defense] = (), threat: ThreatModel = ADAPTIVE) -> Observation:
        """What an adversary sees of this batch."""
        rng = stream(0, "client")
        return observe(self.model, self.batch, client=client, defenses=defenses, threat=threat, public=self.public, rng=rng)


def sample(victim: Victim = SMALL_RESNET, *, examples: int = 2, inputs: Inputs = INPUTS, seed: int = 0) -> Sample:
    """Return a fresh model with `examples` secret examples, of different classes as long as there are enough of them."""
    rng = stream(seed, "sample")
    x = inputs.low + (inputs.high - inputs.low) * torch.rand(examples + 5, *inputs.shape, generator=rng)
    y = torch.arange(examples + 5, 0, -1) % inputs.classes  # descending, so that sorting them shows
    return Sample(
        victim.build(inputs, rng=stream(seed, "victim")), Batch(x[:examples], y[:examples]), Batch(x[examples:], y[examples:])
    )
