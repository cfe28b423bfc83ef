"""Rounds of federation: one batch that a client trains on again, each time from the model that the server has moved to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import final

import torch

from leakgauge.core.abilities import Trains
from leakgauge.core.algorithm import Count, NonNegative, algorithm
from leakgauge.core.protocols import Defense
from leakgauge.core.rng import stream
from leakgauge.core.threat import observe, protect
from leakgauge.core.types import Batch, Client, Model, Observation, ThreatModel


@final
@algorithm
class Rounds:
    """In how many rounds the adversary sees the batch, and how far the server moves from one to the next.

    The server takes `server_rate` times what this client sent off its weights: 1 for a client that sends a difference of weights,
    the learning rate for one that sends a gradient, less where other clients take part, 0 where the model stays as it is.
    """

    count: Count = 1
    server_rate: NonNegative = 1.0


def observe_rounds(
    model: Model,
    batch: Batch,
    *,
    client: Client,
    defenses: Sequence[Defense] = (),
    threat: ThreatModel,
    public: Batch | None = None,
    rounds: Rounds = Rounds(),
    seed: int,
) -> Observation:
    """Let a client send its update on the secret batch in every round; return the last round, with those before it as `earlier`.

    `model` is that of the first round. Every round has a chance of its own, so that noise differs. Raises UsageError as `observe`.
    """
    seen: list[Observation] = []
    for number in range(rounds.count):
        rng = stream(seed, "client", *([number] if number else []))
        seen.append(observe(model, batch, client=client, defenses=defenses, threat=threat, public=public, rng=rng))
        model = _moved(model, seen[-1], rounds.server_rate)
    return replace(seen[-1], earlier=tuple(seen[:-1]))


def trained_on(model: Model, batch: Batch, *, client: Client, defenses: Sequence[Defense] = (), seed: int) -> Batch | None:
    """Return what the client made of each example before it trained, in the first round; None where it trained on them as they are.

    Later rounds draw anew, so what they train on may differ: the first is the one that guesses are held against.
    """
    sending = protect(client, defenses)
    if not isinstance(sending, Trains):
        return None
    trained = sending.trained_on(model, batch, rng=stream(seed, "client"))
    return None if torch.equal(trained.x, batch.x) else trained


def _moved(model: Model, seen: Observation, rate: float) -> Model:
    """The model after the server's step, which knows no more than what was sent: other tensors and buffers stay."""
    sent = seen.update
    moved = {name: seen.model.params[name] - rate * value for name, value in sent.delta.items()}
    return replace(model, params={**model.params, **moved}, buffers={**model.buffers, **sent.buffers})
