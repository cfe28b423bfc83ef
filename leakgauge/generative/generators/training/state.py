"""What a training goes on from: networks, optimizers and schedules by name; and where its mini-batches come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LRScheduler

from leakgauge.core.types import Rng


@final
@dataclass(frozen=True)
class State:
    """The networks of a training, which change in place as it goes on."""

    networks: Mapping[str, nn.Module]
    optimizers: Mapping[str, torch.optim.Optimizer]
    schedules: Mapping[str, LRScheduler] = field(default_factory=dict)

    def descend(self, name: str, loss: Tensor) -> None:
        """Take a step of one optimizer, and of its schedule."""
        self.optimizers[name].zero_grad()
        loss.backward()
        self.optimizers[name].step()
        if name in self.schedules:
            self.schedules[name].step()

    def saved(self) -> dict[str, Any]:
        """Return all numbers, for a checkpoint."""
        return {kind: {name: part.state_dict() for name, part in parts.items()} for kind, parts in self._parts().items()}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take the numbers of a checkpoint in place."""
        for kind, parts in self._parts().items():
            for name, part in parts.items():
                part.load_state_dict(saved[kind][name])

    def _parts(self) -> dict[str, Mapping[str, Any]]:
        return {"networks": self.networks, "optimizers": self.optimizers, "schedules": self.schedules}


@final
@dataclass(frozen=True)
class Minibatches:
    """Images [N, c, h, w] in [0, 1] with classes [N], drawn with replacement; `mirrored` turns every other one."""

    x: Tensor
    y: Tensor
    classes: int  # 0 where labels are not told
    mirrored: bool

    def draw(self, count: int, *, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return images and labels [count, classes]."""
        rows = torch.randint(len(self.x), (count,), generator=rng)
        x = self.x[rows]
        if self.mirrored:
            turned = torch.rand(count, generator=rng) < 0.5
            x = torch.where(turned[:, None, None, None], x.flip(3), x)
        labels = functional.one_hot(self.y[rows], self.classes).to(x) if self.classes else x.new_zeros(count, 0)
        return x, labels
