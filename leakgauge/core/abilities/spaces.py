"""What a space may be able to do beside its verb: those of a model of images."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from leakgauge.core.protocols import Space
from leakgauge.core.types import Observation, Rng


@runtime_checkable
class Conditional(Protocol):
    """A space whose images depend on their labels."""

    def given(self, labels: Tensor, /) -> Space:
        """Return the space of images of these labels, [n] or [n, classes]."""
        ...


def conditioned(space: Space, labels: Tensor) -> Space:
    """Return the space of images of these labels; the space itself where its images depend on none."""
    return space.given(labels) if isinstance(space, Conditional) else space


@runtime_checkable
class Generative(Protocol):
    """A space of a model of images: it cannot make every image, and some of its points are likelier than others."""

    def draw(self, seen: Observation, count: int, /, *, rng: Rng) -> Tensor:
        """Return a point by chance, as likely as the model has it."""
        ...

    def energy(self, point: Tensor, /) -> Tensor:
        """Return -log p of each example's part of a point, [n], up to a constant."""
        ...


@runtime_checkable
class Deepening(Protocol):
    """A space of a model of images, in which a search can go on nearer to the pixels."""

    def deeper(self, point: Tensor, seen: Observation, /, *, radius: float) -> tuple[Space, Tensor] | None:
        """Return the next space, whose points stay within `radius`, and the same images in it; None where there is none left."""
        ...
