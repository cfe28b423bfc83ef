"""Where code of the user runs, the network and its loss: whatever it raises is told in one line that says where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from leakgauge.core.errors import LeakgaugeError, UsageError


@contextmanager
def guarded(where: str, remedy: str) -> Iterator[None]:
    """Turn any exception into a UsageError with its type and first line; those of leakgauge and a lack of memory pass."""
    try:
        yield
    except (LeakgaugeError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if _ONE_EXAMPLE in str(error):
            raise UsageError(
                "client.batch_size: leaves a mini-batch of 1 example, of which BatchNorm in training mode has no variance, "
                "expected at least 2; choose a size that leaves none alone, take an example more or less, or set batchnorm: eval"
            ) from error
        if _NO_MEMORY in str(error):
            raise
        raise UsageError(f"{where}: raised {told(error)}, expected none; {remedy}") from error


def told(error: BaseException) -> str:
    """The type of an exception, and the first line of what it says."""
    said = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__} ({said})" if said else type(error).__name__


_ONE_EXAMPLE = "more than 1 value per channel"
_NO_MEMORY = "DefaultCPUAllocator"
"""What torch says where it has no kind of exception of its own."""
