"""Real photographs that come with scikit-image (van der Walt et al., PeerJ 2014): the data set that is always there."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import torch
from PIL import Image

from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.errors import UsageError
from leakgauge.core.protocols import Pool
from leakgauge.data.pools import pool, stack

_GRIDS = ((0.75, 3), (0.5, 5))
"""Crops: their side as a share of the photograph's shorter side, and how many along each axis."""


class Window(NamedTuple):
    """A square part of a photograph, in its pixels."""

    left: int
    top: int
    side: int


class Photograph(NamedTuple):
    """A file of scikit-image, what it shows, and the square in which that is seen best."""

    subject: str
    file: str
    view: Window


PHOTOGRAPHS = (
    Photograph("astronaut", "astronaut.png", Window(128, 0, 192)),
    Photograph("cat", "chelsea.png", Window(90, 0, 300)),
    Photograph("coffee", "coffee.png", Window(70, 0, 400)),
    Photograph("motorcycle", "motorcycle_left.png", Window(190, 0, 500)),
    Photograph("rocket", "rocket.jpg", Window(180, 100, 320)),
    Photograph("retina", "retina.jpg", Window(0, 0, 1411)),
    Photograph("tissue", "ihc.png", Window(0, 0, 512)),
    Photograph("page", "page.png", Window(0, 0, 191)),
    Photograph("coins", "coins.png", Window(0, 0, 303)),
    Photograph("photographer", "camera.png", Window(60, 20, 300)),
)


@final
@algorithm
class Photographs:
    """Ten photographs, one class each: first the ten full views in class order, then 34 crops of each, class by class in turn.

    `size` is the side in pixels. Photographs without color have three equal channels; with `gray`, all have one channel.
    """

    size: Count = 32
    gray: bool = False

    def load(self) -> Pool:
        """Return 350 examples. Raises UsageError where the installed scikit-image lacks a photograph."""
        windows = [self._windows(photograph) for photograph in PHOTOGRAPHS]
        x = stack((photograph.file, window) for turn in zip(*windows, strict=True) for photograph, window in turn)
        return pool(x, torch.arange(len(x)) % len(PHOTOGRAPHS), [photograph.subject for photograph in PHOTOGRAPHS])

    def _windows(self, photograph: Photograph) -> Iterator[tuple[Photograph, np.ndarray]]:
        with Image.open(_file(photograph.file)) as source:
            image = source.convert("L" if self.gray else "RGB")
        for left, top, side in (photograph.view, *_grid(*image.size)):
            box = (left, top, left + side, top + side)
            yield photograph, np.asarray(image.resize((self.size, self.size), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0))


def _grid(width: int, height: int) -> Iterator[Window]:
    for share, count in _GRIDS:
        side = round(share * min(width, height))
        for row in range(count):
            for column in range(count):
                yield Window((width - side) * column // (count - 1), (height - side) * row // (count - 1), side)


def _file(name: str) -> Path:
    # The files are read where they lie: scikit-image's own functions would download what is missing.
    path = Path(str(files("skimage") / "data" / name))
    if not path.is_file():
        raise UsageError(
            f"photographs: the installed scikit-image has no {name}, expected it in its wheel; install scikit-image >= 0.24"
        )
    return path
