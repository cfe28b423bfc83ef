"""Unrolled local training at an unknown learning rate (after Dimitrov et al., TMLR 2022, arXiv 2206.12395)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, final

import torch
from torch import Tensor

from leakgauge.core import tree
from leakgauge.core.algorithm import Count, Positive, algorithm
from leakgauge.core.autodiff import loss_gradient
from leakgauge.core.protocols import Optimizer, Point, Replay
from leakgauge.core.types import Batch, Capability, Observation, Params

_NAME = "log_rate"
_ROUNDS = 20
_START: Mapping[str, Params] = {}


@final
@algorithm
class Unrolled:
    """Trains on the candidate for some local steps and takes the difference of the weights; the learning rate is searched along.

    Who does not know the procedure assumes one: `steps` of plain SGD, or of `optimizer` (its learning rate counts as 1), on
    mini-batches of `batch_size` in the candidate's order, or on the whole batch; `epochs`, where given, counts the steps instead.
    Copies of the batch (`EpochCopies`) are walked through in turn, and no mini-batch mixes two. A few steps at a larger rate stand
    in for more at a smaller one. The search starts at the rate that gives gray images an update as long as the one that was seen,
    times one of `starts` a restart, and moves the rate's logarithm `pace` times as fast as the examples.
    """

    steps: Count = 10
    epochs: Count | None = None
    batch_size: Count | None = None
    optimizer: Optimizer | None = None
    starts: tuple[Positive, ...] = (1.0, 3.0, 0.3)
    pace: Positive = 0.1
    batchnorm: Literal["eval", "train"] = "eval"

    @property
    def needs(self) -> frozenset[Capability]:
        """Nothing."""
        return frozenset()

    def __call__(self, seen: Observation, batch: Batch, /) -> Params:
        """Return the update at the rate that makes it as long as the one that was seen: for the truth, the true rate."""
        with torch.no_grad():
            rate = self._matched(seen, batch)
        return self.train(seen, batch, rate)

    def unknowns(self, seen: Observation, /, *, restart: int) -> Point:
        """Return the unknown, a scalar: the logarithm of the rate in units of `pace`."""
        inputs, like = seen.model.inputs, next(iter(seen.update.delta.values()))
        gray = like.new_full((seen.count, *inputs.shape), (inputs.low + inputs.high) / 2)
        classes = torch.arange(seen.count, device=like.device) % inputs.classes
        start = self._matched(seen, Batch(gray, classes)) * self.starts[restart % len(self.starts)]
        return {_NAME: start.log() / self.pace}

    def at(self, point: Point, /) -> Replay:
        """Return the training at the rate of a point."""
        return _AtRate(self, (self.pace * point[_NAME]).exp())

    def remarks(self, start: Point, end: Point, /) -> tuple[str, ...]:
        """Tell the rate that was found; a likelihood without scale leaves it loose, for the path alone depends on it."""
        found = float((self.pace * end[_NAME]).exp())
        length = f"{self.steps} steps" if self.epochs is None else f"{self.epochs} epochs"
        return (f"Local training was replayed with {length}, at a learning rate of {found:.3g} in the end.",)

    def train(self, seen: Observation, batch: Batch, rate: Tensor) -> Params:
        """Return weights before minus after local training at a rate, a scalar; differentiable in both."""
        model, state = seen.model, _START
        copies = torch.split(torch.arange(len(batch), device=batch.x.device), seen.update.examples or len(batch))
        parts = [part for rows in copies for part in torch.split(rows, self.batch_size or len(rows))]
        for step in range(self.steps if self.epochs is None else self.epochs * len(parts) // len(copies)):
            slopes = loss_gradient(model, batch[parts[step % len(parts)]], training=self.batchnorm == "train").params
            if self.optimizer is not None:
                slopes, state = _direction(self.optimizer, {name: model.params[name] for name in slopes}, slopes, state)
            moved = tree.apply(lambda slope, value: value - rate * slope, slopes, model.params)
            model = replace(model, params={**model.params, **moved})
        return {name: seen.model.params[name] - model.params[name] for name in slopes}

    def _matched(self, seen: Observation, batch: Batch) -> Tensor:
        """The rate at which the update is as long as the one that was seen, by repeated proportion."""
        aim = tree.squared_norm(seen.update.delta).sqrt()
        rate = aim.new_full((), 1e-6)
        for _ in range(_ROUNDS):
            found = self.train(seen, batch, rate)
            length = tree.squared_norm({name: found[name] for name in seen.update.delta}).sqrt()
            rate = rate * (aim / length.clamp_min(torch.finfo(length.dtype).tiny)).clamp(1e-3, 1e3)
        return rate


@final
@dataclass(frozen=True)
class _AtRate:
    training: Unrolled
    rate: Tensor

    @property
    def needs(self) -> frozenset[Capability]:
        return self.training.needs

    def __call__(self, seen: Observation, batch: Batch, /) -> Params:
        return self.training.train(seen, batch, self.rate)


def _direction(
    optimizer: Optimizer, params: Params, slopes: Params, state: Mapping[str, Params]
) -> tuple[Params, Mapping[str, Params]]:
    """What an optimizer subtracts from the weights at a learning rate of 1: every step is proportional to its rate."""
    moved, after = optimizer.step(params, slopes, state)
    return tree.apply(lambda old, new: (old - new) / optimizer.learning_rate, params, moved), after
