"""Bring a victim to a stage of training: plain mini-batch SGD, and a cache of what it gave."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from leakgauge.core import tree
from leakgauge.core.algorithm import Count, NonNegative, NonNegativeInt, OpenShare, Positive, algorithm
from leakgauge.core.autodiff import loss_gradient
from leakgauge.core.caching import cache_folder
from leakgauge.core.errors import UsageError
from leakgauge.core.types import Batch, Model, Params, Rng, Tick, no_tick
from leakgauge.core.workload import operations, threads_for

_log = logging.getLogger(__name__)
_CACHE_FAILURES = (OSError, RuntimeError, ValueError, SafetensorError)
"""RuntimeError: no home directory, or tensors that share memory."""


@final
@algorithm
class Training:
    """How far, and how, a victim is trained before it is attacked; 0 steps leave it as it was built."""

    steps: NonNegativeInt = 0
    batch_size: Count = 64
    learning_rate: Positive = 0.05
    momentum: OpenShare = 0.9
    weight_decay: NonNegative = 0.0


def train(model: Model, data: Batch, training: Training, *, rng: Rng, tick: Tick = no_tick) -> Model:
    """Return the model after SGD on shuffled mini-batches, BatchNorm in training mode; the same `rng` gives the same bits.

    Raises UsageError where there is no example, and where training diverges.
    """
    if not len(data):
        raise UsageError("training: got no example, expected at least one; leave some for training")
    size = min(training.batch_size, len(data))
    with threads_for(operations(model, torch.zeros_like(data.x[:size]))):
        return _trained(model, data, training, rng, tick)


def _trained(model: Model, data: Batch, training: Training, rng: Rng, tick: Tick) -> Model:
    params: Params = tree.detach(model.params)
    buffers: Params = tree.detach(model.buffers)
    velocity = tree.apply(torch.zeros_like, params)
    for step, batch in zip(range(training.steps), _mini_batches(data, training.batch_size, rng), strict=False):
        gradient, buffers = loss_gradient(replace(model, params=params, buffers=buffers), batch, training=True)
        gradient = tree.apply(lambda g, p: g + training.weight_decay * p, gradient, params)
        velocity = tree.apply(lambda g, v: training.momentum * v + g, gradient, velocity)
        params = {**params, **tree.apply(lambda v, p: p - training.learning_rate * v, velocity, params)}
        if not bool(tree.squared_norm(params).isfinite()):
            raise UsageError(
                f"training.learning_rate: got {training.learning_rate}, which diverged at step {step + 1} of {training.steps}, "
                "expected finite weights; lower it"
            )
        tick((step + 1) / training.steps)
    return replace(model, params=params, buffers=buffers)


def cached(key: str, fresh: Model, build: Callable[[], Model]) -> Model:
    """Return what `build` gave when it was last called for `key` (a hash of all that it depends on), or call it.

    `fresh` is a model of the same architecture, into which stored weights are put. The folder is
    `cache_folder()`. A checkpoint that cannot be read is built anew and one that cannot be written is
    not stored; both are logged as warnings.
    """
    stored = _read(key, fresh)
    if stored is not None:
        return stored
    model = build()
    _write(key, model)
    return model


def _mini_batches(data: Batch, size: int, rng: Rng) -> Iterator[Batch]:
    # Without end. A last part that is smaller is left out: BatchNorm has no variance of one example.
    size = min(size, len(data))
    while True:
        order = torch.randperm(len(data), generator=rng).to(data.x.device)
        for rows in torch.split(order[: len(data) // size * size], size):
            yield data[rows]


def _read(key: str, fresh: Model) -> Model | None:
    try:
        path = cache_folder() / f"{key}.safetensors"
        return _restore(load_file(path), fresh) if path.is_file() else None
    except _CACHE_FAILURES as error:
        _log.warning("the checkpoint %s cannot be read and is built anew: %s", key, error)
        return None


def _write(key: str, model: Model) -> None:
    # Written under another name and renamed, so that a reader never meets half a file.
    try:
        path = cache_folder() / f"{key}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            unfinished = Path(folder) / path.name
            save_file(_flat(model), unfinished)
            unfinished.replace(path)
    except _CACHE_FAILURES as error:
        _log.warning("the checkpoint %s cannot be stored: %s", key, error)


def _flat(model: Model) -> dict[str, Tensor]:
    named = [("params", model.params), ("buffers", model.buffers)]
    return {f"{kind}/{name}": value.detach().cpu().contiguous() for kind, values in named for name, value in values.items()}


def _restore(stored: Mapping[str, Tensor], fresh: Model) -> Model:
    expected = _flat(fresh)
    if stored.keys() != expected.keys():
        raise ValueError("its tensors are those of another model")
    for name, value in expected.items():
        if (stored[name].shape, stored[name].dtype) != (value.shape, value.dtype):
            raise ValueError(f"{name} has another shape or type")
    params = {name: stored[f"params/{name}"].to(value.device) for name, value in fresh.params.items()}
    buffers = {name: stored[f"buffers/{name}"].to(value.device) for name, value in fresh.buffers.items()}
    return replace(fresh, params=params, buffers=buffers)
