"""Flows in files: their shape, and how they were fitted, in the metadata."""

from __future__ import annotations

from pathlib import Path

import torch

from leakgauge.core.errors import UsageError
from leakgauge.generative import files
from leakgauge.generative.files import Stored, Unsuitable
from leakgauge.generative.flows.coupling import PatchFlow, Shape

_FOLDER = Path(__file__).parent


def shipped(channels: int) -> Path | None:
    """The file of the flow that comes with leakgauge for images of so many channels, if there is one."""
    return {1: _FOLDER / "gray.safetensors", 3: _FOLDER / "color.safetensors"}.get(channels)


def save(flow: PatchFlow, path: Path) -> None:
    """Write a flow to a file."""
    files.save(flow.params, {**flow.made, **{name: str(size) for name, size in flow.shape._asdict().items()}}, path)


def load(key: str, path: Path) -> PatchFlow:
    """Read a flow from a file. `key` is where the path stood.

    Raises UsageError for a file that is missing, cannot be read, or holds no flow.
    """
    try:
        return files.load(key, path, _flow)
    except Unsuitable as fault:
        raise UsageError(
            f"{key}: {path} holds no flow ({fault}), expected what leakgauge density writes; fit one with it"
        ) from fault


def _flow(stored: Stored) -> PatchFlow:
    told, params = dict(stored.told), stored.params
    try:
        shape = Shape(*(int(told.pop(name)) for name in Shape._fields))
    except (KeyError, ValueError) as error:
        raise Unsuitable("its metadata tell no shape") from error
    if min(shape) < 1:
        raise Unsuitable(f"its shape is {tuple(shape)}")
    files.check_shapes(params, shape.tensors())
    everything = torch.arange(shape.size)
    orders = {name: value for name, value in params.items() if name.endswith(".order")}
    if not all(torch.equal(value.sort().values, everything) for value in orders.values()):
        raise Unsuitable("an order in it is no permutation")
    if not all(value.is_floating_point() for name, value in params.items() if name not in orders):
        raise Unsuitable("its weights are no finite numbers")
    return PatchFlow(shape, params, told)
