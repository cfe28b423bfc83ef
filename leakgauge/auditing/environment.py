"""What a result was made with."""

from __future__ import annotations

import platform
from importlib.metadata import version

import torch


def environment(device: torch.device | str = "cpu") -> dict[str, str]:
    """Versions and machine, without anything that names a person, a host or a path."""
    where = torch.device(device)
    return {
        "leakgauge": version("leakgauge"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else where.type,
        "threads": str(torch.get_num_threads()),
    }
