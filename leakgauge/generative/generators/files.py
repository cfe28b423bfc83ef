"""Generators in files: their design, sizes and history in the metadata. The weights are kept in half precision."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from leakgauge.core import tree
from leakgauge.core.errors import UsageError, suggestion
from leakgauge.generative import files
from leakgauge.generative.files import Stored, Unsuitable
from leakgauge.generative.generators import deconvolution, diffusion, style
from leakgauge.generative.generators.generator import Generator

_FOLDER = Path(__file__).parent / "weights"
SHIPPED = {path.stem: path for path in sorted(_FOLDER.glob("*.safetensors"))}
"""The generators that come with leakgauge, by name."""


def save(generator: deconvolution.Deconvolution | style.Style, path: Path) -> None:
    """Write a generator to a file."""
    design = next(name for name, (kind, _) in _DESIGNS.items() if isinstance(generator, kind))
    told = {**generator.made, "design": design, "sizes": json.dumps(generator.sizes._asdict())}
    params = tree.apply(lambda value: value.half(), generator.params)
    files.save({**params, _LEARNED: generator.learned}, told, path)


def load(key: str, path: Path) -> Generator:
    """Read a generator from a file. `key` is where the path stood.

    Raises UsageError for a file that is missing, cannot be read, or holds no generator.
    """
    if path.is_dir():
        return _read_folder(key, path)
    try:
        return files.load(key, path, _generator)
    except Unsuitable as fault:
        raise UsageError(
            f"{key}: {path} holds no generator ({fault}), expected what leakgauge prior writes; "
            "train one (prior train), or convert one (prior convert)"
        ) from fault


def find(key: str, name: str) -> Path:
    """Return the path of a generator: one that comes along, by name, or a file. Raises UsageError for what is neither."""
    if name in SHIPPED:
        return SHIPPED[name]
    path = Path(name).expanduser()
    if path.suffix != ".safetensors" and not (path / diffusion.INDEX).is_file():
        raise UsageError(
            f"{key}: got {name!r}, expected a .safetensors file, a folder of diffusers, or a generator that comes along, "
            f"{suggestion(name, SHIPPED)}"
        )
    return path


@functools.lru_cache(maxsize=1)
def _read_folder(key: str, path: Path) -> Generator:
    return diffusion.load(key, path)


def _generator(stored: Stored) -> Generator:
    told = dict(stored.told)
    design = told.pop("design", "")
    if design not in _DESIGNS:
        raise Unsuitable("its metadata tell no design that is known")
    kind, sizes_of = _DESIGNS[design]
    try:
        sizes = _sizes(sizes_of, json.loads(told.pop("sizes", "")))
        expected = sizes.tensors()
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise Unsuitable("its metadata tell no sizes") from error
    params = dict(stored.params)
    learned = params.pop(_LEARNED, torch.empty(0, dtype=torch.int64))
    files.check_shapes(params, expected)
    if learned.ndim != 1 or learned.is_floating_point() or not all(value.is_floating_point() for value in params.values()):
        raise Unsuitable("its tensors are not those of its shape")
    found: Generator = kind(sizes, tree.apply(torch.Tensor.float, params), told, learned)
    return found


def _sizes(kind: Callable[..., Any], told: Mapping[str, Any]) -> Any:
    """Sizes of a design as JSON has them. Raises ValueError where one of them is no whole number, or too small."""
    if not isinstance(told, dict):
        raise ValueError("no sizes")
    sizes = kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in told.items()})
    least = {"classes": 0}
    for name, value in sizes._asdict().items():
        if name == "widths" and not value:
            raise ValueError(name)
        for number in value if isinstance(value, tuple) else (value,):
            if type(number) is not int or not least.get(name, 1) <= number <= _MOST:
                raise ValueError(name)
    return sizes


_LEARNED = "learned from"
_MOST = 1 << 20
_DESIGNS: Mapping[str, tuple[Any, Any]] = {
    "deconvolution": (deconvolution.Deconvolution, deconvolution.Sizes),
    "style": (style.Style, style.Sizes),
}
