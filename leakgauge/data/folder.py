"""A folder of images: one class per subfolder, or one class in all."""

from __future__ import annotations

from pathlib import Path
from typing import final

import numpy as np
import torch
from PIL import Image

from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.errors import UsageError, one_line
from leakgauge.core.protocols import Pool
from leakgauge.data.pools import Mode, check_size, picture, pool, stack

_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@final
@algorithm
class Folder:
    """Images in the order of their names, classes in the order of the subfolders' names.

    A folder without subfolders of images is one class. `size` cuts the central square and brings it to that many pixels a side;
    `mode` is "RGB" or "L" (gray).
    """

    path: str
    size: Count | None = None
    mode: Mode = "RGB"

    def __post_init__(self) -> None:
        check_size("Folder.size", self.size)

    def load(self) -> Pool:
        """Return all images. Raises UsageError for a missing or empty folder, and for images unreadable or of several sizes."""
        classes = _classes(Path(self.path).expanduser(), self.path)
        x = stack((str(path), self._read(path)) for paths in classes.values() for path in paths)
        counts = torch.tensor([len(paths) for paths in classes.values()])
        return pool(x, torch.arange(len(counts)).repeat_interleave(counts), list(classes))

    def _read(self, path: Path) -> np.ndarray:
        try:
            with Image.open(path) as source:
                source.load()
                return picture(source, str(path), mode=self.mode, size=self.size)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UsageError(
                f"{path}: cannot be read as an image ({one_line(error)}), expected PNG, JPEG or the like; remove it"
            ) from error


def _classes(root: Path, given: str) -> dict[str, list[Path]]:
    if not root.is_dir():
        raise UsageError(f"folder.path: got {given!r}, expected a folder that exists; check the path")
    loose = _images(root)
    classes = {child.name: found for child in sorted(root.iterdir()) if child.is_dir() and (found := _images(child))}
    if loose and classes:
        raise UsageError(
            f"folder.path: {given!r} holds images beside subfolders of images, expected one or the other; "
            f"move {loose[0].name} and its like into a subfolder"
        )
    if not loose and not classes:
        raise UsageError(
            f"folder.path: found no image in {given!r} or its subfolders, expected {', '.join(sorted(_SUFFIXES))}; "
            "name the folder whose subfolders are the classes"
        )
    return classes or {root.resolve().name: loose}


def _images(folder: Path) -> list[Path]:
    found = (child for child in folder.iterdir() if child.suffix.lower() in _SUFFIXES and not child.name.startswith("."))
    return sorted(path for path in found if path.is_file())
