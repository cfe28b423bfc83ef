"""Pictures of a batch: one PNG strip per trial, shown piece by piece through CSS, so that equal strips are stored once."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.floating[Any]]

LARGEST = 128  # pixels: what a cell of the report can show


@final
@dataclass(frozen=True)
class Strip:
    """The pictures of one trial side by side. `has` says which of them exist."""

    name: str  # CSS class: a hash of the content
    data: str  # data URI
    width: int
    height: int
    has: tuple[bool, ...]

    @property
    def rule(self) -> str:
        """The CSS declarations that show the first picture."""
        wide = 100 * len(self.has) * (self.width + 2) / self.width
        return f"background-image:url({self.data});background-size:{wide:.4f}% 100%;aspect-ratio:{self.width}/{self.height}"

    def position(self, index: int) -> str:
        """The CSS background position that brings one picture into view."""
        total = len(self.has) * (self.width + 2)
        return f"{100 * (index * (self.width + 2) + 1) / (total - self.width):.4f}% 0"


def is_picture(shape: Sequence[int]) -> bool:
    """Whether inputs of this shape [c, h, w] can be shown."""
    return len(shape) == 3


def strip(pixels: Array, rows: Sequence[int]) -> Strip | None:
    """Draw some rows of a batch [n, c, h, w] in [0, 1]; None where none of them has numbers.

    One or three channels are shown as gray or color, others as their mean. Every picture is framed by a copy of its own
    edge, because browsers round to device pixels and would show a hair of its neighbor.
    """
    chosen = pixels[list(rows)]
    has = tuple(bool(np.isfinite(picture).all()) for picture in chosen)
    if not any(has):
        return None
    shown = np.nan_to_num(chosen if chosen.shape[1] in (1, 3) else chosen.mean(axis=1, keepdims=True))
    tiles = [np.pad(_bytes(picture), ((0, 0), (1, 1), (0, 0)), mode="edge") for picture in shown]
    height, width = tiles[0].shape[0], tiles[0].shape[1] - 2
    buffer = io.BytesIO()
    row = np.concatenate(tiles, axis=1)
    Image.fromarray(row[:, :, 0] if row.shape[2] == 1 else row).save(buffer, format="png", optimize=True)
    content = buffer.getvalue()
    return Strip(
        name=f"strip-{hashlib.sha256(content).hexdigest()[:16]}",
        data=f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}",
        width=width,
        height=height,
        has=has,
    )


def _bytes(picture: Array) -> NDArray[np.uint8]:
    """[c, h, w] in [0, 1] to [h, w, c] bytes, no side longer than LARGEST."""
    values = np.rint(255 * np.clip(picture.transpose(1, 2, 0), 0, 1)).astype(np.uint8)
    height, width, channels = values.shape
    longest = max(height, width)
    if longest <= LARGEST:
        return values
    size = (max(1, round(width * LARGEST / longest)), max(1, round(height * LARGEST / longest)))
    image = Image.fromarray(values[:, :, 0] if channels == 1 else values).resize(size, Image.Resampling.BOX)
    return np.asarray(image).reshape(size[1], size[0], channels)
