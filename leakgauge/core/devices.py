"""What a computation may use: where tensors live, and how many cores."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from leakgauge.core.errors import UsageError

if TYPE_CHECKING:
    import torch


def check_device(name: str) -> None:
    """Raise UsageError if this machine has no such device, without taking memory on it."""
    if name in ("auto", "cpu"):
        return
    cause = _objection(name)
    if cause:
        raise UsageError(f"device: got {name!r} ({cause}), expected a device of this machine; choose auto or cpu")


def _objection(name: str) -> str:
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        return str(error).partition("\n")[0]
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda":
        return "" if (device.index or 0) < gpus else f"torch sees {gpus} GPUs"
    return "" if name == "cpu" else "neither a CPU nor a CUDA device"


def device_named(name: str) -> torch.device:
    """Return a device of this machine; "auto" is a GPU if torch sees one. Raises UsageError as `check_device` does."""
    import torch

    check_device(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
