"""From arrays or pictures to a pool: the layout, the range and the statistics that every data set shares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from leakgauge.core.errors import UsageError
from leakgauge.core.protocols import Pool
from leakgauge.core.types import Inputs

Mode = Literal["RGB", "L"]
"""Color or gray, as Pillow names them."""


def pool(x: Tensor, y: Tensor, class_names: Sequence[str]) -> Pool:
    """Return a pool of pixels [N, C, H, W] in [0, 1], with the mean and standard deviation of each channel over all of it.

    Statistics are rounded to 4 decimals. A channel that is constant gets standard deviation 1, to be divided by. A single class
    is joined by an empty one, "other", because cross-entropy over one class has no gradient.
    """
    names = tuple(class_names) if len(class_names) > 1 else (*class_names, "other")
    std, mean = torch.std_mean(x, dim=(0, 2, 3), correction=0)
    inputs = Inputs(tuple(x.shape[1:]), len(names))
    return Pool(x, y, replace(inputs, mean=_rounded(mean), std=tuple(value or 1.0 for value in _rounded(std))), names)


def picture(source: object, where: str, *, mode: Mode, size: int | None) -> np.ndarray:
    """Return one picture as uint8 [H, W] or [H, W, 3]; with `size`, its central square at that many pixels a side.

    Raises UsageError for what is no picture, and for pictures of more than 8 bits a channel.
    """
    if not isinstance(source, Image.Image):
        raise UsageError(f"{where}: is a {type(source).__name__}, expected an image; name the column or data set that holds images")
    if source.mode.startswith(("I", "F")):
        raise UsageError(
            f"{where}: has pixels of mode {source.mode!r}, expected 8 bits a channel; convert it, or store arrays (npz)"
        )
    upright = ImageOps.exif_transpose(source).convert(mode)
    return np.asarray(upright if size is None else ImageOps.fit(upright, (size, size), Image.Resampling.LANCZOS))


def stack(pictures: Iterable[tuple[str, np.ndarray]]) -> Tensor:
    """Return named pictures as pixels [N, C, H, W] in [0, 1]. Raises UsageError where their sizes differ or there is none."""
    found = list(pictures)
    if not found:
        raise UsageError("data: holds no image, expected at least one; choose another part of the data set")
    (first, like), *_ = found
    for where, value in found:
        if value.shape != like.shape:
            raise UsageError(
                f"{where}: is {_side(value)} pixels, expected {_side(like)} as in {first}; set size to bring all images to one size"
            )
    x = torch.from_numpy(np.stack([value for _, value in found])).float() / 255
    return (x.unsqueeze(1) if x.ndim == 3 else x.movedim(-1, 1)).contiguous()


def labels(where: str, values: Iterable[object]) -> Tensor:
    """Return class indices [N]. Raises UsageError where one of them is no integer from 0."""
    found = list(values)
    for index, value in enumerate(found):
        if not isinstance(value, Integral) or value < 0:
            raise UsageError(
                f"{where}: the label of example {index} is {value!r}, expected an integer >= 0; choose labeled examples"
            )
    return torch.tensor(found)


def numbered(where: str, classes: int) -> list[str]:
    """Return names of classes that have only numbers. Raises UsageError for more than any data set has: a label gone astray."""
    if classes > _MOST_CLASSES:
        raise UsageError(
            f"{where}: a label makes it {classes:,} classes, expected at most {_MOST_CLASSES:,}; number the classes from 0 on"
        )
    return [str(label) for label in range(classes)]


def existing_file(key: str, path: str) -> Path:
    """Return the path of a file that exists. Raises UsageError otherwise."""
    found = Path(path).expanduser()
    if not found.is_file():
        raise UsageError(f"{key}: got {path!r}, expected a file that exists; check the path")
    return found


def check_size(key: str, size: int | None) -> None:
    """Raise UsageError for a size that is no number of pixels."""
    if size is not None and size < 1:
        raise UsageError(f"{key}: got {size}, expected a number of pixels >= 1, or none to keep the size")


def _rounded(values: Tensor) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)


def _side(value: np.ndarray) -> str:
    return f"{value.shape[0]}x{value.shape[1]}"


_MOST_CLASSES = 100_000
