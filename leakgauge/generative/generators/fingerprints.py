"""Which images a generator has learned from: a number of each, from which no image can be made again."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def fingerprints(x: Tensor) -> Tensor:
    """Return a number of 64 bits for each image [n, c, h, w] in [0, 1], rounded to 8 bits a pixel: [n], int64.

    Two different images share one with a chance of 2^-64. Whoever has an image can find out whether it is among others; nobody can
    find out what they are without trying.
    """
    pixels = (x.detach().cpu() * 255).round().to(torch.uint8).numpy()
    digests = (hashlib.sha256(one.tobytes()).digest() for one in pixels)
    return torch.tensor([int.from_bytes(digest[:8], "big", signed=True) for digest in digests], dtype=torch.int64)


def learned_from(known: Tensor, x: Tensor) -> Tensor:
    """Return [n], whether an image or its mirror image is among those that were learned from, of fingerprints `known`."""
    return torch.isin(fingerprints(x), known) | torch.isin(fingerprints(x.flip(-1)), known)
