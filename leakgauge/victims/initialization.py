"""Turn a network on the `meta` device into a model, every weight drawn from one generator (PyTorch's default initialization)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from leakgauge.core.errors import UsageError
from leakgauge.core.rng import uniform
from leakgauge.core.types import Inputs, Model, Rng

EMBEDDING_STD = 0.02
"""Spread of parameters that belong to no layer (tokens, positions), as in Dosovitskiy et al., ICLR 2021."""


def initialize(net: nn.Module, inputs: Inputs, *, normalize: bool, rng: Rng, bound: float | None = None) -> Model:
    """Return a model of `net` with fresh weights; `net` stays on `meta` and only gives the architecture.

    Linear and convolutional layers get U(-b, b) for weights and biases, b = 1 / sqrt(fan in), which is PyTorch's default
    (He et al., ICCV 2015, with a = sqrt(5)); normalization layers get ones and zeros. `bound` sets every parameter to
    U(-bound, bound) instead. Without `normalize`, the first layer sees the pixels themselves.
    """
    params = {
        f"{path}.{name}" if path else name: value
        for path, module in net.named_modules()
        for name, value in _weights(module, bound, rng)
    }
    buffers = {name: _start(name, value) for name, value in net.named_buffers()}
    seen = inputs if normalize else replace(inputs, mean=(0.0,), std=(1.0,))
    return Model(net=net, params=params, buffers=buffers, loss=cross_entropy, inputs=seen)


def image_shape(victim: str, inputs: Inputs) -> tuple[int, int, int]:
    """Channels, height and width of the inputs. Raises UsageError where they are no images."""
    if len(inputs.shape) != 3:
        raise UsageError(f"victim: {victim} got inputs of shape {inputs.shape}, expected (channels, height, width); choose mlp")
    channels, height, width = inputs.shape
    return channels, height, width


def _weights(module: nn.Module, bound: float | None, rng: Rng) -> Iterator[tuple[str, Tensor]]:
    own = dict(module.named_parameters(recurse=False))
    if bound is not None:
        return ((name, _symmetric(value, bound, rng)) for name, value in own.items())
    if isinstance(module, nn.Linear | nn.Conv2d):
        default = 1 / math.sqrt(own["weight"][0].numel())
        return ((name, _symmetric(value, default, rng)) for name, value in own.items())
    if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
        return ((name, (torch.ones if name == "weight" else torch.zeros)(value.shape)) for name, value in own.items())
    return ((name, torch.randn(value.shape, generator=rng) * EMBEDDING_STD) for name, value in own.items())


def _symmetric(like: Tensor, bound: float, rng: Rng) -> Tensor:
    return (uniform(like.shape, rng) * 2 - 1) * bound


def _start(name: str, value: Tensor) -> Tensor:
    fill = 1 if name.endswith("running_var") else 0
    return torch.full(value.shape, fill, dtype=value.dtype)
