"""The BatchNorm prior: images whose features have the statistics that the network knows (GradInversion, CVPR 2021, Eq. 10)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from leakgauge.core import tree
from leakgauge.core.algorithm import NonNegative, algorithm
from leakgauge.core.anatomy import batch_norms
from leakgauge.core.errors import OutOfScope
from leakgauge.core.lock import is_closed, locks
from leakgauge.core.types import Batch, Capability, Observation


class _Statistics(NamedTuple):
    mean: Tensor  # [channels]
    variance: Tensor  # [channels], unbiased, as BatchNorm keeps it


@final
@algorithm
class BatchNormStatistics:
    """`weight` times the sum over layers of the distances of mean and variance from their targets.

    The targets are the batch's own statistics where the client trained in training mode and sent its buffers (they follow from
    the running statistics before and after; over several local steps, as a weighted mean), and features are then computed in
    that mode as well. Otherwise they are the running statistics of the global model. Behind a lock whose key the client keeps, no
    layer counts. Raises OutOfScope for a model without BatchNorm.
    """

    weight: NonNegative = 0.1

    @property
    def uses(self) -> frozenset[str]:
        """BUFFERS."""
        return frozenset({Capability.BUFFERS})

    def __call__(self, batch: Batch, seen: Observation, /) -> Tensor:
        """Return the weighted distance of the features of the images."""
        targets = _targets(seen)
        found = _features(batch.x, seen)
        distances = [
            (found[name].mean - targets[name].mean).norm() + (found[name].variance - targets[name].variance).norm()
            for name in _unlocked(found, seen)
        ]
        return self.weight * torch.stack(distances).sum()


def _unlocked(names: Iterable[str], seen: Observation) -> list[str]:
    """Of layers in the order in which they run, those with no closed lock in front: features behind one are not the client's."""
    every = list(names)
    if not is_closed(seen):
        return every
    first = next((place for place, name in enumerate(every) if name.rpartition(".")[0] in locks(seen.model)), len(every))
    return every[: first + 1]  # the lock's own statistics are of what enters it


def _targets(seen: Observation) -> dict[str, _Statistics]:
    layers = batch_norms(seen.model)
    if not layers:
        raise OutOfScope("the model has no BatchNorm layer whose statistics a prior could use")
    return {name: _Statistics(*(_target(seen, name, layer, kind) for kind in ("mean", "var"))) for name, layer in layers.items()}


def _target(seen: Observation, name: str, layer: nn.modules.batchnorm._BatchNorm, kind: str) -> Tensor:
    before = seen.model.buffers[f"{name}.running_{kind}"]
    steps = _steps(seen, name)
    if not layer.momentum or steps == 0:
        return before
    kept = (1 - layer.momentum) ** steps
    return (seen.update.buffers[f"{name}.running_{kind}"] - kept * before) / (1 - kept)


def _steps(seen: Observation, name: str) -> int:
    """How many batches a layer saw in training mode, by its own count."""
    counter = f"{name}.num_batches_tracked"
    return int(seen.update.buffers.get(counter, seen.model.buffers[counter]) - seen.model.buffers[counter])


def _features(x: Tensor, seen: Observation) -> dict[str, _Statistics]:
    """The statistics of what enters each BatchNorm layer in a forward pass."""
    found: dict[str, _Statistics] = {}

    def recorder(name: str) -> Any:
        def record(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            values = inputs[0].transpose(0, 1).flatten(1)
            found[name] = _Statistics(values.mean(dim=1), values.var(dim=1))

        return record

    hooks = [layer.register_forward_pre_hook(recorder(name)) for name, layer in batch_norms(seen.model).items()]
    training = any(_steps(seen, name) for name in batch_norms(seen.model))
    buffers = tree.detach(seen.model.buffers)  # written to in training mode
    try:
        seen.model.forward(seen.model.params, buffers, x, training=training)
    finally:
        for hook in hooks:
            hook.remove()
    return found
