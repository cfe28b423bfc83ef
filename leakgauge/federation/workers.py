"""What a client of a federation does in a round: it trains with what it keeps, sends, and keeps what it did not send."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, final

from torch import Tensor

from leakgauge.core import tree
from leakgauge.core.abilities import LocalTraining, Owning, exchange_gradient
from leakgauge.core.protocols import Defense, GradientRule
from leakgauge.core.threat import protect
from leakgauge.core.types import Batch, Client, Model, Params, Rng, Update


class Work(NamedTuple):
    """What became of a client's round."""

    sent: Update
    kept: Params  # what the client has of its own from now on


def work(
    model: Model, batch: Batch, *, client: Client, defenses: Sequence[Defense], kept: Params, server_rate: float, rng: Rng
) -> Work:
    """Let a client train from the global weights and its own, and send its update through its defenses.

    What it trained and does not send stays with it: after local training as it is then; where the update is a gradient, a step of
    the server's rate further. Raises UsageError as the client and the defenses do.
    """
    trained: dict[str, Tensor] = {}
    mine = replace(model, params={**model.params, **kept})
    sent = protect(_Recorded(client, trained), defenses)(mine, batch, rng=rng)
    rate = 1.0 if isinstance(client, LocalTraining) else server_rate
    own = {name: mine.params[name] - rate * value for name, value in trained.items() if name not in sent.delta}
    return Work(sent, tree.detach({**kept, **own}))


def first_kept(model: Model, defenses: Sequence[Defense], *, rng: Rng) -> Params:
    """Return what a client has of its own before its first round, where a defense gives it something, such as a key."""
    own = [defense.own(model, rng=rng) for defense in defenses if isinstance(defense, Owning)]
    return {name: value for one in own for name, value in one.items()}


@final
@dataclass(frozen=True)
class _Recorded:
    """A client without defenses, whose last update is written down as well."""

    client: Client
    trained: dict[str, Tensor] = field(repr=False)

    def __call__(self, model: Model, batch: Batch, /, *, rng: Rng | None = None) -> Update:
        update = self.client(model, batch, rng=rng)
        self.trained.clear()
        self.trained.update(update.delta)
        return update

    def with_gradient(self, rule: GradientRule, /) -> Client:
        return replace(self, client=exchange_gradient(self.client, rule))
