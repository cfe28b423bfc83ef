"""Learned weights in files: safetensors, with what they are and how they came about in the metadata."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from leakgauge.core import tree
from leakgauge.core.errors import UsageError, one_line
from leakgauge.core.types import Params

T = TypeVar("T")


class Stored(NamedTuple):
    """What a file holds: text by name, and tensors by name."""

    told: Mapping[str, str]
    params: Params


class Unsuitable(ValueError):
    """What is wrong with a file that can be read."""


def save(params: Params, told: Mapping[str, str], path: Path) -> None:
    """Write tensors and text to a file: under another name and renamed, so that a reader never meets half of it."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        save_file(tree.apply(lambda value: value.detach().cpu().contiguous(), params), unfinished, metadata=dict(told))
        unfinished.replace(path)


def load(key: str, path: Path, make: Callable[[Stored], T]) -> T:
    """Read a file and make what it holds; that is kept until the file changes. `key` is where the path stood.

    Raises UsageError for a file that is missing, and Unsuitable for one that is no safetensors, whose weights are no finite
    numbers, or of which `make` says so.
    """
    try:
        found = path.stat()
        made: T = _made(path, (found.st_ino, found.st_mtime_ns), make)
    except OSError as error:
        raise UsageError(f"{key}: got {str(path)!r}, expected a file that exists; check the path") from error
    return made


@functools.lru_cache(maxsize=8)
def _made(path: Path, _: tuple[int, int], make: Callable[[Stored], Any]) -> Any:
    return make(_read(path))


def _read(path: Path) -> Stored:
    try:
        with safe_open(path, framework="pt") as file:
            told = dict(file.metadata() or {})
            params = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
    except SafetensorError as error:
        raise Unsuitable(one_line(error)) from error
    if not all(_is_sound(value) for value in params.values()):
        raise Unsuitable("its weights are no finite numbers")
    return Stored(told, params)


def check_shapes(params: Params, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise Unsuitable where tensors are missing, too many, or of other shapes than those expected."""
    if {name: tuple(value.shape) for name, value in params.items()} != expected:
        raise Unsuitable("its tensors are not those of its shape")


def _is_sound(value: Tensor) -> bool:
    return bool(value.isfinite().all()) if value.is_floating_point() else value.dtype == torch.int64
