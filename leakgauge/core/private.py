"""Files for their owner alone: results show private examples."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

FOLDER = 0o700
"""The mode of a folder for its owner alone; the umask may take more away."""
_FILE = 0o600


def write_private(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file that only its owner may read, even where there was one that others could. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _FILE)
    with os.fdopen(descriptor, "wb") as file:
        if sys.platform != "win32":
            os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) & _FILE)
        file.writelines(parts)


def write_open(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file that holds nothing private. Raises OSError."""
    with path.open("wb") as file:
        file.writelines(parts)
