"""A victim at any round of a federation: the weights of a checkpoint in the architecture of another victim."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import final

from leakgauge.core.algorithm import NonNegativeInt, algorithm
from leakgauge.core.errors import UsageError
from leakgauge.core.protocols import Victim
from leakgauge.core.types import Inputs, Model, Params, Rng
from leakgauge.federation.checkpoints import load


@final
@algorithm
class Checkpoint:
    """The model of the server in the checkpoint at `path`, which `leakgauge federate` has written; `victim` is its architecture.

    With a `client`, what that one keeps to itself is put in: the model that it trains.
    """

    path: str
    victim: Victim
    client: NonNegativeInt | None = None

    def build(self, inputs: Inputs, /, *, rng: Rng) -> Model:
        """Return the model. Raises UsageError for a file that holds no state, of another architecture, or without the client."""
        fresh = self.victim.build(inputs, rng=rng)
        state, _ = load(Path(self.path))
        _check("params", state.params, fresh.params, self.path)
        _check("buffers", state.buffers, fresh.buffers, self.path)
        if self.client is not None and state.kept and self.client not in state.kept:
            raise UsageError(f"checkpoint.client: got {self.client}, expected one of {', '.join(map(str, sorted(state.kept)))}")
        own = {} if self.client is None else state.kept.get(self.client, {})
        return replace(fresh, params={**state.params, **own}, buffers=dict(state.buffers))


def _check(what: str, found: Params, expected: Params, path: str) -> None:
    one, other = ({name: tuple(value.shape) for name, value in tree.items()} for tree in (found, expected))
    if one != other:
        names = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
        raise UsageError(
            f"checkpoint.victim: {names[0]!r} ({what}) is {other.get(names[0])} in the victim and {one.get(names[0])} in {path}, "
            "expected the victim that was trained"
        )
