"""The best point so far, of one search or of many side by side: a loss is paired with the very point it was computed at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from leakgauge.core.protocols import Found, Point
from leakgauge.core.types import Status


class Best:
    """Collects (point, loss) pairs during one search."""

    def __init__(self, start: Mapping[str, Tensor]) -> None:
        self.point: dict[str, Tensor] = {name: value.detach().clone() for name, value in start.items()}
        self.loss = math.inf
        self.trace: list[float] = []

    def offer(self, point: Point, loss: float) -> bool:
        """Remember the loss, and the point if it is the best; return whether it was."""
        self.trace.append(loss)
        if not loss < self.loss:
            return False
        self.loss = loss
        self.point = {name: value.detach().clone() for name, value in point.items()}
        return True

    def found(self) -> Found:
        """The best pair; a search that saw no finite loss, or ended in one that is none, diverged."""
        return _ended(self.point, self.loss, torch.tensor(self.trace))


def _ended(point: Point, loss: float, trace: Tensor) -> Found:
    is_finite = len(trace) > 0 and math.isfinite(trace[-1])
    return Found(point, loss if math.isfinite(loss) else math.nan, trace, Status.OK if is_finite else Status.DIVERGED)


_LOOK = 16
"""Steps after which it is looked at whether searches are over, where that is to wait for the device that computes."""


def _computes_apart(value: Tensor) -> bool:
    """Whether a value may not be there yet when it is returned, so that to read it is to wait."""
    return value.device.type != "cpu"


class Bests:
    """Collects (point, loss) pairs of searches side by side, where their losses lie: nothing waits for the device that computes.

    Those of one target end where one of them reaches its goal, or none has a loss that is a number; what they are offered later is
    left aside.
    """

    def __init__(self, starts: Point, goals: Sequence[float], targets: Sequence[int]) -> None:
        self._points = {name: value.detach().clone() for name, value in starts.items()}
        like = next(iter(self._points.values()))
        places = torch.tensor(targets, device=like.device)
        self._are_one = places[:, None] == places if len(set(targets)) < len(targets) else None
        self._goals = like.new_tensor(goals)
        self._losses = torch.full_like(self._goals, math.inf)
        self._are_open = torch.ones_like(places, dtype=torch.bool)
        self._traces: list[Tensor] = []
        self._were_open: list[Tensor] = []

    def offer(self, points: Point, losses: Tensor) -> None:
        """Remember losses [n], and each point that is the best of its search."""
        self._traces.append(losses)
        self._were_open.append(self._are_open)
        are_better = self._are_open & (losses < self._losses)
        self._losses = torch.where(are_better, losses, self._losses)
        self._points = {
            name: torch.where(are_better.reshape(-1, *[1] * (value.dim() - 1)), points[name].detach(), value)
            for name, value in self._points.items()
        }
        are_short = self._each_of_target(self._losses > self._goals)
        self._are_open = self._are_open & are_short & self._any_of_target(losses.abs() < math.inf)

    def are_over(self) -> bool:
        """Whether all searches have ended, as far as that is known: a device of its own is not asked after every step."""
        is_asked = not _computes_apart(self._are_open) or len(self._traces) % _LOOK == 0
        return is_asked and not bool(self._are_open.any())

    def found(self) -> list[Found]:
        """The best pair of each."""
        traces, lengths = torch.stack(self._traces, dim=1).cpu(), torch.stack(self._were_open).sum(dim=0).tolist()
        return [
            _ended({name: value[row] for name, value in self._points.items()}, loss, traces[row, : lengths[row]])
            for row, loss in enumerate(self._losses.tolist())
        ]

    def _any_of_target(self, are: Tensor) -> Tensor:
        return are if self._are_one is None else (self._are_one & are).any(dim=1)

    def _each_of_target(self, are: Tensor) -> Tensor:
        return are if self._are_one is None else (~self._are_one | are).all(dim=1)
