"""What a generator is: images of codes, block by block, so that a search may enter behind any of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor

from leakgauge.core.rng import stream


class Features(NamedTuple):
    """What goes from block to block: maps that a search may change, and what later blocks are told beside them (a style)."""

    maps: Tensor  # [n, ...]
    style: Tensor | None = None


class Generator(Protocol):
    """A network from standard normal codes [n, latent] to images, with its weights; `made` tells how it came about.

    Where `classes` is not 0, an image is of a class: labels are shares [n, classes], so that an uncertain label is a mixture.
    """

    @property
    def latent(self) -> int:
        """How many numbers a code has."""
        ...

    @property
    def classes(self) -> int:
        """How many classes it knows; 0 where it knows none."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of its images."""
        ...

    @property
    def blocks(self) -> int:
        """How many blocks there are; behind the last, maps are pixels from 0 to 1."""
        ...

    @property
    def made(self) -> Mapping[str, str]:
        """Which data, how many steps, which seed, what quality."""
        ...

    @property
    def learned(self) -> Tensor:
        """The fingerprints of the images that it learned from, [images]; none where that is not known."""
        ...

    def to(self, like: Tensor) -> Self:
        """Return the generator with its weights where a tensor is, and of its type."""
        ...

    def enter(self, z: Tensor, labels: Tensor | None) -> Features:
        """Return what enters the first block, of codes and, where there are classes, labels."""
        ...

    def block(self, index: int, features: Features) -> Features:
        """Return what leaves a block."""
        ...


def images(generator: Generator, z: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return images [n, c, h, w], pixels from 0 to 1, of codes [n, latent]."""
    return through(generator, generator.enter(z, labels), 0).maps


def through(generator: Generator, features: Features, first: int, last: int | None = None) -> Features:
    """Return what leaves the block before `last`, or the last of all, for what enters the block `first`."""
    for index in range(first, generator.blocks if last is None else last):
        features = generator.block(index, features)
    return features


@torch.no_grad()
def samples(generator: Generator, count: int, *, seed: int) -> Tensor:
    """Return images of codes by chance, classes in turn: [count, c, h, w]."""
    z = torch.randn(count, generator.latent, generator=stream(seed, "samples"))
    labels = torch.eye(generator.classes)[torch.arange(count) % generator.classes] if generator.classes else None
    return images(generator, z, labels)
