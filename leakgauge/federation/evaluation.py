"""What a federation's model can do: accuracy on examples that nobody trained on, with what clients keep and without."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean
from typing import final

import torch

from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Model
from leakgauge.federation.rounds import Federation, State, model_of
from leakgauge.federation.workers import first_kept

_AT_ONCE = 500


@final
@dataclass(frozen=True)
class Accuracy:
    """Shares of examples that are classified right."""

    server: float  # by the weights that the server has
    client: float  # with what a client keeps, the mean over clients
    stranger: float | None = None  # with things of the same kind that are nobody's, such as a wrong key; None where none are kept


def evaluate(federation: Federation, state: State, test: Batch, *, clients: int = 3) -> Accuracy:
    """Return the accuracies, those of clients over the first `clients` that have something of their own."""
    server = accuracy(model_of(federation, state), test)
    owners = sorted(state.kept)[:clients]
    if not owners:
        return Accuracy(server, server)
    each = [accuracy(model_of(federation, state, one), test) for one in owners]
    strange = first_kept(federation.model, federation.defenses, rng=stream(federation.seed, "stranger"))
    stranger = model_of(federation, state)
    found = accuracy(replace(stranger, params={**stranger.params, **strange}), test) if strange else None
    return Accuracy(server, fmean(each), found)


@torch.no_grad()
def accuracy(model: Model, test: Batch) -> float:
    """Return the share of examples [n] whose largest logit is that of their class."""
    right = [
        model.logits(test.x[rows : rows + _AT_ONCE]).argmax(dim=1) == test.y[rows : rows + _AT_ONCE]
        for rows in range(0, len(test), _AT_ONCE)
    ]
    return float(torch.cat(right).float().mean())
