"""Dummy data: what a model answers to images that nobody had to collect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from leakgauge.core import tree
from leakgauge.core.anatomy import batch_norms, head
from leakgauge.core.rng import uniform
from leakgauge.core.types import Inputs, Model, Rng

Images = Literal["pink", "uniform", "normal"]
"""Pink: noise whose amplitude falls with frequency as in photographs. Uniform and normal: independent pixels."""

_FALL = 1.2  # amplitude ~ frequency^-1.2, near the spectra of natural images (Field, J. Opt. Soc. Am. A 1987)
_GRAY = 0.8  # how much of the contrast the channels share
_BRIGHTNESS, _CONTRAST = 0.12, (0.22, 0.06)  # spread over images, and mean and spread of the contrast within one


class Answers(NamedTuple):
    """What enters the last layer [n, width], and what leaves it [n, classes]."""

    embeddings: Tensor
    logits: Tensor


def draw(inputs: Inputs, count: int, kind: Images, *, rng: Rng) -> Tensor:
    """Return dummy images [count, *shape] in pixels; pink noise of inputs that are no images is normal."""
    shape = (count, *inputs.shape)
    if kind == "uniform":
        share = uniform(shape, rng)
    elif kind == "normal":
        share = 0.5 + torch.randn(shape, generator=rng) * 0.25
    else:
        noise = _pink(shape, rng) if len(inputs.shape) == 3 else torch.randn(shape, generator=rng)
        each = (count, *[1] * len(inputs.shape))
        contrast = (_CONTRAST[0] + _CONTRAST[1] * torch.randn(each, generator=rng)).clamp_min(0.05)
        share = (0.5 + _BRIGHTNESS * torch.randn(each, generator=rng) + contrast * noise).clamp(0, 1)
    return inputs.low + (inputs.high - inputs.low) * share


@torch.no_grad()
def answers(model: Model, x: Tensor, *, statistics_of: int | None = None) -> Answers:
    """Run images through a model; with `statistics_of`, in batches of so many, whose own statistics BatchNorm takes.

    Nothing else trains, and the running statistics stay as they are. Raises OutOfScope for a model without a linear head.
    """
    name = head(model).weight.rpartition(".")[0]
    found: list[Tensor] = []
    hook = model.net.get_submodule(name).register_forward_pre_hook(lambda _, given: found.append(given[0].detach()))
    try:
        with _own_statistics(model, statistics_of is not None):
            logits = torch.cat([_logits(model, part) for part in torch.split(x, statistics_of or _AT_ONCE)])
    finally:
        hook.remove()
    return Answers(torch.cat(found), logits)


@contextmanager
def _own_statistics(model: Model, is_own: bool) -> Iterator[None]:
    """Let BatchNorm take the statistics of each batch, within."""
    model.net.eval()
    layers = list(batch_norms(model).values()) if is_own else []
    for layer in layers:
        layer.train()
    try:
        yield
    finally:
        for layer in layers:
            layer.eval()


def _logits(model: Model, x: Tensor) -> Tensor:
    """The answers, with buffers that a layer in training mode may change."""
    return model.forward(model.params, tree.apply(Tensor.clone, model.buffers), x, training=False)


def _pink(shape: tuple[int, ...], rng: Rng) -> Tensor:
    """Noise of mean 0 and standard deviation 1 in every image."""
    count, channels, height, width = shape
    squared = torch.fft.fftfreq(height)[:, None].square() + torch.fft.rfftfreq(width)[None].square()
    squared[0, 0] = torch.inf  # no mean: brightness is drawn by itself

    def field(channels: int) -> Tensor:
        white = torch.randn(count, channels, height, width, generator=rng)
        colored: Tensor = torch.fft.irfft2(torch.fft.rfft2(white) * squared ** (-_FALL / 2), s=(height, width))
        return colored

    mixed = _GRAY * field(1) + (1 - _GRAY**2) ** 0.5 * field(channels)
    normal: Tensor = mixed / mixed.flatten(1).std(dim=1).clamp_min(1e-12).reshape(-1, 1, 1, 1)
    return normal


_AT_ONCE = 128
"""Images in one pass."""
