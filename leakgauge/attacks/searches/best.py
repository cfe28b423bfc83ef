"""The best point so far: a loss is paired with the very point it was computed at."""

from __future__ import annotations

import math
from collections.abc import Mapping

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
        finite = bool(self.trace) and math.isfinite(self.trace[-1])
        status = Status.OK if finite else Status.DIVERGED
        return Found(self.point, self.loss if math.isfinite(self.loss) else math.nan, torch.tensor(self.trace), status)
