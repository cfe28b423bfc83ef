"""Sheets of images, side by side, as files."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor


def sheet(x: Tensor) -> Image.Image:
    """Return images [n, c, h, w] in [0, 1], of 1 or 3 channels, in rows of about as many as there are rows."""
    count, channels, height, width = x.shape
    across = math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    page = torch.ones(across * down, channels, height, width)
    page[:count] = x.clamp(0, 1)
    page = (
        page.reshape(down, across, channels, height, width).permute(0, 3, 1, 4, 2).reshape(down * height, across * width, channels)
    )
    pixels = (page * 255).round().byte().numpy()
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)


def save(x: Tensor, path: Path) -> None:
    """Write a sheet of images to a file whose name tells its format."""
    sheet(x).save(path)
