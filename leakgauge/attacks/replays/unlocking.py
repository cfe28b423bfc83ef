"""What locks are set to, searched along with the examples: two numbers a channel, and no key (FedKL, Ren et al., arXiv 2305.04095).

The paper's attacker searches a key of 1,024 numbers through layers that it is given. A key does nothing but make the factors gamma
and beta of each channel, so an adversary who is given neither searches these.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from leakgauge.attacks.replays.one_gradient import OneGradient
from leakgauge.core.algorithm import NonNegative, Positive, algorithm
from leakgauge.core.lock import Factors, KeyLock, locks, opened
from leakgauge.core.protocols import Point, Replay
from leakgauge.core.rng import normal_like, stream
from leakgauge.core.types import Batch, Capability, Observation, Params


@final
@algorithm
class Unlocking:
    """Another replay, through locks whose factors are unknown.

    The factors start from `gamma` and `beta` in every channel in the first restart, and in the others from numbers whose logarithms
    are normal around those, `spread` wide; they move `pace` times as fast as the examples. Where they are not `searched`, the locks
    are a guess: factors drawn like those of a further restart, which stay.
    """

    replay: Replay = OneGradient(batchnorm="train")
    gamma: Positive = 1.0
    beta: Positive = 0.1
    spread: NonNegative = 0.5
    pace: Positive = 1.0
    searched: bool = True

    @property
    def needs(self) -> frozenset[Capability]:
        """What the replay needs."""
        return self.replay.needs

    def __call__(self, seen: Observation, batch: Batch, /) -> Params:
        """Return the update of the candidate with locks as they are before a search."""
        return self.at(self._start(seen, 1 if not self.searched else 0))(seen, batch)

    def unknowns(self, seen: Observation, /, *, restart: int) -> Point:
        """Return where the factors start, by lock, [2, channels]; nothing where they are not searched.

        Raises UsageError for a model without locks.
        """
        return self._start(seen, restart) if self.searched else {}

    def at(self, point: Point, /) -> Replay:
        """Return the replay through locks with the factors of a point."""
        own = {name.removeprefix(_LOCK): value for name, value in point.items() if name.startswith(_LOCK)}
        return _Opened(self, own) if own else self

    def remarks(self, start: Point, end: Point, /) -> tuple[str, ...]:
        """Nothing: all factors are possible."""
        return ()

    def biases(self, lock: KeyLock, unknown: Tensor) -> Factors:
        """Return what stands before a lock's activation; of a ReLU, nothing below 0, where it would have no derivative."""
        moved = self.pace * unknown
        return Factors(*(moved.abs() if lock.activation == "relu" else moved))

    def _start(self, seen: Observation, restart: int) -> Point:
        found = {}
        for name, lock in locks(seen.model).items():
            like = seen.model.params[f"{name}.shift.bias" if name else "shift.bias"]
            start = torch.stack([torch.full_like(like, self.gamma), torch.full_like(like, self.beta)])
            if restart:
                start = start * (self.spread * normal_like(start, stream(restart, "unlocking", name))).exp()
            if lock.activation == "sigmoid":
                start = start.clamp_max(_MOST).logit()
            found[_LOCK + name] = start / self.pace
        return found


@final
@dataclass(frozen=True)
class _Opened:
    unlocking: Unlocking
    factors: Point

    @property
    def needs(self) -> frozenset[Capability]:
        return self.unlocking.needs

    def __call__(self, seen: Observation, batch: Batch, /) -> Params:
        found = locks(seen.model)
        biases = {name: self.unlocking.biases(found[name], value) for name, value in self.factors.items()}
        return self.unlocking.replay(replace(seen, model=opened(seen.model, biases)), batch)


_LOCK = "lock "
_MOST = 0.99
"""Of a factor behind a sigmoid, where a search starts."""
