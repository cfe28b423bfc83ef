"""The BatchNorm prior: images whose features have the statistics that the network knows (GradInversion, CVPR 2021, Eq. 10)."""

from __future__ import annotations

from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from leakgauge.algorithm import NonNegative, algorithm
from leakgauge.anatomy import batch_norms
from leakgauge.errors import OutOfScope
from leakgauge.types import Observation


class _Statistics(NamedTuple):
    mean: Tensor  # [channels]
    variance: Tensor  # [channels], unbiased, as BatchNorm keeps it


@final
@algorithm
class BatchNormStatistics:
    """`weight` times the sum over layers of the distances of mean and variance from their targets.

    The targets are the batch's own statistics where the client sent its buffers after one step in training mode (they follow
    from the running statistics before and after), and the running statistics of the global model otherwise. Raises OutOfScope
    for a model without BatchNorm.
    """

    weight: NonNegative = 0.1

    def __call__(self, x: Tensor, seen: Observation, /) -> Tensor:
        """Return the weighted distance of the features of pixels [n, *shape]."""
        targets = _targets(seen)
        found = _features(x, seen)
        distances = [
            (found[name].mean - target.mean).norm() + (found[name].variance - target.variance).norm()
            for name, target in targets.items()
        ]
        return self.weight * torch.stack(distances).sum()


def _targets(seen: Observation) -> dict[str, _Statistics]:
    layers = batch_norms(seen.model)
    if not layers:
        raise OutOfScope("the model has no BatchNorm layer whose statistics a prior could use")
    return {name: _Statistics(*(_target(seen, name, layer, kind) for kind in ("mean", "var"))) for name, layer in layers.items()}


def _target(seen: Observation, name: str, layer: nn.modules.batchnorm._BatchNorm, kind: str) -> Tensor:
    before = seen.model.buffers[f"{name}.running_{kind}"]
    after = seen.update.buffers.get(f"{name}.running_{kind}", before)
    if layer.momentum is None or torch.equal(before, after):
        return before
    return (after - (1 - layer.momentum) * before) / layer.momentum


def _features(x: Tensor, seen: Observation) -> dict[str, _Statistics]:
    """The statistics of what enters each BatchNorm layer in a forward pass."""
    found: dict[str, _Statistics] = {}

    def recorder(name: str) -> Any:
        def record(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            values = inputs[0].transpose(0, 1).flatten(1)
            found[name] = _Statistics(values.mean(dim=1), values.var(dim=1))

        return record

    hooks = [layer.register_forward_pre_hook(recorder(name)) for name, layer in batch_norms(seen.model).items()]
    try:
        seen.model.logits(x)
    finally:
        for hook in hooks:
            hook.remove()
    return found
