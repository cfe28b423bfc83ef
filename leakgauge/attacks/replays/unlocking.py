"""What locks are set to, searched along with the examples: two numbers a channel, and no key (FedKL, Ren et al., arXiv 2305.04095).

The paper's attacker searches a key of 1,024 numbers through layers that it is given. A key does nothing but make the factors gamma
and beta of each channel, so an adversary who is given neither searches these.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from leakgauge.attacks.forging import biases, forge
from leakgauge.attacks.replays.one_gradient import OneGradient
from leakgauge.core.abilities import Fixed
from leakgauge.core.algorithm import Count, NonNegative, Positive, algorithm
from leakgauge.core.errors import UsageError
from leakgauge.core.lock import Factors, locks, opened, told
from leakgauge.core.protocols import Point, Replay
from leakgauge.core.rng import normal_like, stream
from leakgauge.core.types import Batch, Capability, Observation, Params, Rng


@final
@algorithm
class Forging:
    """Fits the factors to the public data first, for `steps` of Adam (see `leakgauge.attacks.forging`)."""

    steps: Count = 200
    learning_rate: Positive = 0.05


@final
@algorithm
class Unlocking:
    """Another replay, through locks whose factors are unknown.

    The factors start from `gamma` and `beta` in every channel in the first restart, and in the others from numbers whose logarithms
    are normal around those, `spread` wide; with `forging`, from there they are first fitted to the public data. In the search they
    move `pace` times as fast as the examples. Where they are not `searched`, the locks stay as they start: with `forging` as it
    leaves them, else as in a further restart, which is a guess.
    """

    replay: Replay = OneGradient(batchnorm="train")
    gamma: Positive = 1.0
    beta: Positive = 0.1
    spread: NonNegative = 0.5
    forging: Forging | None = None
    pace: Positive = 1.0
    searched: bool = True

    @property
    def needs(self) -> frozenset[Capability]:
        """What the replay needs, and PUBLIC_DATA for forging."""
        return self.replay.needs | (frozenset({Capability.PUBLIC_DATA}) if self.forging else frozenset())

    def __call__(self, seen: Observation, batch: Batch, /) -> Params:
        """Return the update of the candidate with locks as they are before a search."""
        return self.at(self._start(seen, 0 if self.searched or self.forging else _GUESS))(seen, batch)

    def fixed(self, seen: Observation, /) -> Fixed:
        """Return the replay through locks as they stay, where they are not searched."""
        return Fixed(self if self.searched else self.at(self._start(seen, 0 if self.forging else _GUESS)), {})

    def unknowns(self, seen: Observation, /, *, restart: int) -> Point:
        """Return where the factors start, by lock, [2, channels]; nothing where they are not searched.

        Raises UsageError for a model without locks.
        """
        return self._start(seen, restart) if self.searched else {}

    def at(self, point: Point, /) -> Replay:
        """Return the replay through locks with the factors of a point."""
        own = self._own(point)
        return _Opened(self, own) if own else self

    def remarks(self, start: Point, end: Point, /) -> tuple[str, ...]:
        """Nothing: all factors are possible."""
        return ()

    @property
    def opens(self) -> bool:
        """True."""
        return True

    def uncovered(self, seen: Observation, point: Point, /) -> Params:
        """Return the factors at a point, KeyLock.gamma and KeyLock.beta, [channels] of all locks together."""
        own, found = self._own(point), locks(seen.model)
        inner = biases(seen.model, own)
        return told({name: Factors(*(found[name].act(value.detach()) for value in inner[name])) for name in own})

    def _own(self, point: Point) -> dict[str, Tensor]:
        return {name.removeprefix(_LOCK): self.pace * value for name, value in point.items() if name.startswith(_LOCK)}

    def _start(self, seen: Observation, restart: int) -> Point:
        found = {}
        for name, lock in locks(seen.model).items():
            like = seen.model.params[f"{name}.shift.bias" if name else "shift.bias"]
            start = torch.stack([torch.full_like(like, self.gamma), torch.full_like(like, self.beta)])
            if restart:
                start = start * (self.spread * normal_like(start, stream(restart, "unlocking", name))).exp()
            found[name] = start.clamp_max(_MOST).logit() if lock.activation == "sigmoid" else start
        if self.forging is not None:
            found = self._forged(seen, found, self.forging, stream(restart, "forging"))
        return {_LOCK + name: value / self.pace for name, value in found.items()}

    def _forged(self, seen: Observation, start: Point, forging: Forging, rng: Rng) -> dict[str, Tensor]:
        if seen.public is None:
            raise UsageError("threat: does not grant public_data, which forging needs; choose informed or wider")
        return forge(seen.model, seen.public, start, steps=forging.steps, learning_rate=forging.learning_rate, rng=rng)


@final
@dataclass(frozen=True)
class _Opened:
    unlocking: Unlocking
    factors: Point

    @property
    def needs(self) -> frozenset[Capability]:
        return self.unlocking.needs

    @property
    def opens(self) -> bool:
        return True

    def __call__(self, seen: Observation, batch: Batch, /) -> Params:
        return self.unlocking.replay(replace(seen, model=opened(seen.model, biases(seen.model, self.factors))), batch)


_LOCK = "lock "
_GUESS = 1
"""The restart whose start is the guess."""
_MOST = 0.99
"""Of a factor behind a sigmoid, where a search starts."""
