"""Flows in files: safetensors with the shape of the flow, and how it was fitted, in the metadata."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from leakgauge.core.errors import UsageError
from leakgauge.core.types import Params
from leakgauge.generative.flows.coupling import PatchFlow, Shape

_FOLDER = Path(__file__).parent


def shipped(channels: int) -> Path | None:
    """The file of the flow that comes with leakgauge for images of so many channels, if there is one."""
    return {1: _FOLDER / "gray.safetensors", 3: _FOLDER / "color.safetensors"}.get(channels)


def save(flow: PatchFlow, path: Path) -> None:
    """Write a flow to a file: under another name and renamed, so that a reader never meets half of it."""
    sizes = {name: str(size) for name, size in flow.shape._asdict().items()}
    params = {name: value.detach().cpu().contiguous() for name, value in flow.params.items()}
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        save_file(params, unfinished, metadata={**flow.made, **sizes})
        unfinished.replace(path)


def load(key: str, path: Path) -> PatchFlow:
    """Read a flow from a file; what was read is kept until the file changes. `key` is where the path stood.

    Raises UsageError for a file that is missing, cannot be read, or holds no flow.
    """
    try:
        found = path.stat()
        return _read(key, path, (found.st_ino, found.st_mtime_ns))
    except OSError as error:
        raise UsageError(f"{key}: got {str(path)!r}, expected a file that exists; check the path") from error


@functools.lru_cache(maxsize=4)
def _read(key: str, path: Path, _: tuple[int, int]) -> PatchFlow:
    try:
        with safe_open(path, framework="pt") as file:
            told = dict(file.metadata() or {})
            params = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
    except SafetensorError as error:
        cause = " ".join(str(error).split())
        raise _unlike(key, path, cause) from error
    try:
        shape = Shape(*(int(told.pop(name)) for name in Shape._fields))
    except (KeyError, ValueError) as error:
        raise _unlike(key, path, "its metadata tell no shape") from error
    fault = _fault(shape, params)
    if fault is not None:
        raise _unlike(key, path, fault)
    return PatchFlow(shape, params, told)


def _fault(shape: Shape, params: Params) -> str | None:
    """What is wrong with the tensors, if something is."""
    if min(shape) < 1:
        return f"its shape is {tuple(shape)}"
    if {name: tuple(value.shape) for name, value in params.items()} != shape.tensors():
        return "its tensors are not those of its shape"
    orders = {name: value for name, value in params.items() if name.endswith(".order")}
    everything = torch.arange(shape.size)
    if not all(torch.equal(value.sort().values, everything) for value in orders.values()):
        return "an order in it is no permutation"
    floating = [value for name, value in params.items() if name not in orders]
    if not all(value.is_floating_point() and bool(value.isfinite().all()) for value in floating):
        return "its weights are no finite numbers"
    return None


def _unlike(key: str, path: Path, fault: str) -> UsageError:
    return UsageError(f"{key}: {path} holds no flow ({fault}), expected what leakgauge density writes; fit one with it")
