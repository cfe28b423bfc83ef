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
_STARTS = 4


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

    The best of several starts, example by example: from the code 0 some generators are never left, from a code by chance others are
    not. For after the attack: it sees the truth. None where the space holds anything.
    """
    if not isinstance(space, Generative):
        return None
    codes = [space.draw(seen, len(batch), rng=rng) for _ in range(_STARTS)]
    start = torch.cat([torch.zeros_like(codes[0]), *codes[1:]])
    given, truth = conditioned(space, torch.cat([batch.y] * _STARTS)), torch.cat([batch.x] * _STARTS)
    inputs = seen.model.inputs

    def errors(codes: Tensor) -> Tensor:
        return ((given.decode(codes, seen) - truth) / (inputs.high - inputs.low)).square().flatten(1).sum(dim=1)

    def error(point: Point) -> Tensor:
        return errors(point["x"]).sum()

    def project(point: Point) -> Point:
        return {"x": given.project(point["x"], seen)}

    found = _SEARCH.minimize(error, {"x": start}, project=project, goal=0.0, rng=rng, tick=tick).point["x"]
    with torch.no_grad():
        chosen = errors(found).reshape(_STARTS, len(batch)).argmin(dim=0)
        made = given.decode(found, seen).reshape(_STARTS, *batch.x.shape)
    return Batch(made[chosen, torch.arange(len(batch), device=chosen.device)], batch.y)
