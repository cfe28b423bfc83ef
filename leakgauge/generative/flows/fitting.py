"""Fit a flow to the patches of images by maximum likelihood."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from leakgauge.core import tree
from leakgauge.core.algorithm import Count, NonNegative, Positive, algorithm
from leakgauge.core.errors import UsageError
from leakgauge.core.rng import fork
from leakgauge.core.types import Rng, Tick, no_tick
from leakgauge.generative.flows.coupling import PatchFlow, Shape, whitened
from leakgauge.generative.flows.patches import LEVELS, draw

_FIRST = 100_000
"""Patches that the whitening is fitted to."""
_MEASURED = 50_000
"""Patches that bits per dimension are measured on: an error of about 0.005."""


@final
@algorithm
class Fitting:
    """What flow is fitted, to patches of `side` pixels, and how: Adam at a rate that falls to 0 along a cosine.

    The patches have normal noise of `smoothing` on them, in pixel units: the density is that of images with such noise. Without
    it, a flow that was fitted for longer found images likelier and was the worse prior for removing noise.
    """

    side: Count = 6
    couplings: Count = 6
    hidden: Count = 128
    steps: Count = 6_000
    smoothing: NonNegative = 0.02
    batch_size: Count = 512
    learning_rate: Positive = 3e-3
    warmup: Count = 100
    max_norm: Positive = 1.0  # of a gradient, in nats per dimension; a longer one is cut, as rare patches are very unlikely


def fit(x: Tensor, fitting: Fitting, *, rng: Rng, tick: Tick = no_tick) -> PatchFlow:
    """Return the flow under which patches of images [n, c, h, w], pixels from 0 to 1, are likeliest.

    Raises UsageError for images that are smaller than a patch, and for a fit that diverges.
    """
    if min(x.shape[2:]) < fitting.side:
        raise UsageError(
            f"side: got {fitting.side}, expected at most {min(x.shape[2:])}, for images are {x.shape[2]}x{x.shape[3]}; lower it"
        )
    chance = fork(rng)
    shape = Shape(x.shape[1], fitting.side, fitting.couplings, fitting.hidden)
    flow = whitened(shape, _draw(x, fitting, _FIRST, chance), rng=fork(rng))
    learned = {name: value.requires_grad_() for name, value in flow.params.items() if value.is_floating_point()}
    optimizer = torch.optim.Adam(learned.values(), lr=fitting.learning_rate)
    for step in range(fitting.steps):
        loss = -flow.log_density(_draw(x, fitting, fitting.batch_size, chance)).mean() / shape.size
        if not bool(loss.isfinite()):
            raise UsageError(
                f"learning_rate: got {fitting.learning_rate}, which diverged at step {step + 1} of {fitting.steps}, "
                "expected a finite density; lower it"
            )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned.values(), fitting.max_norm)
        optimizer.param_groups[0]["lr"] = _rate(fitting, step)
        optimizer.step()
        tick((step + 1) / fitting.steps)
    return replace(flow, params=tree.detach(flow.params))


def bits_per_dimension(flow: PatchFlow, x: Tensor, *, smoothing: float, rng: Rng) -> float:
    """How many bits a channel of a pixel takes, of the 8 that it has: a mean over patches at random, and over their noise."""
    patches = draw(x, flow.shape.side, _MEASURED, smoothing=smoothing, rng=rng)
    with torch.no_grad():
        nats = -torch.cat([flow.log_density(part) for part in torch.split(patches, 5_000)]).mean()
    return float(nats / flow.shape.size + math.log(LEVELS)) / math.log(2)


def _draw(x: Tensor, fitting: Fitting, count: int, rng: Rng) -> Tensor:
    return draw(x, fitting.side, count, smoothing=fitting.smoothing, rng=rng)


def _rate(fitting: Fitting, step: int) -> float:
    rising = min(1.0, (step + 1) / fitting.warmup)
    return fitting.learning_rate * rising * 0.5 * (1 + math.cos(math.pi * step / fitting.steps))
