"""Images and labels as arrays in one file: NumPy's .npz, or safetensors."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import final
from zipfile import is_zipfile

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.archives import FAULTS, arrays, names
from leakgauge.core.errors import UsageError, one_line, suggestion
from leakgauge.core.protocols import Pool
from leakgauge.data.pools import existing_file, numbered, pool

_CHANNELS = (1, 3)


@final
@algorithm
class Npz:
    """Arrays `x` and `y` of an .npz file; pickled objects are never read.

    `x` is uint8, or floating in [0, 1]: [N, H, W, C], [N, C, H, W] or gray [N, H, W], with 1 or 3 channels (where both fit, the
    channels are last). `y` is [N], integers from 0. `classes` None means one more than the largest label.
    """

    path: str
    x: str = "x"
    y: str = "y"
    classes: Count | None = None

    def load(self) -> Pool:
        """Return all examples. Raises UsageError for a file or array that is missing, unreadable or not as described."""
        path = existing_file("npz.path", self.path)
        if not is_zipfile(path):
            raise UsageError(f"npz.path: {path} is no .npz file, expected arrays stored by name; write it with numpy.savez")
        try:
            known = names(path)
            x, y = map(_tensor, arrays(path, [_known("npz", name, known, path) for name in (self.x, self.y)]))
        except FAULTS as error:
            raise UsageError(
                f"npz.path: {path} cannot be read ({one_line(error)}), expected an .npz file of numbers; use numpy.savez"
            ) from error
        return _pool("npz", path, x, y, self.classes)


@final
@algorithm
class SafeTensors:
    """Tensors `x` and `y` of a .safetensors file, of the shapes and kinds that `Npz` takes."""

    path: str
    x: str = "x"
    y: str = "y"
    classes: Count | None = None

    def load(self) -> Pool:
        """Return all examples. Raises UsageError as `Npz` does."""
        path = existing_file("safetensors.path", self.path)
        try:
            with safe_open(path, framework="pt") as file:
                x, y = (file.get_tensor(_known("safetensors", name, file.keys(), path)) for name in (self.x, self.y))
        except (OSError, SafetensorError) as error:
            raise UsageError(
                f"safetensors.path: {path} cannot be read ({one_line(error)}), expected a safetensors file; write it anew"
            ) from error
        return _pool("safetensors", path, x, y, self.classes)


def _known(family: str, name: str, names: Iterable[str], path: Path) -> str:
    if name not in (known := list(names)):
        raise UsageError(f"{family}: {path} has no array {name!r}, {suggestion(name, known)}")
    return name


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))


def _pool(family: str, path: Path, x: Tensor, y: Tensor, classes: int | None) -> Pool:
    where = f"{family}: {path}"
    pixels = _pixels(where, x)
    labels = _labels(where, y, len(pixels))
    highest = int(labels.max())
    if classes is not None and highest >= classes:
        raise UsageError(
            f"{where}: y holds the label {highest}, expected labels below classes ({classes}); raise classes or mend y"
        )
    return pool(pixels, labels, numbered(where, classes or highest + 1))


def _pixels(where: str, x: Tensor) -> Tensor:
    if not x.numel():
        raise UsageError(
            f"{where}: x has shape {tuple(x.shape)} and holds nothing, expected at least one image; write the file anew"
        )
    if x.ndim == 3:
        x = x.unsqueeze(1)
    elif x.ndim == 4 and x.shape[3] in _CHANNELS:
        x = x.movedim(3, 1)
    elif x.ndim != 4 or x.shape[1] not in _CHANNELS:
        raise UsageError(
            f"{where}: x has shape {tuple(x.shape)}, expected [N, H, W, C] or [N, C, H, W] with 1 or 3 channels; reshape x"
        )
    if x.dtype is torch.uint8:
        return x.contiguous().float() / 255
    if not x.is_floating_point():
        raise UsageError(f"{where}: x has type {_kind(x)}, expected uint8, or floating numbers in [0, 1]; convert x")
    if not bool(x.isfinite().all()):
        raise UsageError(f"{where}: x holds nan or infinity, expected numbers in [0, 1]; mend x")
    low, high = float(x.min()), float(x.max())
    if low < 0 or high > 1:
        raise UsageError(f"{where}: x lies in [{low:.4g}, {high:.4g}], expected [0, 1]; scale x, or store uint8")
    return x.contiguous().float()


def _labels(where: str, y: Tensor, count: int) -> Tensor:
    if y.shape != (count,):
        raise UsageError(f"{where}: y has shape {tuple(y.shape)}, expected ({count},), a label for each image in x; mend y")
    if y.is_floating_point() or y.is_complex() or y.dtype is torch.bool:
        raise UsageError(f"{where}: y has type {_kind(y)}, expected integers; store class indices")
    found = y.long()
    if int(found.min()) < 0:
        raise UsageError(f"{where}: y holds the label {int(found.min())}, expected labels >= 0; number the classes from 0")
    return found


def _kind(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")
