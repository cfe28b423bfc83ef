"""What a space holds: examples that it makes by chance, and those nearest to given ones, which no attack in it can surpass."""

from __future__ import annotations

import torch
from torch import Tensor

from leakgauge.attacks.searches.adam import Adam
from leakgauge.core.abilities import Generative, conditioned
from leakgauge.core.protocols import Point, Space
from leakgauge.core.types import Batch, Observation, Rng, Tick

_SEARCH = Adam(learning_rate=0.1, steps=300, schedule="cosine")
"""300 steps are what the fits in the literature take; more gain hundredths of a dB."""


def drawn(space: Space, seen: Observation, count: int, *, rng: Rng) -> Batch | None:
    """Return examples that a space makes by chance, of labels by chance; None where it makes anything."""
    if not isinstance(space, Generative):
        return None
    point = space.draw(seen, count, rng=rng)
    labels = torch.randint(seen.model.inputs.classes, (count,), generator=rng).to(point.device)
    with torch.no_grad():
        return Batch(conditioned(space, labels).decode(point, seen), labels)


def nearest(space: Space, seen: Observation, batch: Batch, *, rng: Rng, tick: Tick) -> Batch | None:
    """Return the examples of a space with the least squared error from a batch, as far as a search finds them.

    For after the attack: it sees the truth. None where the space holds anything.
    """
    if not isinstance(space, Generative):
        return None
    given = conditioned(space, batch.y)
    inputs = seen.model.inputs

    def error(point: Point) -> Tensor:
        return ((given.decode(point["x"], seen) - batch.x) / (inputs.high - inputs.low)).square().sum()

    def project(point: Point) -> Point:
        return {"x": given.project(point["x"], seen)}

    found = _SEARCH.minimize(
        error, {"x": 0 * given.start(seen, len(batch), rng=rng)}, project=project, goal=0.0, rng=rng, tick=tick
    )
    with torch.no_grad():
        return Batch(given.decode(found.point["x"], seen), batch.y)
