"""Rounds over many clients (McMahan et al., AISTATS 2017, arXiv 1602.05629, Algorithm 1): a state, and a step to the next one.

Nothing is drawn but from the seed and the number of the round, so that a state is all that it takes to go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, final

import torch
from torch import Tensor

from leakgauge.core import tree
from leakgauge.core.errors import UsageError
from leakgauge.core.protocols import Defense, Optimizer
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Client, Model, Params
from leakgauge.federation.servers import mean
from leakgauge.federation.workers import first_kept, work


@final
@dataclass(frozen=True, kw_only=True)
class Federation:
    """Who takes part and how: the examples of each client, and what everyone does in a round.

    `sampled` clients are drawn for a round. A client trains on all its examples or, with `examples`, on as many, drawn anew.
    """

    model: Model  # as it is before the first round
    shares: tuple[Batch, ...]  # of each client
    client: Client
    defenses: tuple[Defense, ...]
    server: Optimizer
    sampled: int
    examples: int | None = None
    seed: int = 0


@final
@dataclass(frozen=True)
class State:
    """A federation between two rounds."""

    round: int  # how many are over
    params: Params
    buffers: Params
    server: Mapping[str, Params] = field(default_factory=dict)  # of its optimizer
    kept: Mapping[int, Params] = field(default_factory=dict)  # what each client has of its own


class Told(NamedTuple):
    """What there is to tell of a round."""

    clients: tuple[int, ...]  # that took part
    examples: int  # that they trained on
    norm: float  # of the mean update


def start(federation: Federation) -> State:
    """Return the state before the first round: the model, and what each client has of its own."""
    model, seed = federation.model, federation.seed
    kept = {
        number: own
        for number in range(len(federation.shares))
        if (own := first_kept(model, federation.defenses, rng=stream(seed, "own", number)))
    }
    apart = {name for own in kept.values() for name in own}  # the server has none of it
    params = {name: torch.zeros_like(value) if name in apart else value for name, value in model.params.items()}
    return State(0, tree.detach(params), tree.detach(model.buffers), {}, kept)


def step(federation: Federation, state: State) -> tuple[State, Told]:
    """Return the state after one more round, and what happened in it. Raises UsageError as clients and defenses do."""
    number, seed = state.round, federation.seed
    order = torch.randperm(len(federation.shares), generator=stream(seed, "round", number))
    chosen = sorted(order[: federation.sampled].tolist())
    model = replace(federation.model, params=state.params, buffers=state.buffers)
    updates, sizes, kept = [], [], dict(state.kept)
    for one in chosen:
        rng = stream(seed, "round", number, "client", one)
        batch = _drawn(federation.shares[one], federation.examples, rng)
        done = work(
            model,
            batch,
            client=federation.client,
            defenses=federation.defenses,
            kept=kept.get(one, {}),
            server_rate=federation.server.learning_rate,
            rng=rng,
        )
        updates.append(done.sent)
        sizes.append(len(batch))
        if done.kept:
            kept[one] = done.kept
    delta, buffers = mean(state.params, updates, [size / sum(sizes) for size in sizes])
    moved, server = federation.server.step({name: state.params[name] for name in delta}, delta, state.server)
    after = State(number + 1, {**state.params, **moved}, {**state.buffers, **buffers}, server, kept)
    return after, Told(tuple(chosen), sum(sizes), float(tree.squared_norm(delta)) ** 0.5)


def model_of(federation: Federation, state: State, client: int | None = None) -> Model:
    """Return the model that a client works with, or the one that the server holds. Raises UsageError for a client there is not."""
    if client is not None and not 0 <= client < len(federation.shares):
        raise UsageError(f"client: got {client}, expected a number from 0 to {len(federation.shares) - 1}")
    own = {} if client is None else state.kept.get(client, {})
    return replace(federation.model, params={**state.params, **own}, buffers=state.buffers)


def _drawn(share: Batch, examples: int | None, rng: torch.Generator) -> Batch:
    if examples is None or examples >= len(share):
        return share
    rows: Tensor = torch.randperm(len(share), generator=rng)[:examples]
    return share[rows.to(share.x.device)]
