"""FedAvg: local training, then the difference of the weights (McMahan et al., AISTATS 2017, arXiv 1602.05629, Algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal, final

import torch

from leakgauge.clients.gradients import MeanGradient, factor
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core import tree
from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.belief import Noisy
from leakgauge.core.differentiation import is_replayed
from leakgauge.core.errors import OutOfScope
from leakgauge.core.protocols import GradientRule, Optimizer
from leakgauge.core.types import Batch, Client, Model, Params, Rng, Update


@final
@algorithm
class FedAvg:
    """Trains for some epochs of mini-batches and sends weights before minus weights after.

    `batch_size` None means the whole batch. Without an `rng` (an attacker's replay) the examples keep their order. `batchnorm`
    as in FedSGD; in "train" mode the running statistics are carried along and sent.
    """

    epochs: Count = 1
    batch_size: Count | None = None
    optimizer: Optimizer = SGD()
    batchnorm: Literal["eval", "train"] = "eval"
    gradient: GradientRule = MeanGradient()

    def __call__(self, model: Model, batch: Batch, /, *, rng: Rng | None = None) -> Update:
        """Return before minus after of what is trained; differentiable through every local step where the batch is."""
        attached = is_replayed(batch)
        current = model
        state: Mapping[str, Params] = {}
        sizes: list[int] = []
        for part in self._mini_batches(batch, rng):
            values, buffers = self.gradient(current, part, training=self.batchnorm == "train", rng=rng)
            params, state = self.optimizer.step({name: current.params[name] for name in values}, values, state)
            moved = params if attached else tree.detach(params)
            current = replace(current, params={**current.params, **moved}, buffers=buffers)
            sizes.append(len(part))
        # What no step has touched is the very tensor of the model: it was not trained, and is not sent.
        delta = {name: model.params[name] - value for name, value in current.params.items() if value is not model.params[name]}
        total = factor(self.gradient, model, sizes) if self.optimizer.is_plain else None
        scale = None if total is None else self.optimizer.learning_rate * total
        return Update(delta=delta, examples=len(batch), scale=scale, buffers=current.buffers)

    def deviation(self, examples: int, /) -> float:
        """Return the standard deviation of the noise in every number, to first order: that of all steps together.

        Raises OutOfScope for noise that an optimizer other than plain SGD has gone through.
        """
        if not isinstance(self.gradient, Noisy):
            return 0.0
        squares = sum(self.gradient.deviation(size) ** 2 for size in self.sizes(examples))
        if squares and not self.optimizer.is_plain:
            raise OutOfScope("noise in the gradients of an optimizer with a state has no simple density; choose a likelihood")
        return float(self.optimizer.learning_rate * squares**0.5)

    def sizes(self, examples: int, /) -> list[int]:
        """Return the sizes of all mini-batches, one after the other, of so many examples."""
        size = self.batch_size or examples
        return self.epochs * [min(size, examples - start) for start in range(0, examples, size)]

    def with_gradient(self, rule: GradientRule, /) -> Client:
        """Return this client with another gradient rule."""
        return replace(self, gradient=rule)

    def _mini_batches(self, batch: Batch, rng: Rng | None) -> Iterator[Batch]:
        for _ in range(self.epochs):
            order = torch.arange(len(batch)) if rng is None else torch.randperm(len(batch), generator=rng)
            for rows in torch.split(order.to(batch.x.device), self.batch_size or len(batch)):
                yield batch[rows]
