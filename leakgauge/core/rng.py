"""Named streams of chance: the same seed and name give the same draws, whatever else was drawn before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from leakgauge.core.types import Rng


def stream(seed: int, *path: str | int) -> Rng:
    """Return the CPU generator that belongs to a seed and a name, such as `stream(0, "attack", 3)`.

    Draws are made on the CPU and moved, so that a device changes no result beyond rounding.
    """
    digest = hashlib.sha256(repr((seed, *path)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def fork(rng: Rng) -> Rng:
    """Return a new generator seeded from `rng`, so that a part can draw without shifting its siblings."""
    seed = torch.randint(0, 2**62, (), generator=rng)
    return torch.Generator().manual_seed(int(seed))


def normal_like(like: Tensor, rng: Rng) -> Tensor:
    """Standard normal draws of the shape, dtype and device of `like`."""
    return torch.randn(like.shape, generator=rng, dtype=like.dtype).to(like.device)


def laplace_like(like: Tensor, rng: Rng) -> Tensor:
    """Standard Laplace draws likewise: differences of exponentials, finite where the inverse of the distribution is not."""
    draws = like.new_empty((2, *like.shape), device="cpu").exponential_(generator=rng)
    return (draws[0] - draws[1]).to(like.device)


def uniform(shape: Sequence[int], rng: Rng) -> Tensor:
    """Draws from U(0, 1) on the CPU."""
    return torch.rand(tuple(shape), generator=rng)
